"""What a call costs beside ``orjson.dumps``: the two take turns, a few thousand events at a time."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter, thread_time
from typing import NamedTuple, Self

import orjson

from .events import Event
from .floors import each

__all__ = ["Spent", "beside_dumps"]

_SLICE = 5_000


class Spent(NamedTuple):
    """Seconds by the clock, and those of them in which this thread had a processor."""

    clock: float
    cpu: float

    @classmethod
    def now(cls) -> Self:
        return cls(perf_counter(), thread_time())

    def until_now(self) -> Spent:
        now = self.now()
        return Spent(now.clock - self.clock, now.cpu - self.cpu)


def beside_dumps(
    publish_all: Callable[[Sequence[Event]], Spent], events: Sequence[Event], settle: Callable[[], object]
) -> dict[str, float]:
    """The time of a call as a multiple of ``orjson.dumps`` of such an event, by the clock and of the processor: medians
    over slices.

    Neither finds its events in the cache, because the other has just had another slice.

    Args:
        publish_all: calls for each of the events, and returns what that took.
        settle: called after each slice: until the far end has it all.
    """
    ratios = []
    for dumped, published in _pairs(events):
        start = Spent.now()
        each(orjson.dumps, dumped)
        floor = start.until_now()
        spent = publish_all(published)
        ratios.append(Spent(spent.clock / floor.clock, spent.cpu / floor.cpu))
        settle()
    clock, cpu = map(statistics.median, zip(*ratios, strict=True))
    return {"call x dumps": clock, "CPU x dumps": cpu}


def _pairs(events: Sequence[Event]) -> Iterator[tuple[Sequence[Event], Sequence[Event]]]:
    slices = [events[at : at + _SLICE] for at in range(0, len(events), _SLICE)]
    return zip(slices, slices[1:] + slices[:1], strict=True)
