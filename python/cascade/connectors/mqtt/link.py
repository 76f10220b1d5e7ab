"""One backend and what follows from its events, for one process: a fork gets a link of its own."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from . import process
from .backends.base import Backend, Event
from .completions import Completions
from .errors import ConnectError
from .gaps import Gaps
from .incarnation import Incarnation
from .journal import Journal, State
from .options import Options
from .presence import Presence
from .pulse import Pulse
from .refusals import Refusals
from .stats import Stats
from .subscriptions import Subscription
from .weakly import weakly

__all__ = ["Attempt", "Link"]

# How long a thread that waits trusts that nobody else fetches the events it waits for.
_SLICE_S = 0.05


@dataclass
class Attempt:
    """A first connection that callers of ``connect`` and ``open`` wait for together."""

    deadline: float
    waiting: int = 0
    over: bool = False
    succeeded: bool = False
    permanent: bool = False
    why: str = "no answer"


class Link:
    """Drives a backend: fetches its events on the loop, or on the thread of a caller who waits.

    It knows nothing of the connector, so that a connector that is dropped can be collected.
    """

    def __init__(self, options: Options, backend: type[Backend], incarnation: Incarnation) -> None:
        self.options = options
        self.logger = options.logger or logging.getLogger("cascade.connectors.mqtt")
        self.backend = backend(options)
        self.completions = Completions()
        self.refusals = Refusals(self.logger, strict=options.strict)
        self.journal = Journal(options, self.logger, self.backend.name)
        self.state: State = "closed"
        self.attempt: Attempt | None = None
        self._begun_with: Attempt | None = None
        self.retries = 0
        self._presence = Presence(options)
        self._gaps = Gaps(self.backend, incarnation, wanted=options.gap_events)
        self._pulse = Pulse(options, self.backend, incarnation, self.stats)
        # Whoever opens or closes does so alone; re-entrant, since the garbage collector may come in between.
        self._changing = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._final = False
        self._closed_by = 0.0
        self._ids = itertools.count(1)
        self._routes: weakref.WeakValueDictionary[int, Subscription] = weakref.WeakValueDictionary()
        self._kept: dict[int, Subscription] = {}
        self._draining = threading.Lock()
        self._news = False
        self._fetched: deque[Event] = deque()

    # Its life

    def start(self, attempt: Attempt | None) -> None:
        """Queue events from now on and dial until ``stop``; nothing where another thread has done so.

        Raises:
            ConnectError: the operating system refuses what the I/O thread needs.
        """
        with self._changing:
            if self.state != "closed":
                return
            will = self._presence.will()
            payload = will.payload if isinstance(will.payload, bytes) else str(will.payload or "").encode()
            self.attempt, self._begun_with, self._final = attempt, attempt, False
            self.state = "connecting"
            self.refusals.forget()
            process.note_started(self)
            try:
                self.backend.start(will.topic, payload, will.qos, will.retain)
            except (OSError, RuntimeError) as error:
                # Python's own word for a thread that it may not start is RuntimeError.
                self.state, self.attempt = "closed", None
                raise ConnectError(f"the I/O thread cannot be started: {error}") from error
            self.journal.starting()
        self.journal.tell(self._loop)

    def stop(self, timeout_s: float, *, goodbye: bool, final: bool = False, of: Attempt | None = None) -> None:
        """Begin to close, or close sooner. ``final``: the program said so, it does not only give up an attempt.

        ``of``: only if the last start began with this attempt; another thread may have closed, and opened again.
        """
        with self._changing:
            if of is not None and of is not self._begun_with:
                return
            self._final = self._final or final
            if final and self.attempt is not None:
                self.attempt.why = "it was closed meanwhile"
            deadline = time.monotonic() + timeout_s
            if self.state == "closed" or (self.state == "closing" and deadline >= self._closed_by):
                return
            self._gaps.tell()
            if goodbye and self.state == "connected":
                self._announce(self._presence.goodbye())
            self.state, self._closed_by = "closing", deadline
            self.backend.stop(timeout_s, goodbye)

    def stats(self) -> Stats:
        """One consistent snapshot; tries of ``on_full="wait"`` that were one call count as one."""
        retries, raw = self.retries, self.backend.stats()
        rejected = dict(raw["rejected"])
        if retries:
            rejected["queue_full"] = rejected.get("queue_full", 0) - retries
        reasons = {reason: count for reason, count in rejected.items() if count}
        fields: dict[str, Any] = {**raw, "submitted": raw["submitted"] - retries, "rejected": reasons}
        return Stats(backend=self.backend.name, **fields)

    def is_closed(self) -> bool:
        """Whether the last stop is complete, or there was no start."""
        return self.state == "closed"

    def is_past_closing(self) -> bool:
        """Whether the last stop is complete, even if another thread has opened again since."""
        return self.state != "closing"

    def abandon(self) -> None:
        """Nobody holds the connector any longer: send what is queued, without anybody to wait for it.

        Runs wherever the garbage collector does, so it takes no lock of a loop's.
        """
        if self.state == "closed":
            return
        process.note_abandoned(self)
        with suppress(RuntimeError):  # closed in between
            if self._loop is not None and self._loop.is_running():
                self._loop.call_soon_threadsafe(self._stop_abandoned)
                return
        self._stop_abandoned()

    def leave_to_parent(self) -> None:
        """In a forked child: what is held of this does nothing any more."""
        self.backend.leave_to_parent()
        for subscription in self._subscriptions():
            subscription.leave_to_parent()

    def _stop_abandoned(self) -> None:
        self.stop(process.EXIT_S, goodbye=False, final=True)

    def attach(self) -> None:
        """Let the running loop serve this link, unless another one does so on its own thread.

        Raises:
            ConnectError: the operating system refuses the descriptors that wake a loop.
        """
        running, serving = asyncio.get_running_loop(), self._loop
        if serving is not None and serving is not running and serving.is_running():
            serving.call_soon_threadsafe(self._serve, serving)
            return
        if serving is not running:
            self.detach()
            try:
                self.backend.attach(running, weakly(self.drain), weakly(self._ring))
            except OSError as error:
                raise ConnectError(f"the event loop cannot be woken: {error}") from error
            self._loop = running
            self._pulse.start(running)
            self._gaps.attach(running)
            self.drain()
        self._serve(running)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        for subscription in self._subscriptions():
            subscription.serve(loop)

    def detach(self) -> None:
        """Be served by no loop."""
        if self._loop is not None:
            self._loop = None
            self._pulse.stop()
            self._gaps.detach()
            self.backend.detach()

    # Subscriptions

    def enter(self, subscription: Subscription, *, keep: bool) -> int:
        """Route messages to it from now on, under the number that is returned."""
        number = next(self._ids)
        self._routes[number] = subscription
        if keep:
            self._kept[number] = subscription
        return number

    def leave(self, number: int) -> None:
        """Forget a subscription, as soon as no callback of it runs."""
        subscription = self._routes.get(number)
        if subscription is None or subscription.idle:
            self._routes.pop(number, None)
            self._kept.pop(number, None)

    def cancel_callbacks(self, spared: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
        """Cancel what serves subscriptions on the running loop; returns the tasks that are ending."""
        return [task for subscription in self._subscriptions() for task in subscription.cancel(spared)]

    def _subscriptions(self) -> list[Subscription]:
        return list(self._routes.values())

    def _ring(self, number: int) -> None:
        subscription = self._routes.get(number)
        if subscription is not None:
            subscription.bell.ring()

    # Events

    def drain(self) -> None:
        """Handle all events that wait. Where another thread does so now, it is told that there are more."""
        self._news = True
        while self._news and self._draining.acquire(blocking=False):
            try:
                self._news = False
                # What an interrupt leaves behind is handled by the next drain.
                self._fetched.extend(self.backend.events())
                while self._fetched:
                    self._handle(*self._fetched.popleft())
            finally:
                self._draining.release()
        # Outside the lock: the program's code may call anything.
        self.journal.tell(self._loop)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """No event is handled meanwhile: what is begun here can be expected here."""
        try:
            with self._draining:
                yield
        finally:
            if self._news:
                self.drain()

    def block_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Handle events on this thread until ``done()``; False on time-out."""
        deadline = time.monotonic() + timeout_s
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self.backend.wait(min(left, _SLICE_S)):
                self.drain()
        return True

    def _handle(self, kind: str, token: int, detail: Any) -> None:
        match kind:
            case "acknowledged" | "given_up":
                self.completions.settle(("publish", token), detail)
            case "flushed":
                self.completions.settle(("flush", token))
            case "subscribed" | "retained" | "unsubscribed":
                self._answered(kind, token, detail)
            case "space":
                self.refusals.forget("queue_full")
                self.completions.settle("space")
            case "full":
                self.journal.full()
            case "drained":
                self.journal.drained(detail)
            case "gap":
                self._gaps.add(*detail)
            case "log":
                self.logger.log(token, "%s", detail)
            case "stopped":
                self._stopped()
            case _ if self.state not in ("closing", "closed"):
                self._changed(kind, token, detail)

    def _answered(self, kind: str, number: int, detail: Any) -> None:
        subscription = self._routes.get(number)
        if subscription is None:
            # Its task has left already; whoever called unsubscribe still waits for the broker's answer.
            self.completions.settle((kind, number))
            return
        if kind == "subscribed":
            subscription.granted(detail)
        elif kind == "retained":
            subscription.retained(detail)
        else:
            subscription.answered(kind)

    def _changed(self, kind: str, token: int, detail: Any) -> None:
        attempt = self.attempt
        if kind == "connected" and self._become("connected"):
            for subscription in self._subscriptions():
                subscription.connected()
            self.refusals.forget()
            self.journal.connected(detail, self._waiting())
            self._announce(self._presence.birth())
            if attempt is not None:
                attempt.succeeded = True
            self._end_attempt()
        elif kind == "disconnected" and self._become("disconnected"):
            self.refusals.forget()
            self.journal.lost(detail, self._waiting())
        elif kind == "failed":
            required = attempt is not None and self.options.first_connect == "require"
            self.journal.failed(detail, permanent=bool(token), somebody_waits=required)
            if attempt is not None:
                attempt.why, attempt.permanent = detail, bool(token)
                if token:
                    self._end_attempt()

    def _become(self, state: State) -> bool:
        """Not if somebody has closed it meanwhile, on another thread."""
        with self._changing:
            if self.state in ("closing", "closed"):
                return False
            self.state = state
            return True

    def _stopped(self) -> None:
        if self.state != "closing":
            # A stop that was told twice has been answered twice.
            return
        self.state = "closed"
        process.note_closed(self)
        self._end_attempt()
        self.refusals.forget()
        for subscription in self._subscriptions():
            subscription.pause(final=self._final)
        self.completions.settle_all()
        self.journal.closed()
        loop = self._loop
        self.detach()
        self.journal.tell(loop)

    def _end_attempt(self) -> None:
        if self.attempt is not None:
            self.attempt.over = True
            self.attempt = None
            self.completions.settle("attempt")

    def _waiting(self) -> int:
        stats = self.backend.stats()
        return stats["queued_events"] + stats["in_flight"]

    def _announce(self, messages: Iterator[tuple[str, Any]]) -> None:
        for topic, payload in messages:
            self.backend.publish(topic, payload, 0, True, True)
