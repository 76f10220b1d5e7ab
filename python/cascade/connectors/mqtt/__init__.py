"""Workflow telemetry to an MQTT broker, and control messages back, without slowing the workflow."""

from importlib.metadata import PackageNotFoundError, version

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
from .messages import Message
from .options import Will
from .protocols import Connector, SubscriptionHandle
from .stats import Stats
from .telemetry import LifecycleEvent, ResourceEvent, TaskStateEvent, TelemetryPublisher

__all__ = [
    "BackendUnavailable",
    "ConfirmationError",
    "ConnectError",
    "Connector",
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

try:
    __version__ = version("cascade-connector-mqtt")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0"
