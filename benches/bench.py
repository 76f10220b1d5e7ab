"""One measurement: its far end, rounds by pytest-benchmark, and a row of the report."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest

from .events import Event
from .farend import FarEnd
from .floors import Floors
from .report import RATE, Report, Row

__all__ = ["Bench"]

Figures = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a benchmark is given."""

    benchmark: Any
    group: str
    report: Report
    runner: asyncio.Runner
    far_end: FarEnd
    floors: Floors
    all_events: Sequence[Event]

    def events(self, count: int) -> Iterator[Event]:
        """That many events, the distinct ones over and over."""
        return itertools.islice(itertools.cycle(self.all_events), count)

    def rate(
        self,
        client: str,
        once: Callable[[], object],
        *,
        events: int,
        case: str = "",
        floors: Figures | None = None,
        rounds: int = 3,
        warmup_rounds: int = 1,
        setup: Callable[[], object] = lambda: None,
        figures: Callable[[float], Figures] = lambda rate: {},
        note: Callable[[], str] = str,
    ) -> None:
        """Run ``once``, which handles ``events`` events, ``rounds`` times after a warm-up; the median is reported.

        Args:
            once: a coroutine function runs on the benchmark's loop.
            floors: rates that it is compared with, by name.
            setup: called before each round, untimed, when the far end's counts have been reset.
            figures: called with the rate at the end: what else there is to report.
        """

        def before() -> None:
            self.far_end.reset()
            setup()

        self.benchmark.extra_info["events"] = events
        self.benchmark.pedantic(
            self._plain(once), setup=before, rounds=rounds, iterations=1, warmup_rounds=warmup_rounds
        )
        if self.benchmark.stats is None:  # --benchmark-disable
            return
        rate = events / self.benchmark.stats.stats.median
        ratios = {f"x {name}": rate / floor for name, floor in (floors or {}).items()}
        self._add(client, case, {RATE: rate, "us each": 1e6 / rate, **ratios, **figures(rate)}, note())

    def figures(self, client: str, once: Callable[[], Any], *, case: str = "", note: Callable[[], str] = str) -> None:
        """Run ``once`` a single time and report the figures that it returns."""
        self._add(client, case, self.benchmark.pedantic(self._plain(once), rounds=1, iterations=1), note())

    def absent(self, what: str, reason: object) -> NoReturn:
        """It cannot be measured here: a line of the report says so."""
        self.report.absent[what] = str(reason)
        self.benchmark.skipped = True  # or the plugin warns of a fixture that was not used
        pytest.skip(str(reason))

    def _add(self, client: str, case: str, figures: Figures, note: str) -> None:
        self.report.rows.append(Row(group=self.group, client=client, case=case, figures=figures, note=note))

    def _plain(self, once: Callable[[], Any]) -> Callable[[], Any]:
        if not inspect.iscoroutinefunction(once):
            return once
        return lambda: self.runner.run(once())
