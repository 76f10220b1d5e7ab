"""Callbacks that count, of both kinds: as little as a callback can do, because its time is in what is measured."""

from __future__ import annotations

import asyncio
from typing import Any

from .otherend import Shared

__all__ = ["Counting", "Telling"]


class Counting:
    """Tells when the last message of a round has arrived."""

    def __init__(self) -> None:
        self._left = 0
        self._done = asyncio.Event()

    def expect(self, count: int) -> None:
        self._left = count
        self._done.clear()
        self._loop = asyncio.get_running_loop()

    async def wait(self, timeout: float = 60.0) -> None:
        async with asyncio.timeout(timeout):
            await self._done.wait()
        assert self._left == 0

    def plain(self, topic: str, payload: dict[str, Any]) -> None:
        self._left -= 1
        if not self._left:
            self._end()

    async def coroutine(self, topic: str, payload: dict[str, Any]) -> None:
        self._left -= 1
        if not self._left:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)  # some clients call on a thread of theirs


class Telling(Counting):
    """Tells another process, too, how many have arrived in all."""

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self._counts = shared.counts

    async def coroutine(self, topic: str, payload: dict[str, Any]) -> None:
        self._counts[0] += 1
        await super().coroutine(topic, payload)
