"""What changes in the constraints of a fleet, told as it happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cascade.connectors.mqtt import MqttConnector

from ..constraints import ConstraintManager, ConstraintSync, GlobalConstraint

__all__ = ["constraints_told"]


def constraints_told(connector: MqttConnector, tell: Callable[[GlobalConstraint, bool], None]) -> ConstraintSync:
    """While the result is entered, call ``tell`` with each constraint that comes into force (and True), or
    ceases to be (and False).

    Those in force already are told first. Expiry and what was lifted during an outage are told as well.
    """
    manager = ConstraintManager()
    known: dict[tuple[str, str], GlobalConstraint] = {}

    def compare() -> None:
        # Without what is new each time that the same is published again.
        now = {(one.scope, one.type): replace(one, extra={}) for one in manager.in_force()}
        for key in known.keys() - now.keys():
            tell(known.pop(key), False)
        for key, constraint in now.items():
            if known.get(key) != constraint:
                known[key] = constraint
                tell(constraint, True)

    manager.add_listener(compare)
    return ConstraintSync(connector, manager, report=False)
