"""Constraints and tasks in few words, for tests of what they mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cascade.connectors.mqtt import ConstraintManager, GlobalConstraint


def constraint(type: str, scope: str = "global", /, *, expires_at: float | None = None, **params: Any) -> Any:
    return GlobalConstraint(id=f"{type}-{scope}", scope=scope, type=type, params=params, expires_at=expires_at)


def put(manager: ConstraintManager, type: str, scope: str = "global", /, **rest: Any) -> None:
    manager.update_constraint(constraint(type, scope, **rest))


def task(name: str = "fetch", **more: Any) -> Any:
    return SimpleNamespace(name=name, **more)


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now
