"""Durations as figures."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["percentiles"]

_IN = {"us": 1e6, "ms": 1e3}


def percentiles(seconds: Iterable[float], unit: str, *wanted: float) -> dict[str, float]:
    """By heading, ``p99 ms``: what so many of a hundred durations do not exceed (nearest rank); 100 is the longest."""
    ranked = sorted(seconds)
    last = len(ranked) - 1
    names = {at: "longest" if at == 100 else f"p{at:g}" for at in wanted}
    return {f"{names[at]} {unit}": ranked[min(int(len(ranked) * at / 100), last)] * _IN[unit] for at in wanted}
