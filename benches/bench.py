"""One measurement: its events, its far end, rounds by pytest-benchmark, and a row of the summary."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .farend import FarEnd
from .floors import Floors
from .report import Report, Row

__all__ = ["Bench"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a benchmark is given."""

    benchmark: Any
    group: str
    report: Report
    runner: asyncio.Runner
    far_end: FarEnd
    floors: Floors
    all_events: Sequence[dict[str, Any]]

    def events(self, count: int) -> Iterator[dict[str, Any]]:
        """That many events, the distinct ones over and over."""
        return itertools.islice(itertools.cycle(self.all_events), count)

    def run(self, name: str, once: Callable[[], Awaitable[object]], *, events: int, **how: Any) -> None:
        """As ``run_plain``, for a coroutine function, with the far end's counts reset before each round."""

        async def awaited() -> None:
            await once()

        self.run_plain(name, lambda: self.runner.run(awaited()), events=events, setup=self.far_end.reset, **how)

    def run_plain(
        self,
        name: str,
        once: Callable[[], object],
        *,
        events: int,
        floors: dict[str, float] | None = None,
        rounds: int = 3,
        setup: Callable[[], object] = lambda: None,
        note: Callable[[], str] = str,
    ) -> None:
        """Run ``once``, which handles ``events`` events, ``rounds`` times after a warm-up.

        The median is reported as events a second; ``floors`` are rates to compare it with, and
        ``note`` is called at the end for what else there is to say.
        """

        def before() -> None:
            setup()

        self.benchmark.extra_info["events"] = events
        self.benchmark.pedantic(once, setup=before, rounds=rounds, iterations=1, warmup_rounds=1)
        if self.benchmark.stats is None:  # --benchmark-disable
            return
        rate = events / self.benchmark.stats.stats.median
        row = Row(group=self.group, name=name, events_per_s=rate, floors=floors or {}, note=note())
        self.report.rows.append(row)
