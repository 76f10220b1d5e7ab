"""What happened on the I/O thread, and the wake-up of the loop that wants to know."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ..base import Event

__all__ = ["Events"]


class _Listener(NamedTuple):
    loop: asyncio.AbstractEventLoop
    on_events: Callable[[], None]
    on_inbox: Callable[[int], None]


class Events:
    """The queue of events and the list of inboxes that have something; one wake-up is pending at most."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._queue: deque[Event] = deque()
        self._ready: dict[int, None] = {}
        self._listener: _Listener | None = None
        self._rung = False

    def attach(
        self, loop: asyncio.AbstractEventLoop, on_events: Callable[[], None], on_inbox: Callable[[int], None]
    ) -> None:
        """Wake this loop from now on, and now if anything waits."""
        with self._arrived:
            self._listener = _Listener(loop, on_events, on_inbox)
            self._rung = False
            if self._queue or self._ready:
                self._ring()

    def detach(self) -> None:
        with self._arrived:
            self._listener = None
            self._rung = False

    def push(self, kind: str, token: int, detail: Any) -> None:
        with self._arrived:
            self._queue.append(Event(kind, token, detail))
            self._arrived.notify_all()
            self._ring()

    def inbox_ready(self, subscription: int) -> None:
        """A subscription whose consumer found nothing has a message."""
        with self._arrived:
            self._ready[subscription] = None
            self._ring()

    def take(self) -> list[Event]:
        with self._arrived:
            events = list(self._queue)
            self._queue.clear()
            return events

    def wait(self, timeout_s: float) -> bool:
        """Block until an event waits; False on time-out."""
        with self._arrived:
            return self._arrived.wait_for(lambda: bool(self._queue), timeout_s)

    def _ring(self) -> None:
        if self._listener is None or self._rung:
            return
        try:
            self._listener.loop.call_soon_threadsafe(self._deliver, self._listener)
            self._rung = True
        except RuntimeError:
            # The loop was closed without a detach: nobody is left to be told.
            self._listener = None

    def _deliver(self, listener: _Listener) -> None:
        """On the user's loop."""
        with self._arrived:
            if listener is not self._listener:
                return
            self._rung = False
            ready, self._ready = self._ready, {}
            events = bool(self._queue)
        if events:
            listener.on_events()
        for subscription in ready:
            listener.on_inbox(subscription)
