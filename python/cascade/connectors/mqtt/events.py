"""Typed workflow events: the bodies of what docs/wire.md shows whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["GapEvent", "LifecycleEvent", "ResourceEvent", "TaskStateEvent"]

_STATES = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "SKIPPED", "BLOCKED")
_LIFECYCLE = ("ENGINE_STARTED", "ENGINE_STOPPED")
_ACTIONS = ("ACQUIRE", "RELEASE")


@dataclass(frozen=True)
class TaskStateEvent:
    """A task has changed its state."""

    task_id: str
    task_name: str
    state: str
    duration_ms: float = 0.0
    error: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check("state", self.state, _STATES)


@dataclass(frozen=True)
class LifecycleEvent:
    """An engine has started or stopped."""

    event: str

    def __post_init__(self) -> None:
        _check("event", self.event, _LIFECYCLE)


@dataclass(frozen=True)
class ResourceEvent:
    """A task has taken or given back a resource; ``current_usage`` is what is in use now."""

    resource_name: str
    action: str
    current_usage: Any

    def __post_init__(self) -> None:
        _check("action", self.action, _ACTIONS)


@dataclass(frozen=True)
class GapEvent:
    """Events of a run were lost before they were sent; connectors publish it themselves (option ``gap_events``).

    ``lost`` counts them by the reasons of ``Stats.dropped`` and ``Stats.rejected``; ``since`` and ``until`` are
    when the first and the last one were published, RFC 3339 in UTC.
    """

    lost: Mapping[str, int]
    since: str
    until: str


def _check(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, not {value!r}")
