"""The bounded inbound queue of one subscription, filled by the I/O thread, emptied by the user's loop."""

from __future__ import annotations

import inspect
import logging
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any, Literal

from ...batching import SUFFIX, batch_filter
from ...encoding import Undecodable, decode_json
from ...topics import matches
from .events import Events

__all__ = ["Decode", "Inbound", "Inbox"]

Decode = Literal["json", "text", "bytes"]

_HEADER = 120
"""What one queued message costs beside topic and payload, in bytes."""

_STUCK_S = 0.25
"""A full queue whose consumer has taken nothing for so long does not hold up reading any more."""

_WORDS = {"not_utf8": "is not UTF-8", "not_json": "is not JSON", "too_deep": "is nested too deep"}


class Inbound:
    """The inbound half of a connector's statistics, shared by its inboxes."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._received = 0
        self._dropped: Counter[str] = Counter()

    def count_received(self, messages: int) -> None:
        with self._lock:
            self._received += messages

    def count_dropped(self, reason: str, messages: int = 1) -> None:
        with self._lock:
            self._dropped[reason] += messages

    def snapshot(self) -> tuple[int, dict[str, int]]:
        with self._lock:
            return self._received, dict(self._dropped)


class Inbox:
    """One subscription and what has arrived for it.

    Args:
        batches: batches are taken apart, and those of the topics that the filter matches are asked for.
        max_bytes: cap on the memory of waiting messages.
        max_messages: cap on their number, or None.
        on_room: called on the consumer's thread when a queue that was full has room again.
    """

    def __init__(
        self,
        subscription: int,
        topic_filter: str,
        qos: int,
        decode: Decode,
        *,
        batches: bool,
        max_bytes: int,
        max_messages: int | None,
        inbound: Inbound,
        events: Events,
        on_room: Callable[[], None],
    ) -> None:
        self.subscription, self.topic_filter, self.qos = subscription, topic_filter, qos
        self.batches = batches
        of_batches = batch_filter(topic_filter) if batches else None
        self.filters = (topic_filter,) if of_batches is None else (of_batches, topic_filter)
        self._decode = decode
        self._max_bytes, self._max_messages = max_bytes, max_messages
        self._inbound, self._events, self._on_room = inbound, events, on_room
        self._lock = threading.RLock()
        self._queue: deque[tuple[str, bytes, int]] = deque()
        self._bytes = self._given = self._read = 0
        self._armed = True
        self._room_wanted = False
        self._seen_read, self._seen_at = 0, 0.0
        self._undecodable = False
        self._interrupted = False
        self.topic: str | None = None

    def take(self) -> tuple[str, Any, int] | None:
        """The next message as topic, decoded payload and flags; None: the next arrival rings."""
        while True:
            with self._lock:
                if not self._queue:
                    self._armed = True
                    return None
                topic, payload, flags = self._queue.popleft()
                self._bytes -= _size(topic, payload)
                self._read += 1
                room = self._room_wanted and self._is_half_empty()
                self._room_wanted = self._room_wanted and not room
            if room:
                self._on_room()
            try:
                value = self._decoded(payload)
            except Undecodable as error:
                words = _WORDS[error.reason]
                self.skip(f"a message on {topic} was dropped: its payload {words}", error.reason)
                continue
            self._undecodable = False
            return topic, value, flags

    def serve(self, callback: Callable[[str, Any], Any], budget: int) -> Awaitable[Any] | Literal[True] | None:
        """Call back for up to ``budget`` messages: None, none is left; True, some may be; or what to await first."""
        self._interrupted = False
        for _ in range(budget):
            message = self.take()
            if message is None:
                return None
            self.topic = message[0]
            result = callback(message[0], message[1])
            if result is not None and (type(result) is CoroutineType or inspect.isawaitable(result)):
                return result
            if self._interrupted:
                break
        return True

    def interrupt(self) -> None:
        """Let ``serve`` return after the callback that it calls now."""
        self._interrupted = True

    def position(self) -> int:
        """How many messages have left the queue: taken, or skipped as undecodable."""
        return self._read

    def matches(self, topic: str) -> bool:
        """Whether a message to this topic is for it. A batch is where each of its events would be."""
        if not self.unpacks(topic):
            return matches(self.topic_filter, topic)
        if matches(self.topic_filter, topic.removesuffix(SUFFIX)):
            return True
        return self.topic_filter.endswith(SUFFIX) and matches(self.topic_filter, topic)

    def unpacks(self, topic: str) -> bool:
        """Whether it wants the events of a message to this topic, which is a batch."""
        return self.batches and topic.endswith(SUFFIX)

    def given(self) -> int:
        """How many messages have entered the queue."""
        return self._given

    def give(self, topic: str, payloads: list[bytes], flags: int, now: float) -> None:
        """Append messages, also to a full queue: that is the caller's choice."""
        with self._lock:
            if not self._queue:
                self._seen_at = now
            self._queue.extend((topic, payload, flags) for payload in payloads)
            self._bytes += _size(topic, *payloads)
            self._given += len(payloads)
            ring = self._armed and bool(payloads)
            self._armed = self._armed and not ring
        self._inbound.count_received(len(payloads))
        if ring:
            self._events.inbox_ready(self.subscription)

    def ring(self) -> None:
        """Wake the consumer if anything waits: a loop has just been attached."""
        with self._lock:
            ring = bool(self._queue)
        if ring:
            self._events.inbox_ready(self.subscription)

    def skip(self, line: str, reason: str) -> None:
        """Count a message that nobody can be given; the line is logged for the first of a run of them."""
        self._inbound.count_dropped(reason)
        if not self._undecodable:
            self._undecodable = True
            self._events.push("log", logging.WARNING, line)

    def is_full(self, topic: str, payloads: list[bytes]) -> bool:
        """Whether messages have to wait, together. An empty queue takes any one, and any batch."""
        with self._lock:
            if not self._queue or self._has_room(_size(topic, *payloads)):
                return False
            self._room_wanted = True
            return True

    def has_room(self) -> bool:
        """Whether a queue that was full is half empty by now; if not, ``on_room`` will be called."""
        with self._lock:
            self._room_wanted = not self._is_half_empty()
            return not self._room_wanted

    def is_overfull(self) -> bool:
        """Whether unacknowledged messages have filled it twice over."""
        with self._lock:
            return self._bytes > 2 * self._max_bytes

    def is_stuck(self, now: float) -> bool:
        """Whether messages wait and the consumer has taken none of late."""
        with self._lock:
            if self._read != self._seen_read or not self._queue:
                self._seen_read, self._seen_at = self._read, now
            return now - self._seen_at >= _STUCK_S

    def _has_room(self, size: int) -> bool:
        if self._max_messages is not None and len(self._queue) >= self._max_messages:
            return False
        return self._bytes + size <= self._max_bytes

    def _is_half_empty(self) -> bool:
        if self._max_messages is not None and len(self._queue) * 2 > self._max_messages:
            return False
        return self._bytes * 2 <= self._max_bytes

    def _decoded(self, payload: bytes) -> Any:
        if self._decode == "json":
            return decode_json(payload)
        if self._decode == "bytes":
            return payload
        try:
            return payload.decode()
        except UnicodeDecodeError:
            raise Undecodable("not_utf8") from None


def _size(topic: str, *payloads: bytes) -> int:
    return (len(topic) + _HEADER) * len(payloads) + sum(map(len, payloads))
