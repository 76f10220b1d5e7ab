"""The one seam between the Python face and what moves the bytes.

A backend owns the connection, the outbound queue and the inbound queues, on a thread of its own.
All of its methods are thread-safe, never raise for the network's sake, and return at once, except
``wait``. What happens later is told as events, fetched with ``events()``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple, Protocol, TypedDict

from ..options import Options

__all__ = ["ACCEPTED", "REJECTIONS", "Backend", "Event", "Inbox", "RawStats"]

ACCEPTED = 0
REJECTIONS = (
    "accepted",
    "not_connected",
    "closed",
    "queue_full",
    "too_large",
    "invalid_topic",
    "invalid_qos",
    "unserialisable",
    "forked",
)
"""What ``Backend.publish`` returns is an index into this; 0 is success."""


class Event(NamedTuple):
    """Something that happened on the backend's thread. Kinds, with what ``token`` and ``detail`` hold:

    ================  ==================  =========================================================
    kind              token               detail
    ================  ==================  =========================================================
    ``connected``     1: session present  the protocol version, ``"3.1.1"`` or ``"5"``
    ``failed``        1: permanent        why an attempt to connect failed; another follows
    ``disconnected``  0                   why an established connection ended; attempts follow
    ``subscribed``    subscription        granted QoS, or 128: refused (SUBACK return code)
    ``retained``      subscription        how many messages its inbox had been given when the
                                          retained ones were through
    ``unsubscribed``  subscription        None
    ``acknowledged``  publish token       None
    ``given_up``      publish token       reason of the drop
    ``flushed``       flush token         None
    ``space``         0                   None: the queue was full and has room again
    ``full``          0                   None: from here on the oldest events are dropped
    ``drained``       0                   how many were, now that the queue is half empty again
    ``gap``           0                   ``(topic, {reason: count}, since, until)``: events of this
                                          telemetry topic that were lost while the queue was full;
                                          Unix times in seconds
    ``stopped``       0                   None: the connection is closed, the stop is complete
    ``log``           logging level       a line to log, secrets left out
    ================  ==================  =========================================================
    """

    kind: str
    token: int
    detail: Any


class Inbox(Protocol):
    """The bounded inbound queue of one subscription."""

    def take(self) -> tuple[str, Any, int] | None:
        """The next message as ``(topic, payload, flags)``, or None where there is none now.

        ``payload`` is decoded as the subscription asked; what cannot be decoded is counted, logged
        (a ``log`` event) and skipped. ``flags`` is ``qos | retain << 2 | dup << 3``. After None the
        next arrival calls the ``on_inbox`` given to ``Backend.attach`` with this subscription.
        """

    def serve(self, callback: Callable[[str, Any], Any], budget: int) -> Awaitable[Any] | Literal[True] | None:
        """Call ``callback(topic, payload)`` for up to ``budget`` messages, one after another.

        Returns None where no message is left, as ``take`` does; True where some may be; and where a callback has to
        be waited for, an awaitable that ends when it is through. What a callback raises is raised.
        """

    def interrupt(self) -> None:
        """Let ``serve`` return after the callback that it calls now."""

    @property
    def topic(self) -> str | None:
        """The topic of the last message taken."""

    def position(self) -> int:
        """How many messages have left the queue so far: taken, or skipped as undecodable."""


class RawStats(TypedDict):
    """What ``Backend.stats`` returns; the fields are those of ``Stats``."""

    protocol: str
    connected: bool
    connected_since: float | None
    submitted: int
    rejected: dict[str, int]
    accepted: int
    written: int
    acknowledged: int
    dropped: dict[str, int]
    queued_events: int
    queued_bytes: int
    in_flight: int
    uncertain: int
    oldest_queued_s: float
    received: int
    inbox_dropped: dict[str, int]
    reconnects: int
    last_error: str | None


class Backend(Protocol):
    """One connection to one broker, and its queues."""

    name: Literal["native", "python"]

    def __init__(self, options: Options) -> None: ...

    def attach(
        self,
        loop: asyncio.AbstractEventLoop,
        on_events: Callable[[], None],
        on_inbox: Callable[[int], None],
    ) -> None:
        """Wake this loop from now on: ``on_events()`` when events wait, ``on_inbox(subscription)``
        when an inbox that was found empty has a message. Both are called on the loop."""

    def detach(self) -> None:
        """Wake no loop any more."""

    def start(self, will_topic: str, will_payload: bytes, will_qos: int, will_retain: bool) -> None:
        """Queue events from now on, and dial, again and again, until ``stop``.

        An empty ``will_topic`` means no will (MQTT 3.1.1 section 3.1.2.5). May be called again
        after ``stopped``.
        """

    def stop(self, timeout_s: float, goodbye: bool) -> None:
        """Refuse new events, send what is queued, then end the connection; ``stopped`` follows
        within ``timeout_s``. ``goodbye``: send DISCONNECT, so that the will is not published."""

    def publish(self, topic: Any, payload: Any, qos: int, retain: bool, priority: bool = False) -> int:
        """Encode and queue one message; returns an index into ``REJECTIONS``, 0 for queued.

        dict, list, tuple, int, float, bool, and what ``Options.default`` turns into one of them,
        become JSON; str, bytes-like objects go as they are; None is an empty payload.
        """

    def publish_tracked(self, topic: Any, payload: Any, qos: int, retain: bool) -> tuple[int, int]:
        """As ``publish`` with priority; returns ``(code, token)``. ``acknowledged`` or ``given_up``
        follows for the token when the code is 0."""

    def publisher(
        self, refused: Callable[[int], bool], said: bytearray, method: Callable[..., bool]
    ) -> Callable[..., bool] | None:
        """``MqttConnector.publish_nowait`` as one callable that looks like ``method``, which is the method itself, or
        None where that is as cheap.

        ``refused`` is called with the code of a message that is not queued, unless ``said`` holds 1 at that
        index, which stands for False; ``method`` with all arguments, after ``leave_to_parent``.
        """

    def awaitable_publisher(
        self, not_queued: Callable[..., Awaitable[None]], method: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """``MqttConnector.publish``, likewise.

        It takes the message at the call. ``not_queued`` is called with the code of one that is not queued and all
        arguments, and returns what is to be awaited.
        """

    def leave_to_parent(self) -> None:
        """In a forked child, once: a lock of this may be held for ever, so ``publish`` touches none any more,
        and answers ``forked``. Nothing else is called from here on."""

    def rejection_detail(self) -> str:
        """Why this thread's last ``publish`` was refused, in words; without secrets or payload."""

    def withdraw(self, token: int) -> bool:
        """Take a tracked message back, counted as ``expired``; False where it was sent already."""

    def subscribe(
        self, subscription: int, topic_filter: str, qos: int, decode: Literal["json", "text", "bytes"], batches: bool
    ) -> Inbox:
        """Add a subscription. While connected SUBSCRIBE goes out at once; after every CONNACK it
        goes out (again). ``subscribed`` and ``retained`` follow each time. ``topic_filter`` is valid.

        ``batches``: ``batching.batch_filter`` of it is subscribed to as well, by a SUBSCRIBE of its own, and both
        answers are told as one, the code of the first. A message to ``<topic>/@batch`` is then, if ``topic_filter``
        matches ``<topic>``, handed over as the single messages to ``<topic>`` that it holds. Where it is none, it is
        refused: counted in ``inbox_dropped`` as one, logged once for a run of them, and acknowledged.
        """

    def unsubscribe(self, subscription: int) -> None:
        """Remove it; UNSUBSCRIBE goes out with the last subscription of its filter."""

    def flush(self) -> int:
        """Begin a flush of what was accepted before now; returns its token. ``flushed`` follows."""

    def flush_left(self, token: int) -> int:
        """How many events of a flush are still queued or unacknowledged; ends with the answer 0 or
        with ``end_flush``."""

    def end_flush(self, token: int) -> None:
        """Forget a flush."""

    def beat(self, alive_s: float) -> None:
        """The program is alive, and says so again within ``alive_s`` seconds: else the connection is ended
        without DISCONNECT, so that the will is published, and not made again until it does. 0: no more of that."""

    def events(self) -> list[Event]:
        """Take all events that wait, oldest first."""

    def wait(self, timeout_s: float) -> bool:
        """Block the calling thread, without the GIL, until events wait; False on time-out."""

    def stats(self) -> RawStats:
        """One consistent snapshot."""
