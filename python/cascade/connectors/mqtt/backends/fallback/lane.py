"""One lane of the outbound queue: unsent messages of one QoS, first in first out."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .batch import Batch

__all__ = ["OVERHEAD", "Lane", "Message"]

OVERHEAD = 240
"""What one queued message costs beside topic and payload, in bytes: the message, its numbers, its slots."""


class Message:
    """One message of accepted events, of one but for a batch; ``number`` counts acceptances, ``packet_id`` is the
    sender's, ``released``: PUBREC came."""

    __slots__ = (
        "born",
        "events",
        "number",
        "packet_id",
        "payload",
        "protected",
        "qos",
        "released",
        "retain",
        "sent",
        "size",
        "token",
        "topic",
    )

    def __init__(self, topic: bytes, payload: bytes | bytearray, qos: int, retain: bool, protected: bool) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.protected = protected
        self.size = len(topic) + len(payload) + OVERHEAD
        self.events = 1
        self.number = 0
        self.token = 0
        self.packet_id = 0
        self.born = 0.0
        self.sent = self.released = False

    @property
    def lane(self) -> int:
        """0 for QoS 0, 1 for what is kept until it is acknowledged."""
        return 1 if self.qos else 0

    @property
    def event_topic(self) -> bytes:
        """What its events were published to."""
        return self.topic

    @property
    def newest(self) -> float:
        """When the last of its events was published."""
        return self.born

    @property
    def content_type(self) -> str | None:
        """What MQTT 5 is told of the payload (MQTT 5.0 section 3.3.2.3.9)."""
        return None


class Lane:
    """Two queues under one order: the ordinary ones can be dropped from their front, the protected ones stay.

    The last one may be a batch that is ``open``: events are added to it until another message, or its own limits,
    close it. Until then it is not sent.
    """

    def __init__(self) -> None:
        self.ordinary: deque[Message] = deque()
        self.protected: deque[Message] = deque()
        self.ordinary_bytes = 0
        self.open: Batch | None = None

    def append(self, message: Message) -> None:
        """Queue a message, behind what was open."""
        self.close()
        if message.protected:
            self.protected.append(message)
        else:
            self.ordinary.append(message)
            self.ordinary_bytes += message.size

    def append_event(self, batch: Batch) -> int:
        """Put the event of a batch of one into the open batch, or queue that as the open one; returns what it takes."""
        if self.open is not None and self.open.takes(batch):
            grown = self.open.join(batch)
            self.ordinary_bytes += grown
        else:
            grown = batch.size
            self.append(batch)
            self.open = batch
        if self.open.is_full:
            self.close()
        return grown

    def close(self) -> None:
        """Nothing is added any more to the batch that is open."""
        self.open = None

    def close_due(self, now: float) -> None:
        if self.open is not None and self.open.due <= now:
            self.close()

    def give_back(self, message: Message) -> None:
        if message.protected:
            self.protected.appendleft(message)
        else:
            self.ordinary.appendleft(message)
            self.ordinary_bytes += message.size

    def head(self) -> Message | None:
        ordinary, protected = self.ordinary, self.protected
        if not protected:
            return ordinary[0] if ordinary else None
        if not ordinary or protected[0].number < ordinary[0].number:
            return protected[0]
        return ordinary[0]

    def sendable(self) -> Message | None:
        """The head, unless it is the batch that is open."""
        head = self.head()
        return None if head is self.open else head

    def pop(self, head: Message) -> None:
        if head.protected:
            self.protected.popleft()
        else:
            self.pop_ordinary()

    def pop_ordinary(self) -> Message:
        message = self.ordinary.popleft()
        self.ordinary_bytes -= message.size
        if message is self.open:
            self.close()
        return message
