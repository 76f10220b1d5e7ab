"""Durations as they are typed: ``90``, ``90s``, ``15m``, ``1h``, ``2d``."""

from __future__ import annotations

import math
import re

import typer

__all__ = ["duration"]

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def duration(text: str, option: str) -> float:
    """Seconds.

    Raises:
        typer.BadParameter: it is none; the message names the option that it was given to.
    """
    form = _FORM.fullmatch(text.strip())
    seconds = float(form[1]) * _SECONDS[form[2]] if form else math.inf
    if not math.isfinite(seconds):
        raise typer.BadParameter(f"{text!r} is no duration; write 90, 90s, 15m, 1h or 2d", param_hint=option)
    return seconds
