"""What no publisher in Python can pass, measured in the same run: the ratios are against these."""

from __future__ import annotations

import socket
import statistics
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any

import orjson

from .events import TOPIC, Event
from .farend import FarEnd

__all__ = ["Floors", "each", "seconds"]

_WRITE_BYTES = 64 * 1024
# The shortest CONNECT with a client identifier (MQTT 3.1.1 section 3.1).
_CONNECT = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05floor"


class Floors:
    """Rates in events a second, measured each time they are asked for: the machine's mood changes."""

    def __init__(self, far_end: FarEnd) -> None:
        self._far_end = far_end

    def dumps(self, make: Callable[[], Sequence[Event]]) -> float:
        """``orjson.dumps`` of each event, and nothing else; the events are made anew for each round."""

        def once() -> float:
            events = make()
            return len(events) / seconds(lambda: each(orjson.dumps, events))

        return statistics.median(once() for _ in range(3))

    def loads(self, payloads: Sequence[bytes]) -> float:
        """``orjson.loads`` of each payload, and nothing else."""
        return statistics.median(len(payloads) / seconds(lambda: each(orjson.loads, payloads)) for _ in range(3))

    def wire(self, payloads: Sequence[bytes]) -> float:
        """Packets made beforehand, written 64 KiB at a time, until all have arrived."""
        packets = b"".join(map(_packet, payloads))
        writes = [packets[at : at + _WRITE_BYTES] for at in range(0, len(packets), _WRITE_BYTES)]
        with socket.create_connection(("127.0.0.1", self._far_end.port)) as connection:
            connection.sendall(_CONNECT)
            connection.recv(4)

            def write_all() -> None:
                self._far_end.reset()
                for write in writes:
                    connection.sendall(write)
                self._far_end.wait(len(payloads))

            return statistics.median(len(payloads) / seconds(write_all) for _ in range(3))

    def publishing(self, events: Sequence[Event]) -> dict[str, float]:
        """What a publisher of these events is compared with."""
        return {"orjson.dumps": self.dumps(lambda: events), "raw socket": self.wire([*map(orjson.dumps, events)])}


def each(call: Callable[[Any], object], values: Iterable[Any]) -> None:
    for value in values:
        call(value)


def seconds(once: Callable[[], object]) -> float:
    start = perf_counter()
    once()
    return perf_counter() - start


def _packet(payload: bytes) -> bytes:
    """A finished PUBLISH of QoS 0 (MQTT 3.1.1 section 3.3)."""
    topic = TOPIC.encode()
    length = 2 + len(topic) + len(payload)
    head = bytearray(b"\x30")
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + len(topic).to_bytes(2, "big") + topic + payload
