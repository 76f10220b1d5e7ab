"""The far end of every benchmark: a process that counts what arrives, and tells it on a second port."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

__all__ = ["Counts", "FarEnd"]


class Counts(NamedTuple):
    """What the far end has seen since ``reset``; connections: those open now."""

    publishes: int
    bytes: int
    acknowledged: int
    connections: int


class FarEnd:
    """A running cascade-sink; ``port`` is where it speaks MQTT."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port, self._control = map(int, self._process.stdout.readline().split())
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._process.communicate()  # it ends when its standard input does

    def counts(self) -> Counts:
        return self._ask("count")

    def reset(self) -> Counts:
        return self._ask("reset")

    def send(self, total: int, qos: int, payloads: Path) -> None:
        """Send ``total`` messages, over and over the lines of ``payloads``, to whoever is subscribed."""
        self._ask(f"send {total} {qos} {payloads}")

    def beat(self, count: int, every_s: float) -> None:
        """Send ``count`` messages to whoever is subscribed, one each ``every_s`` seconds, by the clock's milliseconds.

        Each holds the nanoseconds of the monotonic clock at which it was written.
        """
        self._ask(f"beat {count} {int(every_s * 1e6)}")

    def wait(self, publishes: int, timeout: float = 20.0) -> None:
        """Block until that many have arrived; fail if it takes ``timeout`` seconds, or if more came."""
        try:
            arrived = self._ask(f"wait {publishes}", timeout).publishes
        except TimeoutError:
            arrived = self.counts().publishes
        assert arrived == publishes, f"{arrived} publishes arrived, {publishes} were sent"

    async def arrived(self, publishes: int) -> None:
        """As ``wait``, for clients that need the loop to go on writing."""
        await asyncio.to_thread(self.wait, publishes)

    def _ask(self, command: str, timeout: float = 10.0) -> Counts:
        with socket.create_connection(("127.0.0.1", self._control), timeout=timeout) as connection:
            connection.sendall(f"{command}\n".encode())
            return Counts(**json.loads(connection.makefile("r").readline()))
