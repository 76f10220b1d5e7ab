"""Waiting on the loop for what a backend will tell, whichever thread fetches the news."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["Bell", "Completions"]


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    """Set a result from any thread; too late is no error."""
    loop = future.get_loop()
    if asyncio._get_running_loop() is loop:
        _set(future, value)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(_set, future, value)


def _set(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


class Completions:
    """Futures by what they wait for; one event may complete several."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[asyncio.Future[Any]]] = {}
        # Of one thread it may be taken twice: a signal's handler or a finalizer can come in between.
        self._lock = threading.RLock()

    def expect(self, key: Hashable) -> asyncio.Future[Any]:
        """A future of the running loop that the next ``settle(key)`` completes."""
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.setdefault(key, []).append(future)
        return future

    def settle(self, key: Hashable, value: Any = None) -> None:
        """Complete all that wait for ``key`` now."""
        with self._lock:
            waiting = self._waiting.pop(key, ())
        for future in waiting:
            _settle(future, value)

    def settle_all(self) -> None:
        """Let nobody wait any longer: what they waited for will not come."""
        for key in list(self._waiting):
            self.settle(key)

    async def wait(self, key: Hashable, timeout_s: float | None, already: Callable[[], bool] = bool) -> bool:
        """Wait for ``settle(key)``; False on time-out. ``already`` is asked first: the news may be old."""
        future = self.expect(key)
        try:
            return already() or await self.done(future, timeout_s)
        finally:
            self.forget(key, future)

    async def done(self, future: asyncio.Future[Any], timeout_s: float | None) -> bool:
        """Wait for a future that ``expect`` gave; False on time-out."""
        done, _ = await asyncio.wait([future], timeout=timeout_s)
        return bool(done)

    def forget(self, key: Hashable, future: asyncio.Future[Any]) -> None:
        """Nobody waits for this future any longer."""
        with self._lock:
            futures = self._waiting.get(key)
            if futures and future in futures:
                futures.remove(future)
                if not futures:
                    self._waiting.pop(key, None)


class Bell:
    """Rung from any thread; one coroutine at a time sleeps on it. A ring while nobody sleeps is kept."""

    def __init__(self) -> None:
        self._rung = False
        self._sleeper: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._rung = True
        sleeper = self._sleeper
        if sleeper is not None:
            _settle(sleeper, None)

    async def sleep(self) -> None:
        """Return at the next ring, or at once where one came since the last sleep."""
        if not self._rung:
            self._sleeper = asyncio.get_running_loop().create_future()
            try:
                # Looked at again: a ring from another thread may have found no sleeper.
                if not self._rung:
                    await self._sleeper
            finally:
                self._sleeper = None
        self._rung = False
