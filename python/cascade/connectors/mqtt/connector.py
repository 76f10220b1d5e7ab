"""``MqttConnector``: what programs see. It is the same for both backends."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import delivery, process
from .backends import choose
from .errors import ConnectError
from .messages import MessageStream
from .options import AfterFork, Options
from .protocols import Callback
from .refusals import FORKED, QUEUE_FULL
from .subscriptions import CallbackSubscription, Decode

if TYPE_CHECKING:
    from .lifecycle import Lifecycle
    from .link import Link
    from .stats import Stats

__all__ = ["MqttConnector"]

_SECRET = (
    "password", "will", "tls_context", "tls_params", "proxy", "websocket_headers", "websocket_path", "properties",
)  # fmt: skip


class MqttConnector:
    """A connection to an MQTT broker that never slows, blocks or fails the program around it.

    Args:
        hostname: the broker's name or address; with ``transport="unix"`` the socket's path.
        port: its TCP port.
        options: see the README's table. Durations are in seconds, sizes in bytes.

    Raises:
        TypeError: an unknown option, or a value of the wrong type; the message names it.
        ValueError: a value out of range, or options that exclude each other.
        BackendUnavailable: ``backend=`` asks for one that cannot be imported.

    It may be made outside an event loop and used in one loop after another. ``publish_nowait``,
    ``stats``, ``open``, ``close``, and ``flush`` without a loop may be called from any thread.
    Subscriptions are served by the loop of ``connect``.
    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        # Of our own, so that programs may patch it and put it back: CPython leaves a class whose
        # inherited __new__ was patched refusing arguments.
        return super().__new__(cls)

    def __init__(self, hostname: str, port: int = 1883, **options: Any) -> None:
        self.hostname = hostname
        self.port = port
        self.client_kwargs = options
        self._options = Options.build(hostname, port, **options)
        if self._options.presence and self._options.will is not None:
            raise ValueError("presence publishes a will of its own: give presence or will, not both")
        self._backend = choose(self._options)
        self._after_fork: AfterFork | None = None
        self._begin_incarnation()
        process.note_made(self)

    # Opening and closing

    async def connect(self) -> None:
        """Connect, or wait for the attempt that is under way; a second call while open does nothing.

        Transient failures are tried again for ``connect_timeout`` seconds, permanent ones (MQTT
        3.1.1 section 3.2.2.3, return codes 1, 2, 4 and 5) end at once. Events queue from this call on.

        Raises:
            ConnectError: there is no connection and ``first_connect="require"``; what was queued is
                given up. With ``"background"`` it returns instead, and goes on trying.
        """
        await self._need_lifecycle().connect()

    async def disconnect(self, timeout: float = 2.0) -> None:
        """Send what is queued for at most ``timeout`` seconds, send DISCONNECT, close; never raises.

        Subscriptions are remembered for the next ``connect``. What could not be sent is in ``stats()``.
        """
        # Publishes that were begun as tasks before this call get their one step first: they belong to the flush.
        await asyncio.sleep(0)
        self._after_fork = None
        if self._lifecycle is not None:
            await self._lifecycle.disconnect(timeout)

    def open(self, timeout: float | None = None) -> None:
        """``connect()`` for a thread without an event loop: blocks for at most ``timeout`` seconds.

        Raises:
            ConnectError: as ``connect()``.
            RuntimeError: called in a running event loop, which it would block.
        """
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("open() would block this event loop; await connect() instead")
        self._need_lifecycle().open(self._options.connect_timeout_s if timeout is None else timeout)

    def close(self, timeout: float = 2.0) -> None:
        """``disconnect()`` for a thread without an event loop; never raises."""
        self._after_fork = None
        if self._lifecycle is not None:
            self._lifecycle.close(timeout)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.disconnect()

    # Publishing

    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, retain: bool = False) -> bool:
        """Encode and queue one message; returns whether it was queued. Never blocks.

        Args:
            payload: dict, list, tuple, numbers and bool become JSON, encoded before this returns; str
                and bytes go as they are; None and "" are an empty payload, which clears a retained message.
            qos: 0, 1 or 2 (MQTT 3.1.1 section 4.3).

        What is refused is counted in ``stats().rejected`` and logged once per change of state. Only
        with ``strict=True`` it raises ``PayloadError``, ``TopicError`` and ``ValueError`` for mistakes.
        """
        code = self._publish(topic, payload, qos, retain)
        return not code or self._refused(code)

    async def publish(self, topic: str, payload: Any, qos: int = 0, retain: bool = False) -> None:
        """``publish_nowait`` as a coroutine. It completes without suspending in every state of the
        connection, except with ``on_full="wait"``: then it waits while the queue is full. Await it at once: the
        compiled core takes the message at the call, the fallback when the coroutine begins."""
        # By a name of its own: CPython finds an attribute faster than a method that stands in an instance.
        offer = self._offer
        code = self._publish(topic, payload, qos, retain) if offer is None else offer(topic, payload, qos, retain)
        if code:
            await self._not_queued(code, topic, payload, qos, retain)

    async def publish_confirmed(
        self, topic: str, payload: Any, qos: int = 1, timeout: float | None = None, *, retain: bool = False
    ) -> None:
        """Publish and wait until the broker has acknowledged, for at most ``timeout`` seconds
        (default: the option ``timeout``).

        Raises:
            ConfirmationError: no acknowledgement; ``may_arrive`` says whether it was sent.
            PayloadError, TopicError: the message cannot be published.
            ValueError: ``qos=0``, which is never acknowledged.
        """
        if qos == 0:
            raise ValueError("qos 0 is never acknowledged (MQTT 3.1.1 section 4.3.1); use qos=1")
        link = self._publishing_link()
        if link is None:
            raise self._need_link().refusals.error(FORKED, self._need_link().backend)
        if link.state != "closed":
            link.attach()
        seconds = self._options.timeout_s if timeout is None else timeout
        await delivery.confirm(link, topic, payload, qos, retain, seconds)

    def flush(self, timeout: float | None = None) -> Any:
        """Wait until what was accepted before this call is sent, at QoS 1 acknowledged.

        In a running event loop it returns an awaitable: ``left = await connector.flush(5)``. Elsewhere
        it blocks: ``left = connector.flush(5)``. Either way the int is how many events are left after
        ``timeout`` seconds (default: the option ``timeout``).
        """
        link = self._need_link()
        seconds = self._options.timeout_s if timeout is None else timeout
        if asyncio._get_running_loop() is None:
            return delivery.flush_blocking(link, seconds)
        if link.state != "closed":
            link.attach()
        return delivery.flush(link, seconds)

    # Subscribing

    async def subscribe(
        self, topic_filter: str, callback: Callback, *, qos: int = 1, decode: Decode = "json", batches: bool = False
    ) -> CallbackSubscription:
        """Call ``callback(topic, payload)`` for each message that matches, one at a time, in order.

        While connected it returns when the retained messages have been through the callback, awaited,
        or after ``timeout`` seconds with a warning. Otherwise it is remembered, and returns at once.
        A callback that raises is logged; the next message is delivered all the same.

        Args:
            callback: a coroutine function or a plain one; it runs on the loop of ``connect``.
            qos: the highest that the broker is asked for: 0, 1 or 2.
            decode: ``"json"`` (an empty payload arrives as ``{}``), ``"text"`` or ``"bytes"``.
            batches: also take what publishers with the option ``batch`` put together on ``<topic>/@batch``: its
                events come one by one, on their own topics, in order with those that were sent alone.

        Raises:
            TopicError: the filter is invalid (MQTT 3.1.1 section 4.7).
            SubscribeError: the broker refused and ``strict=True``; otherwise that is logged.
        """
        link = self._need_link()
        subscription = CallbackSubscription(link, topic_filter, callback, qos, decode, batches=batches)
        if link.state != "closed":
            link.attach()
        await subscription.established("retained", strict=self._options.strict)
        return subscription

    def messages(
        self, topic_filter: str, *, qos: int = 1, decode: Decode = "json", batches: bool = False
    ) -> MessageStream:
        """The messages that match as an asynchronous iterator of ``Message``; subscribed from this call on.

        ``async for message in connector.messages("a/#"): …`` unsubscribes when the loop is left and the
        iterator is dropped; ``async with connector.messages("a/#") as messages: …`` at once.

        Raises:
            TopicError: the filter is invalid (MQTT 3.1.1 section 4.7).
        """
        link = self._need_link()
        stream = MessageStream(link, topic_filter, qos, decode, batches=batches)
        if link.state != "closed" and asyncio._get_running_loop() is not None:
            link.attach()
        return stream

    # Looking

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._link is not None and bool(self._link.backend.stats()["connected"])

    @property
    def source_id(self) -> str:
        """The name of this process in events and presence."""
        return self._incarnation.source

    @property
    def epoch(self) -> str:
        """16 hexadecimal digits that are new with each connector, and after a fork."""
        return self._incarnation.epoch

    def stats(self) -> Stats:
        """What this connector has done, as one consistent snapshot; see ``Stats``."""
        stats = self._need_link().stats()
        if not self._forked:
            return stats
        rejected = {**stats.rejected, "forked": self._forked}
        return dataclasses.replace(stats, submitted=stats.submitted + self._forked, rejected=rejected)

    def __repr__(self) -> str:
        shown = "".join(
            f", {name}={'***' if name in _SECRET else repr(value)}" for name, value in self.client_kwargs.items()
        )
        state = "closed" if self._link is None else self._link.state
        return f"<MqttConnector({self.hostname!r}, {self.port}{shown}) {state}>"

    # One process's part

    def __del__(self) -> None:
        # A method, not weakref.finalize: that would hold the link, its hooks, and so most often their owner and this.
        link = self.__dict__.get("_link")
        if link is not None:
            link.abandon()

    def _begin_incarnation(self) -> None:
        # Not at the top: a program that makes no connector does not pay for them. Nor where they are first needed: a
        # child that is forked while another thread imports would wait for ever.
        from .incarnation import Incarnation
        from .lifecycle import Lifecycle
        from .link import Link

        self._parts = Link, Lifecycle
        # Re-entrant: a signal's handler or a finalizer that publishes may come in between.
        self._lock = threading.RLock()
        self._link: Link | None = None
        self._lifecycle: Lifecycle | None = None
        self._incarnation = Incarnation(self._options)
        self._offer: Callable[..., int] | None = None
        self._forked = 0

    def _need_link(self) -> Link:
        """The link, made at the first need: a connector that is never used costs nothing."""
        if self._link is not None:
            return self._link
        with self._lock:
            if self._link is None:
                new_link, new_lifecycle = self._parts
                link = new_link(self._options, self._backend, self._incarnation)
                lifecycle = new_lifecycle(link)
                if self._link is None:
                    self._lifecycle, self._link = lifecycle, link
            return self._link

    def _need_lifecycle(self) -> Lifecycle:
        self._after_fork = None
        link = self._need_link()
        if self._offer is None:
            self._shorten(link)
        assert self._lifecycle is not None
        return self._lifecycle

    def _publishing_link(self) -> Link | None:
        """The link for a message; after a fork that is where a new one is started, or None."""
        link = self._need_link()
        with self._lock:
            after_fork = self._after_fork
            if after_fork == "close":
                self._forked += 1
                return None
            self._after_fork = None
            if after_fork == "reopen":
                with suppress(ConnectError):
                    link.start(None)
        return link

    def _publish(self, topic: Any, payload: Any, qos: int, retain: bool, priority: bool = False) -> int:
        """Publish by the backend's method, which the first publish of a process has to find."""
        if self._offer is not None:
            return self._offer(topic, payload, qos, retain, priority)
        link = self._publishing_link()
        if link is None:
            return FORKED
        self._shorten(link)
        return link.backend.publish(topic, payload, qos, retain, priority)

    def _shorten(self, link: Link) -> None:
        """Let the backend save the frames of the publish methods, unless they are overridden or patched."""
        self._offer = link.backend.publish
        # Not through __dict__: that would make all attributes slower to find.
        if type(self).publish_nowait is _PUBLISH_NOWAIT:
            now = link.backend.publisher(self._refused, link.refusals.said, _PUBLISH_NOWAIT.__get__(self))
            if now is not None:
                self.publish_nowait = now  # type: ignore[method-assign]
        if type(self).publish is _PUBLISH:
            awaitable = link.backend.awaitable_publisher(self._not_queued, _PUBLISH.__get__(self))
            if awaitable is not None:
                self.publish = awaitable  # type: ignore[method-assign]

    async def _not_queued(self, code: int, topic: str, payload: Any, qos: int, retain: bool) -> None:
        if code == QUEUE_FULL and self._options.on_full == "wait":
            link = self._need_link()
            if link.state != "closed":
                link.attach()
            code = await delivery.queue_when_there_is_room(link, topic, payload, qos, retain)
        if code:
            self._refused(code)

    def _publish_first(self, topic: str, payload: Any, qos: int) -> bool:
        """Queue a message that may use the reserve of a full queue."""
        code = self._publish(topic, payload, qos, False, True)
        return not code or self._refused(code)

    def _refused(self, code: int) -> bool:
        link = self._need_link()
        link.refusals.note(code, link.backend)
        return False

    def _leave_to_parent(self) -> object:
        """In a forked child: what must be kept for ever, because touching it would harm the parent."""
        inherited = (
            self._link,
            self._lifecycle,
            self._offer,
            self.__dict__.pop("publish_nowait", None),
            self.__dict__.pop("publish", None),
        )
        link = self._link
        was_open = self._after_fork is not None or (link is not None and link.state not in ("closing", "closed"))
        if link is not None:
            link.leave_to_parent()
        self._begin_incarnation()
        if was_open:
            self._after_fork = self._options.after_fork
            if self._options.identifier:
                # Two clients under one identifier would throw each other out (MQTT 3.1.1 section 3.1.4).
                own = f"{self._options.identifier}-{os.getpid()}"
                self._options = dataclasses.replace(self._options, identifier=own)
        return inherited


_PUBLISH_NOWAIT = MqttConnector.publish_nowait
_PUBLISH = MqttConnector.publish
