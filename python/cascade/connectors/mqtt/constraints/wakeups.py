"""One timer for many moments: a loop is woken when the earliest has come."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from heapq import heappop, heappush

__all__ = ["Wakeups"]

# Moments within one of these are one; so a thousand waiters for a token make one timer.
_TICKS_A_SECOND = 1000
# The clock may be set, or the machine sleep; it is looked at again after so long.
_LONGEST_S = 60.0
# Of more than these the later half is forgotten: who still waits at an earlier one asks again.
_MOST = 4096


class Wakeups:
    """Calls ``ring`` in the running loop once for each moment that has come, never before it.

    What was asked for while no loop ran is taken up by ``arm``, in the loop that runs then.
    """

    def __init__(self, now: Callable[[], float], ring: Callable[[], object]) -> None:
        self._now = now
        self._ring = ring
        self._ticks: list[int] = []
        self._asked: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def at(self, moment: float) -> None:
        """Ring at this time of the clock; a time beyond all reckoning never comes."""
        if not math.isfinite(moment * _TICKS_A_SECOND):
            return
        tick = math.ceil(moment * _TICKS_A_SECOND)
        if tick not in self._asked:
            self._asked.add(tick)
            heappush(self._ticks, tick)
            if len(self._ticks) > _MOST:
                self._ticks = sorted(self._ticks)[: _MOST // 2]
                self._asked = set(self._ticks)
        self.arm()

    def arm(self) -> None:
        """See that a timer of the running loop is set for the earliest moment."""
        if not self._ticks:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        delay = max(1 / _TICKS_A_SECOND, self._ticks[0] / _TICKS_A_SECOND - self._now())
        due = loop.time() + min(delay, _LONGEST_S)
        if self._timer is not None:
            if loop is self._loop and not self._timer.cancelled() and self._timer.when() <= due:
                return
            self._timer.cancel()
        self._loop, self._timer = loop, loop.call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._now()
        if not self._ticks or self._ticks[0] / _TICKS_A_SECOND > now:
            self.arm()
            return
        while self._ticks and self._ticks[0] / _TICKS_A_SECOND <= now:
            self._asked.discard(heappop(self._ticks))
        self._ring()
        self.arm()
