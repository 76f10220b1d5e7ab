"""A run's report as two files: benchmarks.md and the plot that it shows."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

from . import machine
from .goals import GOALS
from .plot import plot
from .report import GROUPS, Report
from .tables import cells, markdown, number

__all__ = ["write"]

_METHOD = """\
Publisher and far end share the machine. A far end is a process of its own that counts what arrives (`benches/sink`),
or a real broker with a subscriber behind it; a round is over when all has arrived, and fails when it has not. Events
are those of a recorded run of the demo, over and over with new values, so that no two of 100,000 are alike; or of the
size that a row names, large ones with a traceback in them. The floors (`orjson.dumps`, `orjson.loads`, `raw socket`:
packets made beforehand, written 64 KiB at a time) are measured again right before the rounds that are compared with
them. Rates are the median of three rounds after a warm-up. `native is`: how many times as good native is as the row.
[performance.md](performance.md) says more, and how to run it.
"""


def write(report: Report, directory: Path, command: str) -> list[Path]:
    """Both files; returns where they are."""
    directory.mkdir(parents=True, exist_ok=True)
    picture, text = directory / "benchmarks.svg", directory / "benchmarks.md"
    drawn = plot(report)
    if drawn:
        picture.write_text(drawn, "utf-8")
    text.write_text("\n".join(_parts(report, command, picture.name if drawn else None)), "utf-8")
    return [text, picture] if drawn else [text]


def _parts(report: Report, command: str, picture: str | None) -> Iterator[str]:
    today = datetime.datetime.now(datetime.UTC).date()
    yield f"# Benchmarks\n\nWritten by `{command}` on {today}, out of one run on one machine.\n\n## Ratios\n"
    yield markdown(["", "goal", "measured", ""], [*_goals(report)]) + "\n"
    if picture:
        yield f"![events a second, by client]({picture})\n"
    yield "## Machine and versions\n"
    yield markdown(["", ""], [[name, value] for name, value in machine.describe()]) + "\n"
    yield f"## Method\n\n{_METHOD}"
    yield "## Figures\n"
    for group in report.groups:
        yield f"### {group}\n\n{GROUPS[group]}\n"
        heads, lines = cells(report, group)
        yield markdown(["", *heads[1:]], lines) + "\n"
    for name, reason in report.absent.items():
        yield f"Not measured: {name}: {reason}\n"


def _goals(report: Report) -> Iterator[list[str]]:
    for goal in GOALS:
        value = goal.measured(report)
        wanted = f"{goal.bound} {goal.wanted:,} {goal.unit}"
        measured = "not in this run" if value is None else f"{number(value)}"
        yield [goal.what, wanted, measured, "" if value is None else "met" if goal.met(value) else "not met"]
