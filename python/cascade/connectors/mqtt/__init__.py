"""Workflow telemetry to an MQTT broker, and control messages back, without slowing the workflow."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .batching import BatchOptions
from .connector import MqttConnector
from .errors import (
    BackendUnavailable,
    ConfirmationError,
    ConnectError,
    ConstraintError,
    MqttError,
    PayloadError,
    SubscribeError,
    TopicError,
)
from .messages import Message
from .options import Will
from .protocols import Connector, SubscriptionHandle

if TYPE_CHECKING:
    from .constraints import (
        Change,
        ConstraintController,
        ConstraintHandler,
        ConstraintManager,
        ConstraintResolver,
        ConstraintSync,
        Environment,
        Gate,
        GlobalConstraint,
        KeyFile,
        Lazy,
        ResourceManager,
        SigningKey,
        SyncStats,
        Waiting,
    )
    from .events import GapEvent, LifecycleEvent, ResourceEvent, TaskStateEvent
    from .stats import Stats
    from .telemetry import TelemetryPublisher

__all__ = [
    "BackendUnavailable",
    "BatchOptions",
    "Change",
    "ConfirmationError",
    "ConnectError",
    "Connector",
    "ConstraintController",
    "ConstraintError",
    "ConstraintHandler",
    "ConstraintManager",
    "ConstraintResolver",
    "ConstraintSync",
    "Environment",
    "GapEvent",
    "Gate",
    "GlobalConstraint",
    "KeyFile",
    "Lazy",
    "LifecycleEvent",
    "Message",
    "MqttConnector",
    "MqttError",
    "PayloadError",
    "ResourceEvent",
    "ResourceManager",
    "SigningKey",
    "Stats",
    "SubscribeError",
    "SubscriptionHandle",
    "SyncStats",
    "TaskStateEvent",
    "TelemetryPublisher",
    "TopicError",
    "Waiting",
    "Will",
    "__version__",
]

__version__: str

# Imported when they are asked for: a program does not pay for what it does not use.
_LATER = {
    "constraints": (
        "Change",
        "ConstraintController",
        "ConstraintHandler",
        "ConstraintManager",
        "ConstraintResolver",
        "ConstraintSync",
        "Environment",
        "Gate",
        "GlobalConstraint",
        "KeyFile",
        "Lazy",
        "ResourceManager",
        "SigningKey",
        "SyncStats",
        "Waiting",
    ),
    "events": ("GapEvent", "LifecycleEvent", "ResourceEvent", "TaskStateEvent"),
    "stats": ("Stats",),
    "telemetry": ("TelemetryPublisher",),
}


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    # Not read at import: importlib.metadata takes as long as all the rest.
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("cascade-connector-mqtt")
        except PackageNotFoundError:  # a source tree that is not installed
            return "0+unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
