"""Typed workflow events and the envelope they travel in; see docs/wire.md for the bytes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .envelope import Run

if TYPE_CHECKING:
    from .connector import MqttConnector

__all__ = ["GapEvent", "LifecycleEvent", "ResourceEvent", "TaskStateEvent", "TelemetryPublisher"]

_STATES = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "SKIPPED", "BLOCKED")
_LIFECYCLE = ("ENGINE_STARTED", "ENGINE_STOPPED")
_ACTIONS = ("ACQUIRE", "RELEASE")
_ERROR_BYTES = 2048
_ELLIPSIS = "…"


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


class TelemetryPublisher:
    """Publishes the events of one run through a connector; never blocks, safe in any thread.

    Args:
        run_id: the run's name; a new random one by default.
        org_id: ``CASCADE_ORG_ID`` or ``"local"`` by default.
        project_id: ``CASCADE_PROJECT_ID`` or ``"default"`` by default.
        source_id: who publishes; the connector's by default.
        qos: 0, 1 or 2.
        redact: called with each error text before it is cut to 2 KiB; returns what may be published.
    """

    def __init__(
        self,
        connector: MqttConnector,
        *,
        run_id: str | None = None,
        org_id: str | None = None,
        project_id: str | None = None,
        source_id: str | None = None,
        qos: int = 0,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self.run_id = run_id or uuid.uuid4().hex
        self.org_id = org_id or os.environ.get("CASCADE_ORG_ID") or "local"
        self.project_id = project_id or os.environ.get("CASCADE_PROJECT_ID") or "default"
        self._run = Run(self.org_id, self.project_id, self.run_id)
        self.topic = self._run.topic
        self._connector = connector
        self._source_id = source_id
        self._qos = qos
        self._redact = redact
        self._identity = ("", "")

    @property
    def source(self) -> str:
        """Who publishes, as it stands in the events of this process."""
        return self._identify()[1]

    @property
    def epoch(self) -> str:
        """The connector's incarnation, as it stands in the events of this process."""
        return self._identify()[0]

    def task_state(
        self,
        task_id: str,
        task_name: str,
        state: str,
        *,
        duration_ms: float = 0.0,
        error: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> bool:
        """Publish a ``TaskStateEvent``; returns whether it was queued. FAILED goes before other events drop.

        Raises:
            ValueError: an unknown state.
        """
        return self.publish(TaskStateEvent(task_id, task_name, state, duration_ms, error, metadata or {}))

    def lifecycle(self, event: str) -> bool:
        """Publish a ``LifecycleEvent``: ENGINE_STARTED or ENGINE_STOPPED; returns whether it was queued.

        Raises:
            ValueError: an unknown event.
        """
        return self.publish(LifecycleEvent(event))

    def resource(self, resource_name: str, action: str, current_usage: Any) -> bool:
        """Publish a ``ResourceEvent``: ACQUIRE or RELEASE; returns whether it was queued.

        Raises:
            ValueError: an unknown action.
        """
        return self.publish(ResourceEvent(resource_name, action, current_usage))

    def publish(self, event: TaskStateEvent | LifecycleEvent | ResourceEvent) -> bool:
        """Publish an event that was made before; returns whether it was queued."""
        body = {"type": type(event).__name__, **vars(event)}
        if body.get("error"):
            body["error"] = self._printable(body["error"])
        epoch, source = self._identify()
        seq = self._connector._incarnation.next_in_run(self.run_id)
        message = self._run.event(body, source=source, epoch=epoch, seq=seq)
        if type(event) is LifecycleEvent or body.get("state") == "FAILED":
            return self._connector._publish_first(self.topic, message, self._qos)
        return self._connector.publish_nowait(self.topic, message, self._qos)

    def _identify(self) -> tuple[str, str]:
        """Epoch and source; the process that publishes is known by its epoch, which a fork changes."""
        if self._identity[0] != self._connector.epoch:
            self._identity = self._connector.epoch, self._source_id or self._connector.source_id
        return self._identity

    def _printable(self, error: str) -> str:
        if self._redact is not None:
            try:
                error = _cut(self._redact(error))
            except Exception:
                # The text may hold what the hook is there to hide.
                return "[redaction failed]"
        return _cut(error)


def _cut(text: str) -> str:
    """At most 2 KiB of UTF-8, the cut marked by an ellipsis."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= _ERROR_BYTES:
        return text
    return raw[: _ERROR_BYTES - len(_ELLIPSIS.encode())].decode("utf-8", "ignore") + _ELLIPSIS


def _check(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, not {value!r}")
