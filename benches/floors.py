"""What no publisher in Python can pass, measured in the same run: the ratios are against these."""

from __future__ import annotations

import socket
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import orjson

from .events import packet
from .farend import FarEnd

__all__ = ["Floors"]

_WRITE_BYTES = 64 * 1024
# The shortest CONNECT with a client identifier (MQTT 3.1.1 section 3.1).
_CONNECT = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05floor"


class Floors:
    """Rates in events a second, measured each time they are asked for: the machine's mood changes."""

    def __init__(self, events: Sequence[dict[str, Any]], far_end: FarEnd) -> None:
        self._events = events
        self._payloads = [orjson.dumps(event) for event in events]
        self._far_end = far_end

    @property
    def dumps(self) -> float:
        """``orjson.dumps`` of each event, and nothing else."""
        return self._rate(lambda: _each(orjson.dumps, self._events))

    @property
    def loads(self) -> float:
        """``orjson.loads`` of each payload, and nothing else."""
        return self._rate(lambda: _each(orjson.loads, self._payloads))

    @property
    def wire(self) -> float:
        """Packets made beforehand, written 64 KiB at a time, until all have arrived."""
        packets = b"".join(map(packet, self._payloads))
        writes = [packets[at : at + _WRITE_BYTES] for at in range(0, len(packets), _WRITE_BYTES)]
        with socket.create_connection(("127.0.0.1", self._far_end.port)) as connection:
            connection.sendall(_CONNECT)
            connection.recv(4)

            def write_all() -> None:
                self._far_end.reset()
                for write in writes:
                    connection.sendall(write)
                self._far_end.wait(len(self._events))

            return self._rate(write_all)

    @property
    def publishing(self) -> dict[str, float]:
        """What a publisher is compared with."""
        return {"orjson.dumps": self.dumps, "raw socket": self.wire}

    def _rate(self, once: Callable[[], object]) -> float:
        return len(self._events) / statistics.median(_seconds(once) for _ in range(3))


def _each(call: Callable[[Any], object], values: Sequence[Any]) -> None:
    for value in values:
        call(value)


def _seconds(once: Callable[[], object]) -> float:
    start = perf_counter()
    once()
    return perf_counter() - start
