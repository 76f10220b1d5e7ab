"""A pipe between two processes, on the event loop; and a child process at the end of one."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ...interrupts import children_deaf_to_ctrl_c

__all__ = ["Channel", "Child"]

_PATIENCE_S = 3.0
# Messages before others have their turn.
_AT_ONCE = 16


class Channel:
    """Calls ``on_message`` on the running loop for each object that the other process sends.

    ``on_close`` is called once, when the other process closed its end or is gone.
    """

    def __init__(
        self, connection: Connection, on_message: Callable[[Any], None], on_close: Callable[[], object]
    ) -> None:
        self._connection = connection
        self._on_message = on_message
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)

    def send(self, message: object) -> None:
        """Hand an object to the other process. One that is gone is told by ``on_close``, not here."""
        if not self._connection.closed:
            try:
                self._connection.send(message)
            except OSError:
                self._end()

    def close(self) -> None:
        """Close this end, silently."""
        if not self._connection.closed:
            self._loop.remove_reader(self._connection.fileno())
            self._connection.close()

    def _read(self) -> None:
        try:
            for _ in range(_AT_ONCE):
                self._on_message(self._connection.recv())
                if self._connection.closed or not self._connection.poll():
                    break
        except (EOFError, OSError):
            self._end()

    def _end(self) -> None:
        self.close()
        self._on_close()


class Child:
    """A process of the demo, started afresh (nothing inherited), and the channel to it.

    Args:
        name: how it is called where it fails.
        target: called in the child with its end of the pipe, then ``arguments``.
        on_message: called for each object that it sends.
        on_close: called when it is gone.
    """

    def __init__(
        self,
        name: str,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        on_message: Callable[[Any], None],
        on_close: Callable[[], object],
    ) -> None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        self.name = name
        self._process = context.Process(target=target, args=(there, *arguments), name=name, daemon=True)
        with children_deaf_to_ctrl_c():
            self._process.start()
        there.close()
        self._channel = Channel(here, on_message, on_close)
        self.send = self._channel.send
        self.close = self._channel.close

    def stop(self) -> None:
        """End it: the closed pipe asks it to, a signal to its process id insists."""
        self._channel.close()
        self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
