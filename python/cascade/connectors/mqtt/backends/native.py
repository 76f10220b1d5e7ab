"""The compiled core behind the ``Backend`` protocol."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Literal

from .. import _native
from ..options import Options
from .base import Event
from .wakeup import LoopWakeup

__all__ = ["NativeBackend"]

_NAP_S = 0.01


class NativeBackend:
    """A thin face of ``_native.Client``.

    Its bound methods stand here as attributes: a wrapper would cost as much as the call.
    """

    name: Literal["native", "python"] = "native"

    def __init__(self, options: Options) -> None:
        self._client = client = _native.Client(options)
        self._wakeup: LoopWakeup | None = None
        self._key = 0
        self.start = client.start
        self.stop = client.stop
        self.publish = client.publish
        self.publish_tracked = client.publish_tracked
        self.publisher = client.publisher
        self.awaitable_publisher = client.awaitable_publisher
        self.leave_to_parent = client.leave_to_parent
        self.rejection_detail = client.rejection_detail
        self.withdraw = client.withdraw
        self.subscribe = client.subscribe
        self.unsubscribe = client.unsubscribe
        self.flush = client.flush
        self.flush_left = client.flush_left
        self.end_flush = client.end_flush
        self.beat = client.beat
        self.stats = client.stats

    def attach(
        self,
        loop: asyncio.AbstractEventLoop,
        on_events: Callable[[], None],
        on_inbox: Callable[[int], None],
    ) -> None:
        """Wake this loop from now on."""
        self.detach()
        self._wakeup = LoopWakeup.of(loop)
        self._key = self._wakeup.add(on_events, on_inbox)
        self._client.attach(self._wakeup.notifier, self._key)

    def detach(self) -> None:
        """Wake no loop any more."""
        # Two threads may come at once: one that fetches "stopped", and the loop's that disconnects.
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            self._client.detach()
            wakeup.remove(self._key)

    def wait(self, timeout_s: float) -> bool:
        """Block the calling thread until events wait; False on time-out.

        It waits here, not in the core: at the end of the interpreter a daemon thread is ended where it waits, and
        that cannot be done to a thread with a frame of Rust on its stack.
        """
        try:
            reader, writer = socket.socketpair()
        except OSError:  # too many open files
            time.sleep(min(timeout_s, _NAP_S))
            return True
        with reader, writer:
            notifier = _native.Notifier(writer.fileno())
            if not self._client.watch(notifier):
                return True
            try:
                poll = select.poll()
                poll.register(reader, select.POLLIN)
                poll.poll(timeout_s * 1000)
            finally:
                waiting = self._client.unwatch(notifier)
        return waiting

    def events(self) -> list[Event]:
        """Take all events that wait, oldest first."""
        return list(map(Event._make, self._client.events()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native.leave_to_parent)
