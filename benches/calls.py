"""What a call costs beside ``orjson.dumps``: the two take turns, a few thousand events at a time."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

import orjson

from .events import Event
from .floors import each, seconds

__all__ = ["beside_dumps"]

_SLICE = 5_000


def beside_dumps(
    publish_all: Callable[[Sequence[Event]], float], events: Sequence[Event], settle: Callable[[], object]
) -> float:
    """The time of a call as a multiple of ``orjson.dumps`` of such an event: the median over slices.

    Neither finds its events in the cache, because the other has just had another slice.

    Args:
        publish_all: calls for each of the events, and returns the seconds in that.
        settle: called after each slice: until the far end has it all.
    """
    ratios = []
    for dumped, published in _pairs(events):
        floor = seconds(lambda dumped=dumped: each(orjson.dumps, dumped))
        ratios.append(publish_all(published) / floor)
        settle()
    return statistics.median(ratios)


def _pairs(events: Sequence[Event]) -> Iterator[tuple[Sequence[Event], Sequence[Event]]]:
    slices = [events[at : at + _SLICE] for at in range(0, len(events), _SLICE)]
    return zip(slices, slices[1:] + slices[:1], strict=True)
