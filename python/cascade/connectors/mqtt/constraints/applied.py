"""What a worker obeys, as it says itself: a retained report on ``cascade/applied/{source_id}``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..topics import decode_id, encode_id
from .constraint import GlobalConstraint

if TYPE_CHECKING:
    from ..connector import MqttConnector

__all__ = ["ALL_APPLIED", "Reporter", "applied_source", "applied_topic", "listed", "revision_of"]

_ROOT = "cascade/applied/"
ALL_APPLIED = f"{_ROOT}+"
# Messages that come together, as those of one command do, are one report.
_DELAY_S = 0.02


def applied_topic(source_id: str) -> str:
    """Where a worker says what it obeys."""
    return f"{_ROOT}{encode_id(source_id)}"


def applied_source(topic: str) -> str:
    """Whose report stands on ``topic``, which matches ``ALL_APPLIED``."""
    return decode_id(topic.removeprefix(_ROOT))


def revision_of(constraint: GlobalConstraint) -> str | None:
    """What tells this publication of a constraint from all others; controllers of the older form give it none."""
    revision = constraint.extra.get("revision")
    return revision if isinstance(revision, str) else None


def listed(constraint: GlobalConstraint) -> dict[str, Any]:
    """A constraint as a report names it."""
    return {
        "scope": constraint.scope,
        "type": constraint.type,
        "id": constraint.id,
        "revision": revision_of(constraint),
        "expires_at": constraint.expires_at,
    }


class Reporter:
    """Publishes what ``report()`` returns soon after ``note()``; notes that come together are one report.

    Each message about constraints is worth one, whether it changed anything or not: who waits for N workers
    hears from each of them.
    """

    def __init__(self, connector: MqttConnector, report: Callable[[], dict[str, Any]]) -> None:
        self._connector = connector
        self._report = report
        self._timer: asyncio.TimerHandle | None = None
        self._topic: str | None = None

    def note(self) -> None:
        """There is something to report."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY_S, self._publish)

    def stop(self) -> None:
        """Leave nothing behind, on the loop or at the broker."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._topic is not None:
            self._connector.publish_nowait(self._topic, None, qos=1, retain=True)
            self._topic = None

    def _publish(self) -> None:
        self._timer = None
        self._topic = applied_topic(self._connector.source_id)
        self._connector.publish_nowait(self._topic, self._report(), qos=1, retain=True)
