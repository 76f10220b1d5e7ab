"""What the benchmarks of one run found, as a table a group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

__all__ = ["REPORT", "Report", "Row"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured way: its rate, and how that compares with floors measured in the same run."""

    group: str
    name: str
    events_per_s: float
    floors: dict[str, float] = field(default_factory=dict)
    """Name of a floor to its rate in events a second."""
    note: str = ""

    @property
    def variant(self) -> str:
        """What follows the first comma of the name: like is compared with like."""
        return self.name.partition(", ")[2]


@dataclass
class Report:
    """The rows of a run, in the order in which their groups were first met."""

    rows: list[Row] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """What was not measured, and why: one visible line each."""

    def lines(self) -> list[str]:
        """The whole summary; empty where nothing was measured."""
        groups = dict.fromkeys(row.group for row in self.rows)
        lines = [line for group in groups for line in self._table(group)]
        return lines + [f"not measured: {name}: {reason}" for name, reason in self.absent.items()]

    def _table(self, group: str) -> Iterator[str]:
        rows = sorted((row for row in self.rows if row.group == group), key=lambda row: -row.events_per_s)
        floors = dict.fromkeys(floor for row in rows for floor in row.floors)
        natives = [row for row in rows if row.name.startswith("native")]
        heads = ["events/s", "us each", *(f"x {floor}" for floor in floors)]
        if natives:
            heads.append("native is")
        width = max(len(group), *(len(row.name) for row in rows)) + 2
        yield ""
        yield group.ljust(width) + "".join(head.rjust(max(len(head), 9) + 2) for head in heads)
        for row in rows:
            cells = [f"{row.events_per_s:,.0f}", f"{1e6 / row.events_per_s:.2f}"]
            cells += [f"{row.events_per_s / row.floors[floor]:.2f}" if floor in row.floors else "-" for floor in floors]
            if natives:
                alike = [native for native in natives if native.variant.startswith(row.variant)]
                cells.append(f"{alike[0].events_per_s / row.events_per_s:.1f} x" if alike else "-")
            shown = "".join(cell.rjust(max(len(head), 9) + 2) for cell, head in zip(cells, heads, strict=True))
            yield f"{row.name.ljust(width)}{shown}  {row.note}".rstrip()


REPORT = pytest.StashKey[Report]()
