"""Opening and closing a link, from coroutines that share an attempt, and from plain threads."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from .errors import ConnectError
from .link import Attempt, Link

__all__ = ["Lifecycle"]

# A stop that is told to take no time still has to be told to the I/O thread and back.
_MARGIN_S = 0.5


class Lifecycle:
    """``connect``, ``disconnect`` and what corresponds to them without an event loop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._leaving: set[asyncio.Task[Any]] = set()

    async def connect(self) -> None:
        """Wait for the first connection; at once where there has been one since ``start``."""
        link = self._link
        link.attach()
        if link.state == "closing":
            await link.completions.wait("stopped", link.options.connect_timeout_s, link.is_closed)
            link.attach()
        attempt = self._join(link.options.connect_timeout_s)
        if attempt is None:
            return
        attempt.waiting += 1
        try:
            await link.completions.wait("attempt", attempt.deadline - time.monotonic(), lambda: attempt.over)
        except asyncio.CancelledError:
            if attempt.waiting == 1 and not attempt.over:
                link.stop(0.0, goodbye=False)
            raise
        finally:
            attempt.waiting -= 1
        error = self._conclude(attempt)
        if error is not None:
            await link.completions.wait("stopped", _MARGIN_S, link.is_closed)
            raise error

    def open(self, timeout_s: float) -> None:
        """The same, blocking this thread."""
        link = self._link
        if link.state == "closing":
            link.block_until(link.is_past_closing, timeout_s)
        attempt = self._join(timeout_s)
        if attempt is None:
            return
        link.block_until(lambda: attempt.over, attempt.deadline - time.monotonic())
        error = self._conclude(attempt)
        if error is not None:
            link.block_until(link.is_past_closing, _MARGIN_S)
            raise error

    def _join(self, timeout_s: float) -> Attempt | None:
        """The attempt to wait for: one that is under way, or a new one; None where the link is open."""
        link = self._link
        if link.state == "closing":
            raise ConnectError(f"the last connection to {link.journal.place} is still being closed")
        if link.state == "closed":
            link.start(Attempt(deadline=time.monotonic() + timeout_s))
        return link.attempt

    def _conclude(self, attempt: Attempt) -> ConnectError | None:
        """What an attempt came to; where a connection is required and there is none, give up."""
        link = self._link
        if link.attempt is attempt:
            link.attempt = None
        if attempt.succeeded or link.options.first_connect == "background":
            return None
        link.stop(0.0, goodbye=False, of=attempt)
        return ConnectError(f"cannot connect to {link.journal.place}: {attempt.why}", permanent=attempt.permanent)

    async def disconnect(self, timeout_s: float) -> None:
        """Send what is queued, say goodbye, close; for at most ``timeout_s`` and a margin."""
        link, task = self._link, asyncio.current_task()
        if link.state == "closed":
            return
        # Unattached it hears of nothing, and waits for the whole of its time.
        with suppress(ConnectError):
            link.attach()
        if task is not None:
            self._leaving.add(task)
        try:
            link.stop(timeout_s, goodbye=True, final=True)
            await link.completions.wait("stopped", timeout_s + _MARGIN_S, link.is_closed)
            # A callback that calls this may finish; the others have had their time.
            ending = link.cancel_callbacks(self._leaving)
            if ending:
                await asyncio.wait(ending, timeout=_MARGIN_S)
        except asyncio.CancelledError:
            if len(self._leaving) == 1:
                link.stop(0.0, goodbye=True, final=True)
            raise
        finally:
            if task is not None:
                self._leaving.discard(task)
            link.detach()

    def close(self, timeout_s: float) -> None:
        """The same, blocking this thread."""
        link = self._link
        link.stop(timeout_s, goodbye=True, final=True)
        link.block_until(link.is_past_closing, timeout_s + _MARGIN_S)
        link.detach()
