"""Who waits for resources and permission, and who is next: first come, first served, for each resource."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from heapq import heapify, heappop, heappush
from typing import Protocol

from .pool import Pool

__all__ = ["Line", "Place", "Request"]

Place = tuple[int, int]
"""Where one stands in the line: the lower the earlier."""

# So many starts may take a token past one who waits for a resource, before the next token is kept for that one.
_PATIENCE = 100


class Request(Protocol):
    """What somebody waits for. It is asked again at each look, because constraints come and go meanwhile."""

    @property
    def alike(self) -> Hashable:
        """Requests with the same are served in turn: where one has to wait, so do those behind it."""

    def needs(self) -> Mapping[str, float]:
        """What has to be free, resource to amount."""

    def kept(self) -> Mapping[str, float]:
        """What is not given back before it has been served and has ended."""

    def tokens(self) -> Collection[str]:
        """The rates of which a start takes a token."""

    def permitted(self) -> bool:
        """Whether it could start now, if what it needs were free; asking spends nothing."""

    def granted(self, needs: Mapping[str, float]) -> bool:
        """All is there: take the permission, and with it the needs; False where it is denied after all."""


class _Waiter:
    __slots__ = ("future", "overtaken", "place", "request")

    def __init__(self, place: Place, request: Request, future: asyncio.Future[None]) -> None:
        self.place = place
        self.request = request
        self.future = future
        self.overtaken = 0

    def is_gone(self) -> bool:
        """Whether nobody waits here any more: cancelled, or left behind with its loop."""
        return self.future.done() or self.future.get_loop().is_closed()


class Line:
    """Waiters in lanes of those who are alike, so that a look costs as much as there are lanes.

    A request that is permitted, and that could be met, keeps later ones from what it waits for, so that big ones do
    not starve. One that is denied, or that asks for more than there is now, holds nobody up.
    """

    def __init__(self, pool: Pool) -> None:
        self.claimed: set[str] = set()
        """What somebody has a claim to since the last look."""
        self.before_look: list[Callable[[], object]] = []
        """Called first at each look, to bring what is held up to date."""
        self._pool = pool
        self._tickets = itertools.count()
        self._lanes: dict[Hashable, OrderedDict[Place, _Waiter]] = {}
        self._look_is_due = False

    def ticket(self, within: int = 0) -> Place:
        """The next place, for one who is inside so many others that have been served.

        The innermost come first: those around them give nothing back before, so whoever stood between would be waited
        for in a circle.
        """
        return -within, next(self._tickets)

    def join(self, request: Request, place: Place) -> asyncio.Future[None]:
        """Wait at this place; the future is done when the request is granted, which may be at once."""
        future = asyncio.get_running_loop().create_future()
        lane = self._lanes.setdefault(request.alike, OrderedDict())
        is_last = not lane or place > next(reversed(lane))
        lane[place] = _Waiter(place, request, future)
        if not is_last:
            lane = self._lanes[request.alike] = OrderedDict(sorted(lane.items()))
        head = next(iter(lane.values()))
        # Behind one who is alike and waits, nothing has changed for either.
        if head.place == place or head.is_gone():
            self.look()
        return future

    def leave(self, request: Request, place: Place) -> None:
        """Wait no more; what it had a claim to is free for others."""
        self._drop(request.alike, place)
        self.look_soon()

    def refuse(self, request: Request, error: Exception) -> None:
        """End the wait of this one with an error; nothing where it does not wait."""
        for waiter in self._lanes.get(request.alike, {}).values():
            if waiter.request is request and not waiter.is_gone():
                waiter.future.set_exception(error)

    def look_soon(self) -> None:
        """Look when whoever has changed something is through; to be called after each change."""
        if self._look_is_due or not self._lanes:
            return
        waiter = next(iter(next(iter(self._lanes.values())).values()))
        loop = waiter.future.get_loop()
        try:
            loop.call_soon_threadsafe(self.look)
            self._look_is_due = True
        except RuntimeError:  # that loop is closed: nobody waits there any more
            self._drop(waiter.request.alike, waiter.place)
            self.look_soon()

    def look(self) -> None:
        """Grant what can be granted."""
        self._look_is_due = False
        for prepare in self.before_look:
            prepare()
        while self._pass():
            pass

    def _pass(self) -> bool:
        """Grant in turn; returns whether a grant may have taken what the claim of an earlier one rested on."""
        self.claimed = set()
        again = False
        held_up: list[_Waiter] = []
        heads = [next(iter(lane.values())) for lane in self._lanes.values()]
        queue = [(head.place, head) for head in heads]
        heapify(queue)
        while queue:
            _, waiter = heappop(queue)
            alike = waiter.request.alike
            if not waiter.is_gone():
                try:
                    granted = self._grant(waiter, held_up)
                except Exception as error:  # a handler's: it is the business of this one alone
                    waiter.future.set_exception(error)
                else:
                    if not granted:
                        continue
                    again = again or bool(held_up)
                    waiter.future.set_result(None)
            self._drop(alike, waiter.place)
            if alike in self._lanes:
                head = next(iter(self._lanes[alike].values()))
                heappush(queue, (head.place, head))
        return again

    def _grant(self, waiter: _Waiter, held_up: list[_Waiter]) -> bool:
        request = waiter.request
        needs, tokens = request.needs(), set(request.tokens())
        kept = request.kept()
        if self._pool.exceeds({name: need + kept.get(name, 0.0) for name, need in needs.items()}) is not None:
            return False
        if not request.permitted():
            return False
        if self.claimed.isdisjoint(needs) and self._pool.lacks(needs) is None:
            if not self.claimed.isdisjoint(tokens) or not request.granted(needs):
                return False
            for other in held_up:
                other.overtaken += not tokens.isdisjoint(other.request.tokens())
            return True
        self.claimed.update(needs)
        if waiter.overtaken >= _PATIENCE:
            self.claimed.update(tokens)
        held_up.append(waiter)
        return False

    def _drop(self, alike: Hashable, place: Place) -> None:
        lane = self._lanes.get(alike)
        if lane is not None and lane.pop(place, None) is not None and not lane:
            del self._lanes[alike]
