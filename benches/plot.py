"""Events a second by client as bars, in SVG: readable on a light page and on a dark one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from .report import RATE, Report, Row
from .tables import number

__all__ = ["plot"]

# Title, what is measured, and whose ratio to each of the others stands at the right.
_PANELS = {
    "publish_nowait": ("Publishing, QoS 0", "dict to far end", "this package is"),
    "qos1_acked": ("Publishing, QoS 1", "dict to acknowledgement", "this package is"),
    "receive_qos0": ("Receiving, QoS 0", "socket to a decoded dict in a callback", "this package is"),
    "receive_qos1": ("Receiving, QoS 1", "the same, acknowledged", "this package is"),
    "batch": ("Through one mosquitto, QoS 1", "dict to another process's callback", "batched is"),
}
_WIDTH, _LABELS, _BARS, _LINE, _HEAD, _GAP = 860, 190, 420, 24, 40, 18
_STYLE = """\
svg { font: 13px system-ui, sans-serif }
.page { fill: #ffffff; stroke: #d0d7de } text { fill: #1f2328 } .dim { fill: #59636e } .head { font-weight: 600 }
.native { fill: #0969da } .python { fill: #54aeff } .peer { fill: #afb8c1 }
.floor { fill: none; stroke: #59636e; stroke-dasharray: 3 2 }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117; stroke: #30363d } text { fill: #e6edf3 } .dim { fill: #9198a1 }
  .native { fill: #388bfd } .python { fill: #1f4e8c } .peer { fill: #565e67 } .floor { stroke: #9198a1 }
}"""


_WAYS = {"QoS 1, batched": "native", "QoS 1, zstd batches": "python"}


@dataclass(frozen=True)
class _Bar:
    name: str
    rate: float
    kind: str
    """The style that it is drawn in."""


def plot(report: Report) -> str:
    """The whole picture; empty where there is nothing to draw."""
    panels = [(group, bars) for group in _PANELS if (bars := _bars(report, group))]
    if not panels:
        return ""
    parts, top = [], _GAP
    for group, bars in panels:
        parts += _panel(group, bars, top)
        top += _HEAD + _LINE * len(bars) + _GAP
    size = f'viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}"'
    page = f'<rect class="page" x=".5" y=".5" width="{_WIDTH - 1}" height="{top - 1}" rx="8"/>'
    body = "\n".join([f"<style>\n{_STYLE}\n</style>", page, *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>Events a second</title>\n{body}\n</svg>\n'
    )


def _bars(report: Report, group: str) -> list[_Bar]:
    """Each client's first row, the fastest first, and the floor that is JSON alone; or each way of batching."""
    if group == "batch":
        rows = [row for row in report.of(group) if row.client == "native" and row.case.startswith("QoS 1, ")]
        bars = [_Bar(row.case.partition(", ")[2], row.figures[RATE], _WAYS.get(row.case, "peer")) for row in rows]
        return sorted(bars, key=lambda bar: -bar.rate)
    first: dict[str, Row] = {}
    for row in report.of(group):
        first.setdefault(row.client, row)
    bars = [_Bar(_shown(row.client), row.figures[RATE], _kind(row.client)) for row in first.values()]
    if native := first.get("native"):
        rate = native.figures[RATE]
        floors = {name: native.figures.get(f"x {name}") for name in ("orjson.dumps", "orjson.loads")}
        bars += [_Bar(f"{name} alone", rate / ratio, "floor") for name, ratio in floors.items() if ratio]
    return sorted(bars, key=lambda bar: -bar.rate)


def _shown(client: str) -> str:
    return {"native": "this package", "python": "this package, fallback"}.get(client, client)


def _kind(client: str) -> str:
    return client if client in ("native", "python") else "peer"


def _panel(group: str, bars: list[_Bar], top: int) -> Iterator[str]:
    title, what, whose = _PANELS[group]
    native = next((bar.rate for bar in bars if bar.kind == "native"), None)
    longest = max(bar.rate for bar in bars)
    yield (
        f'<text x="{_LABELS}" y="{top + 18}"><tspan class="head">{escape(title)}</tspan>'
        f'<tspan class="dim" dx="8">{escape(what)}, events/s</tspan></text>'
    )
    if native:
        yield _text(_WIDTH - 24, top + 18, whose, "dim", "end")
    for number_of, bar in enumerate(bars):
        y = top + _HEAD - 10 + number_of * _LINE
        width = max(bar.rate / longest * _BARS, 1.5)
        yield _text(_LABELS - 10, y + 15, bar.name, "head" if bar.kind == "native" else "", "end")
        yield f'<rect class="{bar.kind}" x="{_LABELS}" y="{y + 2}" width="{width:.1f}" height="{_LINE - 7}" rx="2"/>'
        yield _text(_LABELS + width + 8, y + 15, number(bar.rate), "")
        if native and bar.kind != "native":
            yield _text(_WIDTH - 24, y + 15, f"{number(native / bar.rate)} x", "dim", "end")


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
