"""How the compiled core's thread wakes an event loop: one descriptor a loop, shared by its connectors."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import threading
import weakref
from collections.abc import Callable

from .. import _native

__all__ = ["LoopWakeup"]

_EVENTS = -1
_CHUNK = 4096


class LoopWakeup:
    """Brings what the I/O thread has ready to the connectors of one loop.

    It lives from the first connector that attaches to the last one that leaves.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, reader: socket.socket, writer: socket.socket) -> None:
        # Weak: the registry below holds this object, and would hold the loop for ever.
        self._loop = weakref.ref(loop)
        self._keys = itertools.count(1)
        self._clients: dict[int, tuple[Callable[[], None], Callable[[int], None]]] = {}
        self._reader, self._writer = reader, writer
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self.notifier = _native.Notifier(self._writer.fileno())
        self._task: asyncio.Task[None] | None = None
        try:
            loop.add_reader(self._reader.fileno(), self._drain)
        except NotImplementedError:  # the proactor loop of Windows watches no descriptors
            self._task = loop.create_task(self._receive(loop))

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> LoopWakeup:
        """The one of this loop, made where there is none."""
        with _registry_lock:
            wakeup = _registry.get(loop)
            if wakeup is None:
                wakeup = _registry[loop] = cls(loop, *socket.socketpair())
            return wakeup

    def add(self, on_events: Callable[[], None], on_inbox: Callable[[int], None]) -> int:
        """Returns the key under which the I/O thread names this client."""
        key = next(self._keys)
        self._clients[key] = on_events, on_inbox
        return key

    def remove(self, key: int) -> None:
        """Forget a client; from any thread. The last one to go closes the descriptors."""
        self._clients.pop(key, None)
        loop = self._loop()
        if loop is not None and loop.is_running() and asyncio._get_running_loop() is not loop:
            with contextlib.suppress(RuntimeError):  # closed in between
                loop.call_soon_threadsafe(self._close_if_unused)
        else:
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        loop = self._loop()
        with _registry_lock:
            if self._clients:
                return
            if loop is not None and _registry.get(loop) is self:
                del _registry[loop]
        if loop is not None and not loop.is_closed() and self._reader.fileno() >= 0:
            if self._task is not None:
                self._task.cancel()
            else:
                loop.remove_reader(self._reader.fileno())
        self._close()

    def _close(self) -> None:
        self._reader.close()
        self._writer.close()

    def __del__(self) -> None:
        # A loop that was closed under its connectors leaves the sockets to this.
        self._close()

    def _drain(self) -> None:
        # Empty the descriptor first: what is made ready after it rings again.
        with contextlib.suppress(BlockingIOError):
            while len(self._reader.recv(_CHUNK)) == _CHUNK:
                pass
        self._dispatch()

    async def _receive(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            await loop.sock_recv(self._reader, _CHUNK)
            self._dispatch()

    def _dispatch(self) -> None:
        for key, subscription in self.notifier.take():
            client = self._clients.get(key)
            if client is None:
                continue
            on_events, on_inbox = client
            try:
                if subscription == _EVENTS:
                    on_events()
                else:
                    on_inbox(subscription)
            except Exception:  # one connector's trouble is not the others'
                logging.getLogger("cascade.connectors.mqtt").exception("a wake-up failed")


_registry: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWakeup] = weakref.WeakKeyDictionary()
_registry_lock = threading.Lock()
_inherited: list[object] = []


def _leave_to_parent() -> None:
    """In a forked child: the descriptors are watched by the parent's selector, so they are not touched."""
    global _registry, _registry_lock
    _inherited.append(_registry)
    _registry, _registry_lock = weakref.WeakKeyDictionary(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
