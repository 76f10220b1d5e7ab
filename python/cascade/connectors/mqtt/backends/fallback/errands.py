"""Calls that can only block: one after another, on a thread that lives as long as there are some."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Errands"]

_Result = TypeVar("_Result")


class Errands:
    """One for each kind of call, and for the whole process, so that many connectors need no more threads than one.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._running = False

    async def run(self, call: Callable[[], _Result], unwanted: Callable[[_Result], object]) -> _Result:
        """What ``call()`` returns or raises; ``unwanted`` is given the result where nobody waits for it any longer."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Result] = loop.create_future()

        def errand() -> None:
            result: Any = None
            failure: Exception | None = None
            try:
                if not answer.cancelled():
                    result = call()
            except Exception as error:
                failure = error
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, result, failure)

        def settle(result: Any, failure: Exception | None) -> None:
            if answer.done():
                if result is not None:
                    unwanted(result)
            elif failure is not None:
                answer.set_exception(failure)
            else:
                answer.set_result(result)

        with self._lock:
            if not self._running:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
                self._running = True
            self._waiting.append(errand)
        return await answer

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running = False
                    return
                errand = self._waiting.popleft()
            errand()
