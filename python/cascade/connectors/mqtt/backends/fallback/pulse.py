"""Whether the program still runs, by its own word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Pulse"]


class Pulse:
    """Beats come from the program; used on the I/O thread.

    Args:
        stopped: called with the seconds that were allowed, once a beat is late.
    """

    def __init__(self, stopped: Callable[[float], None]) -> None:
        self._stopped = stopped
        self._timer: asyncio.TimerHandle | None = None
        self._revived: asyncio.Future[None] | None = None
        self.late_s: float | None = None
        """The seconds that the program has exceeded, while it has not said that it is alive again."""

    def beat(self, alive_s: float) -> None:
        """The program is alive, and says so again within so many seconds; 0: it will not say so any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.late_s = None
        if self._revived is not None and not self._revived.done():
            self._revived.set_result(None)
        if alive_s > 0:
            self._timer = asyncio.get_running_loop().call_later(alive_s, self._miss, alive_s)

    async def alive(self) -> None:
        """Wait for the next beat, if one is late."""
        while self.late_s is not None:
            self._revived = asyncio.get_running_loop().create_future()
            await self._revived

    def _miss(self, alive_s: float) -> None:
        self._timer = None
        self.late_s = alive_s
        self._stopped(alive_s)
