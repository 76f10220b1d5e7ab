"""When all that a broker retains for a filter is through: at first, and after each reconnect."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from ..link import Link
from ..subscriptions import CallbackSubscription

__all__ = ["Rounds"]

_REFUSED = 128


class Rounds:
    """Subscribes to one filter, and says when a round of retained messages begins and ends.

    Args:
        by_name: topics that the filter matches, for brokers that give no retained messages to wildcards. Each is
            subscribed to as well, and in a round tells what the filter's own subscription has not told. Live
            messages are heard by the filter alone, in their order, unless the broker has refused it.
        heard: called with topic and payload of each message.
        begun: called when a connection is there and its retained messages are going to come.
        ended: called with True when they are through; with False where the broker has refused what it granted
            before, so that what is missing may just not have been shown. A cut begins another round.

    All are called on the loop that serves the link, in the order in which things happened.
    """

    def __init__(
        self,
        link: Link,
        topic_filter: str,
        *,
        by_name: Iterable[str],
        heard: Callable[[str, Any], None],
        begun: Callable[[], None],
        ended: Callable[[bool], None],
    ) -> None:
        self._link = link
        self._main = topic_filter
        self._filters = [topic_filter, *dict.fromkeys(by_name)]
        self._heard, self._begun, self._ended = heard, begun, ended
        self._awaited: set[str] = set()
        self._granted: set[str] = set()
        self._refused: set[str] = set()
        self._told: set[str] = set()
        self._members: list[_Member] = []
        self._notices: deque[Callable[[], None]] = deque()
        self.loop = asyncio.get_running_loop()
        """The one that serves the link."""

    def start(self) -> None:
        """Subscribe; on a connection that is there at once, else when it comes."""
        self._begin()
        self._members = [_Member(self, self._link, topic_filter) for topic_filter in self._filters]
        if self._link.state != "closed":
            self._link.attach()

    def stop(self) -> None:
        """Unsubscribe from all, without waiting for the broker; nothing is told any more."""
        members, self._members = self._members, []
        for member in members:
            member.leave()

    def hear(self, topic_filter: str, topic: str, payload: Any) -> None:
        """A message for one of the filters."""
        # What the I/O thread said before it passed this on comes first: a new connection, above all.
        self._link.drain()
        self._catch_up()
        if topic_filter == self._main:
            if self._awaited:
                self._told.add(topic)
        elif self._main not in self._refused and (not self._awaited or topic in self._told):
            return
        if self._members:
            self._heard(topic, payload)

    def connected(self, member: _Member) -> None:
        """A member has learned of a new connection; the first one speaks for all. In any thread."""
        if self._members[:1] == [member]:
            self._note(self._begin)

    def through(self, topic_filter: str, *, refused: bool) -> None:
        """What is retained for one filter has been through the callback. In any thread."""
        self._note(partial(self._end_one, topic_filter, refused))

    def _note(self, notice: Callable[[], None]) -> None:
        self._notices.append(notice)
        if asyncio._get_running_loop() is self.loop:
            self._catch_up()
        else:
            with suppress(RuntimeError):  # closed: the next one catches up
                self.loop.call_soon_threadsafe(self._catch_up)

    def _catch_up(self) -> None:
        while self._notices and self._members:
            self._notices.popleft()()

    def _begin(self) -> None:
        self._awaited, self._refused, self._told = set(self._filters), set(), set()
        self._begun()

    def _end_one(self, topic_filter: str, refused: bool) -> None:
        if topic_filter not in self._awaited:
            return
        self._awaited.discard(topic_filter)
        if refused:
            self._refused.add(topic_filter)
        if not self._awaited:
            granted = set(self._filters) - self._refused
            complete = bool(granted) and granted >= self._granted
            self._granted |= granted
            self._told.clear()
            self._ended(complete)


class _Member(CallbackSubscription):
    """One of the subscriptions."""

    def __init__(self, rounds: Rounds, link: Link, topic_filter: str) -> None:
        self._rounds = rounds
        super().__init__(link, topic_filter, partial(rounds.hear, topic_filter), 1, "json", batches=False)

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        self._rounds.loop = loop
        super().serve(loop)

    def connected(self) -> None:
        super().connected()
        self._rounds.connected(self)

    def answered(self, what: str) -> None:
        super().answered(what)
        if what == "retained":
            self._rounds.through(self.topic_filter, refused=self._code is not None and self._code >= _REFUSED)

    def leave(self) -> None:
        """Unsubscribe without waiting for the broker's answer."""
        if self.end():
            self._link.leave(self._id)
