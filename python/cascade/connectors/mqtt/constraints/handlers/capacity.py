"""``capacity``: so much of a resource, ``{"gpu": 2}``; never more than the machine has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import ConstraintError
from ..constraint import finite, params_of
from .base import ConstraintHandler

if TYPE_CHECKING:
    from ..manager import ConstraintManager

__all__ = ["CapacityHandler", "amounts"]


class CapacityHandler(ConstraintHandler):
    """With the scope ``global`` it bounds the resource itself; with another one, what that scope's tasks hold of it.

    For the latter each task needs as much of a resource made for it as it needs of the resource.
    """

    def handles_type(self) -> str:
        return "capacity"

    def on_constraint_add(self, constraint: Any, manager: ConstraintManager) -> None:
        self._bound(amounts(constraint), constraint.scope, manager)

    def on_constraint_remove(self, constraint: Any, manager: ConstraintManager) -> None:
        self._bound(dict.fromkeys(constraint.params, math.inf), constraint.scope, manager)

    def on_constraint_replace(self, old: Any, new: Any, manager: ConstraintManager) -> None:
        bounds = amounts(new)
        self._bound({**dict.fromkeys(old.params, math.inf), **bounds}, new.scope, manager)

    def append_requirements(
        self, task: Any, constraint: Any, requirements: dict[str, Any], manager: ConstraintManager
    ) -> None:
        if constraint.scope == "global":
            return
        own = _own(task)
        for name in constraint.params:
            if finite(own.get(name)):
                requirements[_resource(constraint.scope, name)] = own[name]

    def _bound(self, bounds: Mapping[str, float], scope: str, manager: ConstraintManager) -> None:
        for name, bound in bounds.items():
            if scope == "global":
                manager.resource_manager.bound(name, bound)
            else:
                manager.resource_manager.update_resource(_resource(scope, name), bound)


def amounts(constraint: Any) -> dict[str, float]:
    """The amounts that a constraint sets: its params are ``{"gpu": 2}``.

    Raises:
        ConstraintError: there is none, or one is no number from 0 up.
    """
    params = params_of(constraint.params)
    if not params:
        raise ConstraintError('capacity needs at least one resource, like {"gpu": 2}', field="params")
    for name, value in params.items():
        if not finite(value) or value < 0:
            raise ConstraintError(f"{name} must be a number from 0 up, not {value!r}", field=f"params.{name}")
    return {name: float(value) for name, value in params.items()}


def _own(task: Any) -> Mapping[str, Any]:
    """What the task needs by itself: as the Gate's tasks say it, or as an engine's nodes do."""
    holder = task if hasattr(task, "requirements") else getattr(task, "constraints", None)
    return getattr(holder, "requirements", None) or {}


def _resource(scope: str, name: str) -> str:
    return f"constraint:capacity:{scope}:{name}"
