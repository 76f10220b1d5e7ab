"""What all processes of one demo are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cascade.connectors.mqtt import MqttConnector, TelemetryPublisher

__all__ = ["CONSTRAINTS", "PAUSE", "PAUSED_TOPIC", "Settings"]

CONSTRAINTS = "cascade/constraints/#"
PAUSED_TOPIC = "cascade/constraints/global"
PAUSE: Mapping[str, Any] = {"id": "pause-global", "scope": "global", "type": "pause", "params": {}, "expires_at": None}


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

    def publisher(self, connector: MqttConnector) -> TelemetryPublisher:
        """What puts this run's events on a connector."""
        return TelemetryPublisher(
            connector, run_id=self.run_id, org_id=self.org_id, project_id=self.project_id, qos=self.qos
        )
