"""Rows of figures as text: for the terminal, and in Markdown. Ratios stand before what they are ratios of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .report import OURS, RATE, Report, Row, native_is

__all__ = ["cells", "markdown", "number", "terminal"]

_NATIVE_IS = "native is"


def number(value: float) -> str:
    """A count as it is; else three significant digits, never an exponent, large ones whole."""
    if isinstance(value, int):
        return f"{value:,}"
    if value >= 100:
        digits = max(len(f"{value:.0f}") - 3, 0)
        return f"{round(value, -digits):,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.095 or value == 0 else f"{value:.3f}"


def cells(report: Report, group: str) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of a group's table: by case, ours as they were first met, the fastest first."""
    rows = report.of(group)
    cases = list(dict.fromkeys(row.case for row in sorted(rows, key=lambda row: row.client not in OURS)))
    rows.sort(key=lambda row: (cases.index(row.case), -row.figures.get(RATE, 0)))
    headings = sorted(dict.fromkeys(heading for row in rows for heading in row.figures), key=lambda it: "x " not in it)
    compared = [_compared(report, row) for row in rows]
    lines = [
        [row.name, ratio, *(number(row.figures[at]) if at in row.figures else "" for at in headings), row.note]
        for row, ratio in zip(rows, compared, strict=True)
    ]
    return _without_empty_columns([group, _NATIVE_IS, *headings, ""], lines)


def _compared(report: Report, row: Row) -> str:
    """Like with like: a case with native's same, a peer's with native's first."""
    natives = [other for other in report.of(row.group) if other.client == "native"]
    alike = [native for native in natives if native.case == row.case]
    if row.client not in OURS:
        alike += natives
    if not alike or alike[0] is row or not row.first[1]:
        return ""
    return f"{number(native_is(row, alike[0]))} x"


def _without_empty_columns(heads: list[str], lines: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    kept = [at for at in range(len(heads)) if any(line[at] for line in lines)]
    return [heads[at] for at in kept], [[line[at] for at in kept] for line in lines]


def terminal(report: Report) -> Iterator[str]:
    """The whole summary; empty where nothing was measured."""
    for group in report.groups:
        heads, lines = cells(report, group)
        widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
        yield ""
        for line in (heads, *lines):
            aligned = (
                cell.ljust(width) if head in (group, "") else cell.rjust(width)
                for head, cell, width in zip(heads, line, widths, strict=True)
            )
            yield "  ".join(aligned).rstrip()
    for name, reason in report.absent.items():
        yield f"not measured: {name}: {reason}"


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose first column and nameless ones are text, and all others figures."""
    rules = ["---" if at == 0 or not head else "---:" for at, head in enumerate(heads)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rules, *lines))
