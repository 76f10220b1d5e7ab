"""The run as it goes: a live picture on a terminal, plain lines elsewhere, nothing beside ``--json``."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .outcome import Progress

__all__ = ["Display", "LiveDisplay", "PlainDisplay", "SilentDisplay", "render_progress"]

_RATE_OVER_S = 1.0
_LINE_EVERY_S = 1.0


class Display(Protocol):
    """Shows a run; a context manager around it."""

    def __enter__(self) -> object: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def show(self, progress: Progress) -> None:
        """The run has come this far."""


class SilentDisplay(nullcontext[None]):
    """Shows nothing."""

    def show(self, progress: Progress) -> None:
        """Nothing."""


class PlainDisplay(nullcontext[None]):
    """A line a second."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._rates = _Rates()
        self._said: tuple[float, str] = (-_LINE_EVERY_S, "")

    def show(self, progress: Progress) -> None:
        """A line, where a second has passed or the phase is another."""
        sent, received = self._rates.update(progress)
        said_at, said = self._said
        what = progress.asked or progress.phase
        if what == said and progress.elapsed_s - said_at < _LINE_EVERY_S:
            return
        self._said = (progress.elapsed_s, what)
        self._console.print(
            f"{progress.elapsed_s:5.1f} s  {what:<13}  {progress.tasks_ended:,} of {progress.tasks:,} tasks, "
            f"{progress.tasks_failed} failed; events sent {progress.published:,} ({sent:,.0f}/s), "
            f"received {progress.received:,} ({received:,.0f}/s), missing {progress.missing:,}",
            highlight=False,
            soft_wrap=True,
        )


class LiveDisplay(AbstractContextManager["LiveDisplay"]):
    """A picture that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._rates = _Rates()

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def show(self, progress: Progress) -> None:
        """Draw it."""
        self._live.update(render_progress(progress, self._rates.update(progress)), refresh=True)


def render_progress(progress: Progress, rates: tuple[float, float]) -> RenderableType:
    """The picture; ``rates`` are events a second, sent and received."""
    done = progress.tasks_ended == progress.tasks
    colour = "yellow" if progress.asked else "green" if done else "cyan"
    what = progress.asked or progress.phase
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right")
    head.add_row(
        ProgressBar(total=progress.tasks, completed=progress.tasks_ended, complete_style=colour, finished_style=colour),
        f"[bold]{progress.tasks_ended:,}[/] of {progress.tasks:,} tasks",
    )
    body = Table.grid(padding=(0, 3))
    for _ in range(5):
        body.add_column()
    body.add_row(
        Text("sent", style="dim"),
        Text("received", style="dim"),
        Text("missing now", style="dim"),
        Text("control latency", style="dim"),
        Text("failed tasks", style="dim"),
    )
    latency = progress.control_latency_ms
    body.add_row(
        _amount(progress.published, rates[0]),
        _amount(progress.received, rates[1]),
        Text(f"{progress.missing:,}", style="bold" if progress.missing == 0 else "bold yellow"),
        Text("-" if latency is None else f"{latency:.1f} ms", style="bold"),
        Text(f"{progress.tasks_failed}", style="bold red" if progress.tasks_failed else "bold"),
    )
    return Panel(
        Group(head, "", body),
        title=f"cascade-mqtt demo: [{colour}]{what}[/]",
        title_align="left",
        subtitle=f"{progress.elapsed_s:.1f} s",
        subtitle_align="right",
        padding=(1, 2),
    )


def _amount(total: int, rate: float) -> Text:
    return Text.assemble((f"{total:,}", "bold"), (f" {rate:,.0f}/s", "dim"))


class _Rates:
    """Events a second over the last second."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, int, int]] = deque()

    def update(self, progress: Progress) -> tuple[float, float]:
        now = (progress.elapsed_s, progress.published, progress.received)
        self._past.append(now)
        while len(self._past) > 2 and now[0] - self._past[0][0] > _RATE_OVER_S:
            self._past.popleft()
        then = self._past[0]
        span = now[0] - then[0]
        return ((now[1] - then[1]) / span, (now[2] - then[2]) / span) if span > 0 else (0.0, 0.0)
