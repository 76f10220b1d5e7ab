"""A batch on its way out: events of one topic and QoS that become one message, filled in place."""

from __future__ import annotations

from ...batching import SUFFIX, BatchOptions
from . import zstd
from .lane import Message

__all__ = ["Batch"]

_SUFFIX = SUFFIX.encode()
_MAX_TOPIC_BYTES = 65_535


class Batch(Message):
    """An array of one event, to which others are added until it is closed; number and age are the first one's."""

    __slots__ = ("_limits", "_newest", "compressed")

    def __init__(self, topic: bytes, event: bytes, qos: int, limits: BatchOptions) -> None:
        super().__init__(topic + _SUFFIX, bytearray(b"[%b]" % event), qos, False, False)
        self._limits, self._newest = limits, 0.0
        self.compressed = False

    @staticmethod
    def can_go_to(topic: bytes) -> bool:
        """Whether events of this topic have a topic for their batches, and are no batches themselves."""
        return len(topic) + len(_SUFFIX) <= _MAX_TOPIC_BYTES and not topic.endswith(_SUFFIX)

    @property
    def event_topic(self) -> bytes:
        return self.topic[: -len(_SUFFIX)]

    @property
    def newest(self) -> float:
        return self._newest or self.born

    @property
    def content_type(self) -> str:
        return "application/zstd" if self.payload.startswith(zstd.MAGIC) else "application/json"

    @property
    def due(self) -> float:
        """When it is closed at the latest."""
        return self.born + self._limits.linger

    @property
    def is_full(self) -> bool:
        # The shortest event is one byte, and a comma.
        return self.events >= self._limits.max_events or len(self.payload) + 2 > self._limits.max_bytes

    def takes(self, other: Batch) -> bool:
        """Whether the events of ``other``, which has just been made, can follow those that are here."""
        return (
            other.topic == self.topic
            and other.qos == self.qos
            and self.events + other.events <= self._limits.max_events
            and len(self.payload) + len(other.payload) - 1 <= self._limits.max_bytes
        )

    def join(self, other: Batch) -> int:
        """Add them; returns the bytes that they take."""
        assert isinstance(self.payload, bytearray)
        grown = len(other.payload) - 1
        self.payload[-1:] = b","
        self.payload += other.payload[1:]
        self.events += other.events
        self.size += grown
        self._newest = other.born
        return grown
