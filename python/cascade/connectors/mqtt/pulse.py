"""Shows that the program is alive: ``heartbeat`` tells observers, ``hang_timeout`` lets the will be published.

Both are driven by a timer on the event loop, since it is the loop whose standing still has to show.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

from .backends.base import Backend
from .envelope import timestamp
from .incarnation import Incarnation
from .options import Options
from .stats import Stats
from .topics import encode_id
from .weakly import weakly

__all__ = ["Pulse"]

_LONGEST_S = 1.0


class Pulse:
    """Beats on one loop at a time.

    Args:
        stats: called for what a heartbeat tells.
    """

    def __init__(
        self, options: Options, backend: Backend, incarnation: Incarnation, stats: Callable[[], Stats]
    ) -> None:
        self._hang_timeout_s, self._heartbeat_s = options.hang_timeout_s, options.heartbeat_s
        self._backend, self._incarnation, self._stats = backend, incarnation, stats
        # Often enough for a late beat to be the loop's fault, and for the lag of the loop to be a maximum of many.
        wanted = [seconds / 4 for seconds in (self._hang_timeout_s, self._heartbeat_s) if seconds is not None]
        self._interval_s = min([_LONGEST_S, *wanted])
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lag_s = 0.0
        self._told_at = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Beat on this loop, which is running here, from now on."""
        if self._hang_timeout_s is None and self._heartbeat_s is None:
            return
        self.stop()
        self._loop, self._lag_s, self._told_at = loop, 0.0, loop.time()
        self._beat(loop.time())

    def stop(self) -> None:
        """Be silent; nobody takes that for a hang."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop = None
            if self._hang_timeout_s is not None:
                self._backend.beat(0)

    def _beat(self, due: float) -> None:
        loop = self._loop
        if loop is None:
            return
        now = loop.time()
        self._lag_s = max(self._lag_s, now - due)
        if self._hang_timeout_s is not None:
            self._backend.beat(self._hang_timeout_s)
        if self._heartbeat_s is not None and now - self._told_at >= self._heartbeat_s:
            self._tell(self._heartbeat_s)
            self._told_at, self._lag_s = now, 0.0
        self._timer = loop.call_at(now + self._interval_s, weakly(self._beat), now + self._interval_s)

    def _tell(self, interval_s: float) -> None:
        stats = self._stats()
        message: dict[str, Any] = {
            "v": "1.0",
            "ts": timestamp(),
            "source": self._incarnation.source,
            "epoch": self._incarnation.epoch,
            "interval_s": interval_s,
            "loop_lag_s": self._lag_s,
            "oldest_queued_s": stats.oldest_queued_s,
            "stats": dataclasses.asdict(stats),
        }
        # As text, which is never batched: whoever looks after processes sees them by their own topics.
        import json

        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        self._backend.publish(f"cascade/stats/{encode_id(self._incarnation.source)}", text, 0, False, False)
