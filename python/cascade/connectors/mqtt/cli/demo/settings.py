"""What all processes of one demo are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cascade.connectors.mqtt import MqttConnector

from .counted import CountedPublisher

__all__ = ["Settings"]


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
    def scope(self) -> str:
        """Whom this run steers: itself."""
        return f"run:{self.run_id}"

    def publisher(self, connector: MqttConnector) -> CountedPublisher:
        """What puts this run's events on a connector."""
        return CountedPublisher(
            connector, run_id=self.run_id, org_id=self.org_id, project_id=self.project_id, qos=self.qos
        )
