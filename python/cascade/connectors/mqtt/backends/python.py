"""The pure-Python backend: aiomqtt's and paho's connection under the same promises as the compiled core."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Literal, cast

from ..encoding import TooLarge, Unserialisable, encode_json, encode_raw
from ..errors import TopicError
from ..options import Options, Will
from ..topics import check_name
from .base import ACCEPTED, REJECTIONS, Event, RawStats
from .fallback.batch import Batch
from .fallback.driver import Driver
from .fallback.events import Events
from .fallback.inbox import Inbound, Inbox
from .fallback.io_thread import io_loop
from .fallback.lane import Message
from .fallback.outbox import Outbox

__all__ = ["PythonBackend"]

_CODES = {reason: code for code, reason in enumerate(REJECTIONS)}


class PythonBackend:
    """One connection; see ``backends.base.Backend`` for what each method promises."""

    name: Literal["native", "python"] = "python"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._events = Events()
        self._inbound = Inbound()
        self._inboxes: dict[int, Inbox] = {}
        self._outbox = Outbox(options.max_queued_bytes, options.max_queued_events, options.on_full, self._events.push)
        # Without the program's hooks: the I/O thread would keep what they belong to, the connector included.
        bare = dataclasses.replace(options, default=None, on_state_change=None, logger=None)
        self._driver = Driver(bare, self._outbox, self._events, self._inbound)
        self._refused = threading.local()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = threading.Event()

    def attach(
        self, loop: asyncio.AbstractEventLoop, on_events: Callable[[], None], on_inbox: Callable[[int], None]
    ) -> None:
        self._events.attach(loop, on_events, on_inbox)
        for inbox in list(self._inboxes.values()):
            inbox.ring()

    def detach(self) -> None:
        self._events.detach()

    def start(self, will_topic: str, will_payload: bytes, will_qos: int, will_retain: bool) -> None:
        will = Will(topic=will_topic, payload=will_payload, qos=will_qos, retain=will_retain) if will_topic else None
        self._loop = self._loop or io_loop()
        self._outbox.open()
        self._call(self._driver.start, will)

    def stop(self, timeout_s: float, goodbye: bool) -> None:
        self._outbox.close()
        self._call(self._driver.stop, timeout_s, goodbye)

    def publish(self, topic: Any, payload: Any, qos: int, retain: bool, priority: bool = False) -> int:
        return self._submit(topic, payload, qos, retain, priority, track=False)[0]

    def publish_tracked(self, topic: Any, payload: Any, qos: int, retain: bool) -> tuple[int, int]:
        return self._submit(topic, payload, qos, retain, True, track=True)

    def publisher(self, refused: Callable[[int], bool], said: bytearray, method: Callable[..., bool]) -> None:
        return None

    def awaitable_publisher(self, not_queued: Callable[..., Awaitable[None]], method: Callable[..., Any]) -> None:
        return None

    def leave_to_parent(self) -> None:
        self._left.set()

    def rejection_detail(self) -> str:
        return getattr(self._refused, "detail", "")

    def withdraw(self, token: int) -> bool:
        return self._outbox.withdraw(token)

    def subscribe(
        self, subscription: int, topic_filter: str, qos: int, decode: Literal["json", "text", "bytes"], batches: bool
    ) -> Inbox:
        driver = self._driver

        def room() -> None:
            # It knows the driver alone: the I/O thread holds the inbox, and must not hold this.
            io_loop().call_soon_threadsafe(driver.room)

        inbox = self._inboxes[subscription] = Inbox(
            subscription,
            topic_filter,
            qos,
            decode,
            batches=batches,
            max_bytes=self._options.max_inbox_bytes,
            max_messages=self._options.max_inbox_messages,
            inbound=self._inbound,
            events=self._events,
            on_room=room,
        )
        self._call(self._driver.subscribe, inbox)
        return inbox

    def unsubscribe(self, subscription: int) -> None:
        if self._inboxes.pop(subscription, None) is not None:
            self._call(self._driver.unsubscribe, subscription)

    def flush(self) -> int:
        token = self._outbox.flush()
        if self._options.batch is not None and self._loop is not None:
            # A batch that was open is closed by now.
            self._call(self._driver.pump)
        return token

    def flush_left(self, token: int) -> int:
        return self._outbox.flush_left(token)

    def end_flush(self, token: int) -> None:
        self._outbox.end_flush(token)

    def beat(self, alive_s: float) -> None:
        self._call(self._driver.beat, alive_s)

    def events(self) -> list[Event]:
        return self._events.take()

    def wait(self, timeout_s: float) -> bool:
        return self._events.wait(timeout_s)

    def stats(self) -> RawStats:
        received, inbox_dropped = self._inbound.snapshot()
        snapshot = {
            **self._driver.connection._asdict(),
            **self._outbox.snapshot(time.monotonic()),
            "received": received,
            "inbox_dropped": inbox_dropped,
        }
        return cast(RawStats, snapshot)

    def _submit(
        self, topic: Any, payload: Any, qos: Any, retain: Any, priority: bool, *, track: bool
    ) -> tuple[int, int]:
        if self._left.is_set():
            return _CODES["forked"], 0
        closed = self._outbox.closed_reason()
        if closed is not None:
            return self._refuse(closed, "")
        try:
            name = _topic_bytes(topic) if type(topic) is str else _check(topic)
            if not isinstance(qos, int) or qos not in (0, 1, 2):
                return self._refuse("invalid_qos", f"qos must be 0, 1 or 2, not {qos!r}")
            options = self._options
            raw = encode_raw(payload, options.max_message_bytes)
            data = encode_json(payload, options.default, options.max_message_bytes) if raw is None else raw
        except TopicError as error:
            return self._refuse("invalid_topic", str(error))
        except Unserialisable as error:
            return self._refuse("unserialisable", str(error))
        except TooLarge as error:
            return self._refuse("too_large", str(error))
        if self._left.is_set():
            # The hook has forked, and this is the child.
            return _CODES["forked"], 0
        retain, qos, batching = bool(retain), int(qos), self._options.batch
        protected = priority or retain
        message: Message
        if batching is not None and raw is None and not protected and Batch.can_go_to(name):
            message = Batch(name, data, qos, batching)
        else:
            message = Message(name, data, qos, retain, protected)
        reason, wake = self._outbox.add(message, time.monotonic(), track=track)
        if reason is not None:
            self._refused.detail = _WORDS.get(reason, "")
            return _CODES[reason], 0
        if wake:
            self._call(self._driver.pump)
        return ACCEPTED, message.token

    def _refuse(self, reason: str, detail: str) -> tuple[int, int]:
        self._refused.detail = detail
        return _CODES[self._outbox.reject(reason)], 0

    def _call(self, command: Callable[..., None], *args: Any) -> None:
        """Run a command on the I/O thread."""
        # Kept: ``stop`` may come from the garbage collector, anywhere, also within ``io_loop``.
        loop = self._loop = self._loop or io_loop()
        loop.call_soon_threadsafe(command, *args)


_WORDS = {
    "queue_full": "the outbound queue is full",
    "too_large": "it does not fit into an empty queue of max_queued_bytes",
}


def _check(topic: Any) -> bytes:
    check_name(topic)
    return str(topic).encode()


# The topics of a program are few, and publishing is hot.
_topic_bytes = lru_cache(maxsize=1024)(_check)
