"""Others' text and figures, as a terminal may show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["columns", "printable", "span"]

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60))


def printable(text: Any) -> str:
    """Others' text cannot move the cursor, colour the terminal, or start a line of its own."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in str(text))


def span(seconds: float) -> str:
    """A duration in its two largest units: ``3h12m``, ``4m05s``, ``0.3s``."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    whole = round(seconds)
    for (unit, size), (below, part) in zip(_UNITS, (*_UNITS[1:], ("s", 1)), strict=True):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02}{below}"
    return f"{whole}s"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines in which the cells of a column begin in the same place."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
