"""The other end of a broker: a process that subscribes and counts, or that publishes.

Who publishes is never more than a window ahead of what has arrived: what a stock mosquitto has to queue for a slower
subscriber it drops (2.0.11: some of 600, none of 400). Both processes see the two counts in one page of memory.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import cycle, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cascade.connectors.mqtt import MqttConnector

from .events import TOPIC

__all__ = ["OtherEnd", "Shared"]

WINDOW = 400
_CHUNK = 100
_PAUSE_S = 0.0002
# Nothing more is coming when nothing has come for so long.
_PATIENCE_S = 5.0


class Shared:
    """``arrived``, written by who receives, and ``wanted``, how many shall have been published."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self.counts = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
            """Both, for who counts in the callback that is measured."""

    @property
    def arrived(self) -> int:
        return self.counts[0]

    @property
    def wanted(self) -> int:
        return self.counts[1]

    def want(self, total: int) -> None:
        self.counts[1] = total


class OtherEnd:
    """A child process of either role; a context manager, in which it is connected.

    Args:
        role: ``"subscribe"`` or ``"publish"``.
        how: what that function of this module takes.
    """

    def __init__(self, role: str, port: int, **how: Any) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="cascade-bench-")
        page = Path(self._directory.name) / "counts"
        page.write_bytes(bytes(16))
        self.shared = Shared(page)
        command = [sys.executable, "-m", "benches.otherend", role, str(port), str(page), json.dumps(how)]
        root = Path(__file__).resolve().parent.parent
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._process.communicate()  # it ends when its standard input does
        self._directory.cleanup()

    def publish_to(self, publish: Callable[[Any], object], events: Iterable[Any], window: int = WINDOW) -> int:
        """Hand over all events, no more than ``window`` ahead of what has arrived; returns how many."""
        before, sent, events = self.shared.arrived, 0, iter(events)
        while chunk := list(islice(events, _CHUNK)):
            for event in chunk:
                publish(event)
            sent += len(chunk)
            self.wait(before + sent - window)
        return sent

    def wait(self, arrived: int) -> None:
        """Block until so many have arrived in all; fail when nothing more comes."""
        seen, since = self.shared.arrived, time.monotonic()
        while seen < arrived:
            time.sleep(_PAUSE_S)
            if self.shared.arrived != seen:
                seen, since = self.shared.arrived, time.monotonic()
            assert time.monotonic() - since < _PATIENCE_S, f"{seen} arrived, {arrived} were sent"


async def subscribe(port: int, shared: Shared, *, qos: int, **how: Any) -> None:
    """Count what reaches an asynchronous callback as a dict."""
    counts = shared.counts

    async def received(topic: str, payload: dict[str, Any]) -> None:
        counts[0] += 1

    async with MqttConnector("127.0.0.1", port) as connector:
        await connector.subscribe(TOPIC, received, qos=qos, **how)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def publish(port: int, shared: Shared, *, qos: int, payloads: str) -> None:
    """Publish the lines of a file, over and over, as many as are wanted."""
    lines = cycle(await asyncio.to_thread(_lines, payloads))
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    sent = 0
    async with MqttConnector("127.0.0.1", port, on_full="wait") as connector:
        print("ready", flush=True)
        while not ended.done():
            may = min(shared.wanted, shared.arrived + WINDOW) - sent
            for line in islice(lines, max(may, 0)):
                await connector.publish(TOPIC, line, qos)
                sent += 1
            await asyncio.sleep(_PAUSE_S)


def _lines(file: str) -> list[bytes]:
    return Path(file).read_bytes().splitlines()


if __name__ == "__main__":
    role, port, page, how = sys.argv[1:]
    asyncio.run({"subscribe": subscribe, "publish": publish}[role](int(port), Shared(Path(page)), **json.loads(how)))
