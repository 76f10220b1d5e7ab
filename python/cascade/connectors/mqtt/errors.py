"""The few errors that reach a caller. Everything else is counted in ``stats()``."""

from __future__ import annotations

__all__ = [
    "BackendUnavailable",
    "ConfirmationError",
    "ConnectError",
    "ConstraintError",
    "MqttError",
    "PayloadError",
    "SubscribeError",
    "TopicError",
]


class MqttError(Exception):
    """Base of all errors of this package."""


class ConnectError(MqttError, ConnectionError):
    """``connect()`` or ``open()`` ended without a connection.

    ``permanent`` is True where trying again with the same options cannot help (bad credentials,
    not authorised, identifier refused: MQTT 3.1.1 section 3.2.2.3).
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class BackendUnavailable(MqttError, ImportError):
    """The backend that was asked for cannot be loaded here."""


class SubscribeError(MqttError):
    """The broker refused a subscription (SUBACK return code 0x80, MQTT 3.1.1 section 3.9.3)."""


class PayloadError(MqttError, ValueError):
    """With ``strict=True``: a payload that cannot be serialised, or is too large."""


class TopicError(MqttError, ValueError):
    """A topic name or filter that MQTT 3.1.1 section 4.7 forbids."""


class ConstraintError(MqttError, ValueError):
    """A constraint that cannot be read, or a requirement that cannot be met.

    ``field`` names what is wrong: a field of the constraint (``params.rate``) or a resource.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ConfirmationError(MqttError, TimeoutError):
    """``publish_confirmed`` ended without an acknowledgement.

    ``may_arrive`` is False where the message was never sent and has been withdrawn, True where it
    was in flight: the broker may have it, or may still get it.
    """

    def __init__(self, message: str, *, may_arrive: bool) -> None:
        super().__init__(message)
        self.may_arrive = may_arrive
