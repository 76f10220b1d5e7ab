"""What the workflow found out about the standard library, as Rich shows it."""

from __future__ import annotations

import platform

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .outcome import Outcome

__all__ = ["render_report"]

_BAR = 10
_LONGEST_NAME = 20
_SHOWN_GAPS = 10


def render_report(outcome: Outcome) -> RenderableType:
    """The library in figures, the two rankings, what steering did, the tasks that failed, and what was lost."""
    library = outcome.library
    summary = Text.assemble(
        (f"{library.code:,}", "bold"),
        " lines of code ",
        (f"({library.lines:,} with comments and blank ones) in ", "dim"),
        (f"{library.modules:,}", "bold"),
        " modules of ",
        (f"{library.packages:,}", "bold"),
        f" packages: {library.functions:,} functions, {library.classes:,} classes",
    )
    rankings = Columns(
        [
            _ranking("Most imported", library.most_imported, "cyan"),
            _ranking("Most code", library.biggest_packages, "magenta"),
        ],
        padding=(0, 2),
    )
    parts: list[RenderableType] = [summary, "", rankings, "", _steering(outcome)]
    if outcome.failed:
        parts += ["", _failures(outcome)]
    if outcome.lost:
        parts += ["", _losses(outcome)]
    title = f"The standard library of Python {platform.python_version()}"
    return Panel(Group(*parts), title=title, title_align="left", padding=(1, 2))


def _steering(outcome: Outcome) -> Table:
    table = _table("What each worker was asked for, and what was seen")
    table.show_header, table.header_style = True, "dim"
    for name in ("asked for", "seconds", "tasks started", "most at a time", "most starts/s"):
        table.add_column(name, justify="left" if name == "asked for" else "right")
    for effect in outcome.effects:
        table.add_row(
            Text(effect.phase.ask.words, style="bold" if effect.holds else "bold red"),
            f"{effect.phase.seconds:.2f}",
            f"{effect.starts:,}",
            f"{effect.concurrency_max}",
            f"{effect.starts_per_s_max:,.1f}",
        )
    return table


def _ranking(title: str, items: tuple[tuple[str, int], ...], colour: str) -> Table:
    table = _table(title)
    table.add_column(no_wrap=True, max_width=_LONGEST_NAME)
    table.add_column(justify="right")
    table.add_column(width=_BAR)
    most = max((count for _, count in items), default=1)
    for name, count in items:
        table.add_row(name, f"{count:,}", Text("━" * max(1, round(_BAR * count / most)), style=colour))
    return table


def _failures(outcome: Outcome) -> Table:
    table = _table(f"{len(outcome.failed)} failed tasks: files that do not parse")
    table.expand = True
    table.add_column(style="red", no_wrap=True)
    table.add_column(style="dim", no_wrap=True, ratio=1)  # the one that is cut where there is no room
    for task, error in sorted(outcome.failed.items()):
        table.add_row(Text(task), Text(error))
    return table


def _losses(outcome: Outcome) -> Table:
    table = _table("Lost events: source, epoch, seq")
    for _ in range(3):
        table.add_column()
    for identity, missing in sorted(outcome.lost.items()):
        shown = ", ".join(str(seq) for seq in missing[:_SHOWN_GAPS])
        more = f" and {len(missing) - _SHOWN_GAPS:,} more" if len(missing) > _SHOWN_GAPS else ""
        table.add_row(identity.source, identity.epoch, shown + more)
    return table


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 1, 0, 0)
    )
