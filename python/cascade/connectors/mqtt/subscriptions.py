"""From a subscription's inbox to its callback: one ordered task each, so that nobody waits for another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from .completions import Bell
from .errors import SubscribeError
from .protocols import Callback
from .topics import check_filter

if TYPE_CHECKING:
    from .link import Link

__all__ = ["CallbackSubscription", "Decode", "Subscription"]

Decode = Literal["json", "text", "bytes"]
_REFUSED = 128
_BURST = 256

# A loop does not hold its tasks: what runs must not be taken for garbage.
_serving: set[asyncio.Task[None]] = set()


class Subscription:
    """One filter with an inbox of its own; the link rings the bell when the inbox has something."""

    kept = False
    """Whether it lives until ``unsubscribe``, or only as long as somebody holds it."""

    def __init__(self, link: Link, topic_filter: str, qos: int, decode: Decode, *, batches: bool) -> None:
        if qos not in (0, 1, 2):
            raise ValueError(f"qos of a subscription must be 0, 1 or 2, not {qos!r}")
        if decode not in ("json", "text", "bytes"):
            raise ValueError(f"decode must be 'json', 'text' or 'bytes', not {decode!r}")
        check_filter(topic_filter)
        self.topic_filter = topic_filter
        self.bell = Bell()
        self._link = link
        self._ended = False
        self._code: int | None = None
        self._retained_until: int | None = None
        self._answers: set[str] = set()
        self._id = link.enter(self, keep=self.kept)
        self._inbox = link.backend.subscribe(self._id, topic_filter, qos, decode, batches)

    def connected(self) -> None:
        """A new connection: what the broker retains is going to come again."""
        self._retained_until = None

    def granted(self, code: int) -> None:
        """SUBACK came: the granted QoS, or 128 (MQTT 3.1.1 section 3.9.3)."""
        if code >= _REFUSED and self._code != code:
            self._link.logger.error("the broker refused the subscription to %s", self.topic_filter)
        self._code = code
        self.answered("subscribed")
        if code >= _REFUSED:
            self.answered("retained")

    def retained(self, count: int) -> None:
        """The first ``count`` messages of the inbox hold all that was retained."""
        self._retained_until = count
        self.bell.ring()

    def answered(self, what: str) -> None:
        """The broker's answer to SUBSCRIBE or UNSUBSCRIBE is in, or the retained messages are through."""
        self._answers.add(what)
        self._link.completions.settle((what, self._id))

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """The link has a loop."""

    def pause(self, *, final: bool) -> None:
        """The link is closed; ``final`` where its owner said so."""

    @property
    def idle(self) -> bool:
        """Whether no callback of this subscription is running."""
        return True

    def cancel(self, spared: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
        """Cancel what still runs for this subscription, except these; returns what was cancelled."""
        return []

    def leave_to_parent(self) -> None:
        """In a forked child: no message comes here any more, and there is nothing to end."""
        self._ended = True

    def end(self) -> bool:
        """Leave the backend; False where it was done before."""
        if self._ended:
            return False
        self._ended = True
        self._inbox.interrupt()
        self._link.backend.unsubscribe(self._id)
        self.bell.ring()
        return True

    async def unsubscribe(self) -> None:
        """End this subscription: no further message is taken. A second call does nothing.

        While connected it returns when the broker has confirmed, or after ``timeout``
        (MQTT 3.1.1 section 3.11). A callback that runs is not cut off.
        """
        try:
            if self.end() and self._link.state == "connected":
                await self._answer("unsubscribed")
        finally:
            self._link.leave(self._id)

    async def established(self, until: Literal["subscribed", "retained"], *, strict: bool) -> None:
        """Wait until the broker has answered, or until what it retained has been through.

        Raises:
            SubscribeError: with ``strict``, where the broker refused.
        """
        if self._link.state != "connected":
            return
        if not await self._answer(until):
            self._link.logger.warning(
                "no answer to the subscription to %s within %g s", self.topic_filter, self._link.options.timeout_s
            )
        if strict and self._code is not None and self._code >= _REFUSED:
            await self.unsubscribe()
            raise SubscribeError(f"the broker refused the subscription to {self.topic_filter}")

    def _note_progress(self) -> None:
        """Called where all that was taken has been handled."""
        if self._retained_until is not None and self._inbox.position() >= self._retained_until:
            self._retained_until = None
            self.answered("retained")

    async def _answer(self, what: str) -> bool:
        return await self._link.completions.wait(
            (what, self._id), self._link.options.timeout_s, lambda: what in self._answers
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.topic_filter!r}{' ended' if self._ended else ''}>"


class CallbackSubscription(Subscription):
    """Calls a function or a coroutine function for each message, one at a time, in order."""

    kept = True

    def __init__(
        self, link: Link, topic_filter: str, callback: Callback, qos: int, decode: Decode, *, batches: bool
    ) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        self._callback = callback
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self._failures = 0
        super().__init__(link, topic_filter, qos, decode, batches=batches)

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        self._paused = False
        task = self._task
        if not self._ended and (task is None or task.done() or task.get_loop() is not loop):
            if task is not None:
                _serving.discard(task)
            self._task = loop.create_task(self._run(), name=f"mqtt {self.topic_filter}")
            _serving.add(self._task)
            self._task.add_done_callback(_serving.discard)

    def pause(self, *, final: bool) -> None:
        self._paused = True
        self._inbox.interrupt()
        self.bell.ring()
        if self._task is not None and self._task.get_loop().is_closed():
            _serving.discard(self._task)

    def cancel(self, spared: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
        task = self._task
        if task is None or task.done() or task in spared or task.get_loop() is not asyncio.get_running_loop():
            return []
        task.cancel()
        return [task]

    @property
    def idle(self) -> bool:
        return self._task is None or self._task.done()

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await self._serve_inbox(task)
        finally:
            if self._task is task:
                self._task = None
                if self._ended:
                    self._link.leave(self._id)

    async def _serve_inbox(self, task: asyncio.Task[Any]) -> None:
        inbox, callback = self._inbox, self._callback
        while not (self._ended or self._paused):
            self._note_progress()
            before = inbox.position()
            try:
                outcome = inbox.serve(callback, self._budget(before))
                if outcome is None:
                    self._note_progress()
                    await self.bell.sleep()
                elif outcome is True:
                    # Others have their turn.
                    await asyncio.sleep(0)
                else:
                    await outcome
                if inbox.position() > before:
                    self._failures = 0
            except (Exception, asyncio.CancelledError) as error:
                # A cancellation may be raised by the callback itself, and not by somebody who ends this task.
                if isinstance(error, asyncio.CancelledError) and task.cancelling():
                    raise
                self._note_failure(inbox.position() - before)
                await asyncio.sleep(0)

    def _budget(self, position: int) -> int:
        """How many messages to serve at once: no more than the retained ones, whose end somebody waits for."""
        if self._retained_until is None:
            return _BURST
        return min(_BURST, self._retained_until - position)

    def _note_failure(self, served: int) -> None:
        """The first of a run of failures with its traceback, the others in a line each time they double."""
        topic = self._inbox.topic
        self._failures = self._failures + 1 if served <= 1 else 1
        if self._failures == 1:
            self._link.logger.exception("the callback for %s failed on %s", self.topic_filter, topic)
        elif self._failures & (self._failures - 1) == 0:
            self._link.logger.error("the callback for %s failed %d times in a row", self.topic_filter, self._failures)
