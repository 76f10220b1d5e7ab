"""A loop on virtual time: it never waits, and a wait that nothing will end is an error rather than a hang."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

BEGINNING = 1_700_000_000.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """Where nothing is left to do, it is at once as late as the next timer wants it."""

    def __init__(self) -> None:
        self.now = BEGINNING
        super().__init__(_Selector(self))
        # What is due now is due: at this time floats are 0.2 us apart, more than the resolution of the real clock.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("everybody waits, and nothing will wake anybody")
        if not ready and timeout:
            self._loop.now += timeout
        return ready


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """``asyncio.run`` on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


async def quiet() -> None:
    """Let everything happen that needs no time."""
    for _ in range(10):
        await asyncio.sleep(0)
