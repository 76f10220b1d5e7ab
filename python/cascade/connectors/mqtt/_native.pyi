"""The compiled core. ``backends/native.py`` is its only user; the meaning of each method is told by
the ``Backend`` protocol in ``backends/base.py``, which these signatures match.

Nothing here raises for the network's sake, and nothing blocks. Everything is
thread-safe except that one ``Inbox`` belongs to one consumer.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Literal, final

from .backends.base import RawStats
from .options import Options

def encode(value: object, default: Callable[[Any], object] | None = None, limit: int = ...) -> bytes:
    """A payload as it goes on the wire: JSON, or the bytes of a str or buffer.

    ``limit`` is in bytes. Raises ValueError for what cannot be serialised, OverflowError above the limit.
    """

def decode(data: bytes) -> Any:
    """A JSON payload as Python objects, ``{}`` for an empty one. Raises ValueError."""

def leave_to_parent() -> None:
    """In a forked child: close the sockets that the parent goes on using, and leave all else alone."""

@final
class Notifier:
    """Where the I/O thread says that something waits, for one event loop."""

    def __new__(cls, fd: int) -> Notifier:
        """``fd``: the non-blocking end of a socket pair that gets one byte a wake-up; it is duplicated."""

    def take(self) -> list[tuple[int, int]]:
        """What is ready, as ``(client, subscription)``; subscription -1 stands for events.

        Empty the socket before this call, never after it: the other order loses a wake-up.
        """

@final
class Inbox:
    """The bounded inbound queue of one subscription."""

    def take(self) -> tuple[str, Any, int] | None:
        """The next message as ``(topic, payload, flags)``; None arms the next wake-up."""

    def serve(self, callback: Callable[[str, Any], Any], budget: int) -> Awaitable[Any] | Literal[True] | None:
        """Call back for up to ``budget`` messages: None, none is left; True, some may be; or what to await first."""

    def interrupt(self) -> None:
        """Let ``serve`` return after the callback that it calls now."""

    @property
    def topic(self) -> str | None:
        """The topic of the last message taken."""

    def position(self) -> int:
        """How many messages have been taken or skipped."""

@final
class Publisher:
    """A publish method without a Python frame; it looks like the method, and keeps the connector alive as that does."""

    def __call__(self, topic: Any, payload: Any, qos: int = 0, retain: bool = False) -> Any: ...

@final
class Completed(Coroutine[Any, Any, None]):
    """A coroutine that has come to its end, with None."""

    def __await__(self) -> Generator[Any, Any]: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    def close(self) -> None: ...

@final
class Client:
    """One connector's queues and its connection, which a thread shared by the process drives."""

    def __new__(cls, options: Options) -> Client: ...
    def attach(self, notifier: Notifier, client: int) -> None:
        """Ring ``notifier`` with the number ``client`` from now on."""

    def detach(self) -> None: ...
    def start(self, will_topic: str, will_payload: bytes, will_qos: int, will_retain: bool) -> None: ...
    def stop(self, timeout_s: float, goodbye: bool) -> None: ...
    def publish(self, topic: Any, payload: Any, qos: int, retain: bool, priority: bool = False) -> int: ...
    def publish_tracked(self, topic: Any, payload: Any, qos: int, retain: bool) -> tuple[int, int]: ...
    def publisher(self, refused: Callable[[int], bool], said: bytearray, method: Callable[..., bool]) -> Publisher:
        """Queue one message; what is refused goes to ``refused`` by its code, whose result is returned,
        and in a forked child the call goes to ``method``."""

    def awaitable_publisher(self, not_queued: Callable[..., Awaitable[None]], method: Callable[..., Any]) -> Publisher:
        """The same, with a ``Completed`` for what is queued, and what ``not_queued`` returns for what is not."""

    def leave_to_parent(self) -> None: ...
    def rejection_detail(self) -> str: ...
    def withdraw(self, token: int) -> bool: ...
    def subscribe(
        self, subscription: int, topic_filter: str, qos: int, decode: Literal["json", "text", "bytes"], batches: bool
    ) -> Inbox: ...
    def unsubscribe(self, subscription: int) -> None: ...
    def flush(self) -> int: ...
    def flush_left(self, token: int) -> int: ...
    def end_flush(self, token: int) -> None: ...
    def beat(self, alive_s: float) -> None:
        """The program is alive and beats again within ``alive_s`` seconds, else the connection ends; 0: no more."""

    def events(self) -> list[tuple[str, int, Any]]:
        """What has happened, oldest first, as ``(kind, token, detail)``."""

    def watch(self, notifier: Notifier) -> bool:
        """Ring it once, at the next event; False where one waits already."""

    def unwatch(self, notifier: Notifier) -> bool:
        """End a watch; returns whether an event waits."""

    def stats(self) -> RawStats: ...
