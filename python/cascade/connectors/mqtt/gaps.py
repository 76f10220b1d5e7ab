"""What observers are told of events that were lost before they could be sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from .backends.base import Backend
from .envelope import Run, timestamp
from .events import GapEvent
from .incarnation import Incarnation

__all__ = ["Gaps"]

_INTERVAL_S = 1.0
"""A queue that fills up again and again makes one event of a run in this time."""


@dataclass
class _Gap:
    since: float
    until: float
    lost: Counter[str] = field(default_factory=Counter)


class Gaps:
    """Publishes one ``GapEvent`` for each run that lost events, with priority.

    Args:
        wanted: the option ``gap_events``.
    """

    def __init__(self, backend: Backend, incarnation: Incarnation, *, wanted: bool) -> None:
        self._backend, self._incarnation, self._wanted = backend, incarnation, wanted
        self._gaps: dict[str, _Gap] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """There is a loop to wait on for more of the same."""
        self._loop = loop

    def detach(self) -> None:
        """There is none any more."""
        self.tell()
        self._loop = None

    def add(self, topic: str, lost: dict[str, int], since: float, until: float) -> None:
        """So much of a topic was lost between two Unix times."""
        if not self._wanted:
            return
        gap = self._gaps.setdefault(topic, _Gap(since, until))
        gap.until = until
        gap.lost.update(lost)
        if self._timer is None:
            self.tell()
            # Events are also fetched by threads that wait, where no timer of the loop can be set.
            if self._loop is not None and asyncio._get_running_loop() is self._loop:
                self._timer = self._loop.call_later(_INTERVAL_S, self.tell)

    def tell(self) -> None:
        """Publish what waits to be told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gaps, self._gaps = self._gaps, {}
        for topic, gap in gaps.items():
            run = Run.of_topic(topic)
            if run is None:
                continue
            event = GapEvent(gap.lost, timestamp(gap.since), timestamp(gap.until))
            message = run.event(
                {"type": "GapEvent", **vars(event)},
                source=self._incarnation.source,
                epoch=self._incarnation.epoch,
                seq=self._incarnation.next_in_run(run.run_id),
            )
            self._backend.publish(topic, message, 0, False, True)
