"""One lane of the outbound queue: unsent messages of one QoS, first in first out."""

from __future__ import annotations

from collections import deque

__all__ = ["OVERHEAD", "Lane", "Message"]

OVERHEAD = 240
"""What one queued event costs beside topic and payload, in bytes: the message, its numbers, its slots."""


class Message:
    """One accepted event; ``number`` counts acceptances, ``packet_id`` is the sender's, ``released``: PUBREC came."""

    __slots__ = (
        "born",
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

    def __init__(self, topic: bytes, payload: bytes, qos: int, retain: bool, protected: bool) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.protected = protected
        self.size = len(topic) + len(payload) + OVERHEAD
        self.number = 0
        self.token = 0
        self.packet_id = 0
        self.born = 0.0
        self.sent = self.released = False

    @property
    def lane(self) -> int:
        """0 for QoS 0, 1 for what is kept until it is acknowledged."""
        return 1 if self.qos else 0


class Lane:
    """Two queues under one order: the ordinary ones can be dropped from their front, the protected ones stay."""

    def __init__(self) -> None:
        self.ordinary: deque[Message] = deque()
        self.protected: deque[Message] = deque()
        self.ordinary_bytes = 0

    def append(self, message: Message) -> None:
        if message.protected:
            self.protected.append(message)
        else:
            self.ordinary.append(message)
            self.ordinary_bytes += message.size

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

    def pop(self, head: Message) -> None:
        if head.protected:
            self.protected.popleft()
        else:
            self.pop_ordinary()

    def pop_ordinary(self) -> Message:
        message = self.ordinary.popleft()
        self.ordinary_bytes -= message.size
        return message
