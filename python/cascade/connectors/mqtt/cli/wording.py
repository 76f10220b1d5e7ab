"""Constraints in words: what is meant, and by what."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..constraints import GlobalConstraint
from .printable import printable, span

__all__ = ["effect", "expiry", "meaning"]

_GLOB = frozenset("*?[")


def meaning(scope: str) -> str:
    """Which tasks a scope is about: ``tasks whose name matches load_*``."""
    kind, _, what = scope.partition(":")
    what, is_pattern = printable(what), not _GLOB.isdisjoint(what)
    match kind:
        case "global":
            return "every task"
        case "project":
            return f"every task of the project {what}"
        case "task":
            return f"tasks whose name matches {what}" if is_pattern else f"tasks named {what}"
        case "source":
            return f"every task of workers whose source id matches {what}" if is_pattern else f"every task of {what}"
        case "run":
            return f"every task of the run {what}"
    return printable(scope)


def effect(constraint: GlobalConstraint) -> str:
    """What a constraint does: ``at most 4 at a time in each process``."""
    params: Mapping[str, Any] = constraint.params
    match constraint.type:
        case "pause":
            return "paused"
        case "concurrency":
            return f"at most {printable(params.get('limit'))} at a time in each process"
        case "rate_limit":
            rate = params.get("rate")
            burst = f", {printable(params['capacity'])} at once" if params.get("capacity") is not None else ""
            return f"{printable(rate)}{'/s' if isinstance(rate, int | float) else ''} in each process{burst}"
        case "capacity":
            amounts = ", ".join(f"{amount} {name}" for name, amount in params.items())
            return f"{printable(amounts)} in each process"
    return printable(f"{constraint.type} {json.dumps(dict(params), ensure_ascii=False)}")


def expiry(constraint: GlobalConstraint, now: float | None = None) -> str:
    """Until when: ``until 21:14:03 (in 4m10s)``; ``until it is lifted``."""
    if constraint.expires_at is None:
        return "until it is lifted"
    left = constraint.expires_at - (time.time() if now is None else now)
    try:
        clock = datetime.fromtimestamp(constraint.expires_at).astimezone().strftime("%H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return f"until {constraint.expires_at:g}"
    return f"until {clock} (in {span(left)})"
