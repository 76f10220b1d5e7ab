"""What all processes of one demo are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...topics import encode_id

__all__ = ["CONSTRAINTS", "PAUSE", "PAUSED_TOPIC", "Settings"]

CONSTRAINTS = "cascade/constraints/#"
PAUSED_TOPIC = "cascade/constraints/global"
PAUSE = {"id": "pause-global", "scope": "global", "type": "pause", "params": {}, "expires_at": None}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the broker is, and whose events these are."""

    host: str
    port: int
    run_id: str
    qos: int
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """More options for ``MqttConnector``: the backend, the login."""
    org_id: str = "local"
    project_id: str = "demo"

    @property
    def events_topic(self) -> str:
        """Where this run's events go."""
        org, project, run = (encode_id(name) for name in (self.org_id, self.project_id, self.run_id))
        return f"cascade/telemetry/{org}/{project}/{run}/events"
