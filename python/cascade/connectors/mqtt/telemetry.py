"""Publishes the typed events of one run."""

from __future__ import annotations

import copy
import os
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .envelope import Run
from .events import LifecycleEvent, ResourceEvent, TaskStateEvent

if TYPE_CHECKING:
    from .connector import MqttConnector

__all__ = ["TelemetryPublisher"]

_ERROR_BYTES = 2048
_ELLIPSIS = "…"


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

    def for_run(self, run_id: str) -> TelemetryPublisher:
        """A publisher of another run, the same in everything else; itself where it is the same run."""
        if run_id == self.run_id:
            return self
        other = copy.copy(self)
        other.run_id, other._run = run_id, self._run._replace(run_id=run_id)
        other.topic = other._run.topic
        return other

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

    def _printable(self, error: Any) -> str:
        """The text of an error, which a program may give as the exception that it is."""
        try:
            text = str(error)
        except Exception:
            return f"[{type(error).__name__} without a text]"
        if self._redact is not None:
            try:
                text = _cut(self._redact(text))
            except Exception:
                # The text may hold what the hook is there to hide.
                return "[redaction failed]"
        return _cut(text)


def _cut(text: str) -> str:
    """At most 2 KiB of UTF-8, the cut marked by an ellipsis."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= _ERROR_BYTES:
        return text
    return raw[: _ERROR_BYTES - len(_ELLIPSIS.encode())].decode("utf-8", "ignore") + _ELLIPSIS
