"""Workflow telemetry to an MQTT broker, and control messages back, without slowing the workflow."""

from typing import Any

from .batching import BatchOptions
from .connector import MqttConnector
from .errors import (
    BackendUnavailable,
    ConfirmationError,
    ConnectError,
    MqttError,
    PayloadError,
    SubscribeError,
    TopicError,
)
from .events import GapEvent, LifecycleEvent, ResourceEvent, TaskStateEvent
from .messages import Message
from .options import Will
from .protocols import Connector, SubscriptionHandle
from .stats import Stats
from .telemetry import TelemetryPublisher

__all__ = [
    "BackendUnavailable",
    "BatchOptions",
    "ConfirmationError",
    "ConnectError",
    "Connector",
    "GapEvent",
    "LifecycleEvent",
    "Message",
    "MqttConnector",
    "MqttError",
    "PayloadError",
    "ResourceEvent",
    "Stats",
    "SubscribeError",
    "SubscriptionHandle",
    "TaskStateEvent",
    "TelemetryPublisher",
    "TopicError",
    "Will",
    "__version__",
]

__version__: str


def __getattr__(name: str) -> Any:
    # Not read at import: importlib.metadata takes as long as all the rest.
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("cascade-connector-mqtt")
        except PackageNotFoundError:  # a source tree that is not installed
            return "0+unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
