"""A callback that counts, of both kinds."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Counting"]


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
        if self._left == 0:
            self._loop.call_soon_threadsafe(self._done.set)  # some clients call on a thread of theirs

    async def coroutine(self, topic: str, payload: dict[str, Any]) -> None:
        self.plain(topic, payload)
