"""What a worker obeys, as it says itself: a retained report on ``cascade/applied/{source_id}``."""

from __future__ import annotations

import asyncio
import math
import os
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
# A connection that ends so soon after a report may have ended for its sake, and if it does so again it has.
_SOON_S = 60.0
_SUSPICIOUS = 2
_QUIET_S = 600.0


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
    hears from each of them. Where the connection ends after one report after the other it is quiet for a while: some
    brokers end the connection of who publishes without the right to.
    """

    def __init__(self, connector: MqttConnector, report: Callable[[], dict[str, Any]]) -> None:
        self._connector = connector
        self._report = report
        self._timer: asyncio.TimerHandle | None = None
        self._topic: str | None = None
        self._process = 0
        self._sent_at = -math.inf
        self._ended = 0
        self._quiet_until = -math.inf

    def connected(self) -> None:
        """A new connection."""
        now = asyncio.get_running_loop().time()
        self._ended = self._ended + 1 if now - self._sent_at < _SOON_S else 0
        self._sent_at = -math.inf
        if self._ended >= _SUSPICIOUS:
            self._quiet_until = now + _QUIET_S
            self._connector._need_link().logger.warning(
                "the connection ended after each of %d reports on %s, so none is sent for %g s: may it publish there?",
                self._ended, self._topic, _QUIET_S,
            )  # fmt: skip

    def note(self) -> None:
        """There is something to report."""
        loop = asyncio.get_running_loop()
        if self._timer is None and loop.time() >= self._quiet_until:
            self._timer = loop.call_later(_DELAY_S, self._publish)

    def stop(self) -> None:
        """Leave nothing behind, on the loop or at the broker."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # A forked child has this object too, but the report is its parent's.
        if self._topic is not None and self._process == os.getpid():
            self._connector.publish_nowait(self._topic, None, retain=True)
        self._topic = None

    def _publish(self) -> None:
        self._timer = None
        self._topic, self._process = applied_topic(self._connector.source_id), os.getpid()
        if self._connector.publish_nowait(self._topic, self._report(), retain=True):
            self._sent_at = asyncio.get_running_loop().time()
