"""The options of a connector: names, types, defaults, and one frozen object that crosses into a backend.

Constructor names are the ones users of MQTT clients know; inside, durations carry their unit.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .batching import BatchOptions
from .environment import from_environment
from .errors import TopicError
from .topics import check_name

__all__ = ["AIOMQTT_OPTIONS", "FALLBACK_ONLY", "Options", "Will"]

BackendName = Literal["auto", "native", "python"]
FirstConnect = Literal["require", "background"]
OnFull = Literal["drop_oldest", "drop_newest", "wait"]
AfterFork = Literal["reopen", "close"]
Protocol = Literal["3.1", "3.1.1", "5", "auto"]
Transport = Literal["tcp", "websockets", "unix"]

# aiomqtt's ProtocolVersion has the values 3, 4 and 5, paho's constants likewise.
_PROTOCOLS: Mapping[Any, Protocol] = {
    3: "3.1",
    4: "3.1.1",
    5: "5",
    "3.1": "3.1",
    "3.1.1": "3.1.1",
    "5": "5",
    "auto": "auto",
}

FALLBACK_ONLY = (
    "transport",
    "websocket_path",
    "websocket_headers",
    "tls_context",
    "tls_params",
    "tls_insecure",
    "proxy",
    "clean_start",
    "properties",
    "socket_options",
    "protocol",
)
"""Options that the compiled backend does not carry yet when they differ from their defaults."""

_REFUSED = {
    "queue_type": "inbound queues are bounded by bytes here; set max_inbox_bytes instead",
}

_RENAMED = {
    "keepalive": "keepalive_s",
    "timeout": "timeout_s",
    "connect_timeout": "connect_timeout_s",
    "reconnect_min_delay": "reconnect_min_delay_s",
    "reconnect_max_delay": "reconnect_max_delay_s",
    "retained_timeout": "retained_timeout_s",
    "hang_timeout": "hang_timeout_s",
    "heartbeat": "heartbeat_s",
}
# aiomqtt's names for what has a name of its own here.
_ALIASES = {
    "max_queued_outgoing_messages": "max_queued_events",
    "max_queued_incoming_messages": "max_inbox_messages",
}

AIOMQTT_OPTIONS: Mapping[str, str] = {
    "hostname": "honoured",
    "port": "honoured",
    "username": "honoured",
    "password": "honoured",
    "logger": "honoured",
    "identifier": "honoured",
    "queue_type": "refused",
    "protocol": "honoured; other than 3.1.1 by the fallback",
    "will": "honoured",
    "clean_session": "honoured",
    "transport": "honoured; other than tcp by the fallback",
    "timeout": "honoured",
    "keepalive": "honoured",
    "bind_address": "honoured",
    "bind_port": "honoured",
    "clean_start": "honoured by the fallback",
    "max_queued_incoming_messages": "honoured",
    "max_queued_outgoing_messages": "honoured",
    "max_inflight_messages": "honoured",
    "max_concurrent_outgoing_calls": "honoured",
    "properties": "honoured by the fallback",
    "tls_context": "honoured by the fallback",
    "tls_params": "honoured by the fallback",
    "tls_insecure": "honoured by the fallback",
    "proxy": "honoured by the fallback",
    "socket_options": "honoured by the fallback",
    "websocket_path": "honoured by the fallback",
    "websocket_headers": "honoured by the fallback",
}
"""What becomes of each parameter of ``aiomqtt.Client``; a test holds it against the real signature."""


@dataclass(frozen=True, kw_only=True)
class Will:
    """The message that the broker publishes when a client vanishes (MQTT 3.1.1 section 3.1.2.5)."""

    topic: str
    payload: str | bytes | None = field(default=None, repr=False)
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything a backend is told; see the README's table for units, defaults and ranges."""

    hostname: str
    port: int = 1883
    backend: BackendName = "auto"
    first_connect: FirstConnect = "require"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    identifier: str | None = None
    keepalive_s: int = 60
    clean_session: bool = True
    protocol: Protocol = "3.1.1"
    will: Will | None = None
    transport: Transport = "tcp"
    timeout_s: float = 10.0
    connect_timeout_s: float = 5.0
    bind_address: str = ""
    bind_port: int = 0
    reconnect_min_delay_s: float = 0.1
    reconnect_max_delay_s: float = 30.0
    max_queued_bytes: int = 64 * 1024 * 1024
    max_queued_events: int | None = None
    max_inflight_messages: int = 10_000
    max_inflight_qos2: int = 20
    max_message_bytes: int = 1024 * 1024
    max_inbound_bytes: int = 16 * 1024 * 1024
    max_inbox_bytes: int = 16 * 1024 * 1024
    max_inbox_messages: int | None = None
    max_concurrent_outgoing_calls: int | None = None
    on_full: OnFull = "drop_oldest"
    batch: BatchOptions | None = None
    retained_timeout_s: float = 1.0
    strict: bool = False
    default: Callable[[Any], Any] | None = None
    source_id: str | None = None
    presence: bool = False
    gap_events: bool = True
    heartbeat_s: float | None = None
    hang_timeout_s: float | None = None
    after_fork: AfterFork = "reopen"
    on_state_change: Callable[[str], Any] | None = None
    logger: logging.Logger | None = None
    # What only the fallback carries; passed to aiomqtt.Client as given.
    tls_context: Any = field(default=None, repr=False)
    tls_params: Any = field(default=None, repr=False)
    tls_insecure: bool | None = None
    proxy: Any = field(default=None, repr=False)
    # A signed URL is a credential.
    websocket_path: str | None = field(default=None, repr=False)
    websocket_headers: Any = field(default=None, repr=False)
    clean_start: Any = None
    properties: Any = field(default=None, repr=False)
    socket_options: Any = None

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            _check(option.name, option.type, getattr(self, option.name))
        if not self.clean_session and not self.identifier:
            raise ValueError("clean_session=False needs an identifier: the session is kept under it")
        if self.password is not None and self.username is None:
            raise ValueError("password needs a username (MQTT 3.1.1 section 3.1.2.9)")
        if self.bind_address:
            import ipaddress

            try:
                ipaddress.ip_address(self.bind_address)
            except ValueError:
                raise ValueError(f"bind_address must be an IP address, not {self.bind_address!r}") from None
        if self.reconnect_max_delay_s < self.reconnect_min_delay_s:
            raise ValueError("reconnect_max_delay must not be less than reconnect_min_delay")

    @classmethod
    def build(
        cls,
        hostname: str,
        port: int = 1883,
        /,
        *,
        environ: Mapping[str, str] = os.environ,
        **given: Any,
    ) -> Options:
        """Options from what the constructor was given and from ``CASCADE_MQTT_*`` variables.

        Raises:
            TypeError: an unknown option, or a value of the wrong type; the message names it.
            ValueError: a value out of range, or an option that no backend can honour.
        """
        for name, why in _REFUSED.items():
            if given.pop(name, None) is not None:
                raise ValueError(f"{name} cannot be honoured: {why}")
        names = {option.name for option in dataclasses.fields(cls)}
        fields: dict[str, Any] = {}
        for name, value in given.items():
            inside = _RENAMED.get(name) or _ALIASES.get(name, name)
            if inside not in names or name.endswith("_s"):
                raise TypeError(f"MqttConnector got an unknown option {name!r}")
            if value is not None:
                fields[inside] = value
        for name, value in from_environment(cls, _RENAMED, environ, set(fields)).items():
            fields[name] = value
        if "protocol" in fields:
            fields["protocol"] = _protocol(fields["protocol"])
        if "will" in fields:
            fields["will"] = _will(fields["will"])
        if "timeout_s" in fields:
            fields.setdefault("connect_timeout_s", fields["timeout_s"])
        return cls(hostname=hostname, port=port, **fields)

    def fallback_only(self) -> list[str]:
        """Names of the options given that the compiled backend does not carry."""
        defaults = {option.name: option.default for option in dataclasses.fields(self)}
        return [name for name in FALLBACK_ONLY if getattr(self, name) != defaults[name]]


def _protocol(value: Any) -> Protocol:
    try:
        return _PROTOCOLS[getattr(value, "value", value)]
    except (KeyError, TypeError):
        raise ValueError(f"protocol must be one of 3, 4, 5, '3.1.1', '5', 'auto', not {value!r}") from None


def _will(value: Any) -> Will:
    """A ``Will`` of ours from anything shaped like aiomqtt's."""
    try:
        will = Will(
            topic=str(value.topic),
            payload=value.payload,
            qos=int(value.qos),
            retain=bool(value.retain),
        )
        check_name(will.topic)
    except AttributeError:
        raise TypeError("will must have topic, payload, qos and retain, as aiomqtt.Will has") from None
    except TopicError as error:
        raise ValueError(f"will: {error}") from None
    if will.qos not in (0, 1, 2):
        raise ValueError(f"will: qos must be 0, 1 or 2, not {will.qos}")
    return will


_POSITIVE = {
    "timeout_s",
    "connect_timeout_s",
    "reconnect_min_delay_s",
    "reconnect_max_delay_s",
    "retained_timeout_s",
    "max_queued_bytes",
    "max_message_bytes",
    "max_inbound_bytes",
    "max_inbox_bytes",
    "max_inflight_messages",
    "max_inflight_qos2",
    "heartbeat_s",
    "hang_timeout_s",
    "max_queued_events",
    "max_inbox_messages",
    "max_concurrent_outgoing_calls",
}
_RANGES = {
    "port": (1, 65_535),
    "bind_port": (0, 65_535),
    "keepalive_s": (0, 65_535),
    "max_message_bytes": (1, 268_435_455),
    "max_inbound_bytes": (1, 268_435_455),
}
_OUTSIDE = {inside: outside for outside, inside in _RENAMED.items()}


def _check(name: str, annotation: Any, value: Any) -> None:
    """One option against its annotation and its range. Annotations are strings here (PEP 563)."""
    shown = _OUTSIDE.get(name, name)
    parts = [part.strip() for part in str(annotation).split("|")]
    if value is None:
        if "None" not in parts and "Any" not in parts:
            raise TypeError(f"{shown} must not be None")
        return
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}
    for part in parts:
        if part in kinds:
            wanted = kinds[part]
            if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
                raise TypeError(f"{shown} must be {annotation}, not {type(value).__name__}")
        elif part in _CHOICES and value not in _CHOICES[part]:
            choices = ", ".join(repr(choice) for choice in _CHOICES[part])
            raise ValueError(f"{shown} must be one of {choices}, not {value!r}")
        elif part == "BatchOptions" and not isinstance(value, BatchOptions):
            raise TypeError(f"{shown} must be BatchOptions, not {type(value).__name__}")
        elif part.startswith("Callable") and not callable(value):
            raise TypeError(f"{shown} must be callable, not {type(value).__name__}")
    if name == "hostname" and not value:
        raise ValueError("hostname must not be empty")
    if name in _POSITIVE and not value > 0:
        raise ValueError(f"{shown} must be more than 0, not {value!r}")
    if name in _RANGES:
        low, high = _RANGES[name]
        if not low <= value <= high:
            raise ValueError(f"{shown} must be from {low} to {high}, not {value!r}")


_CHOICES: dict[str, tuple[str, ...]] = {
    "BackendName": get_args(BackendName),
    "FirstConnect": get_args(FirstConnect),
    "OnFull": get_args(OnFull),
    "AfterFork": get_args(AfterFork),
    "Protocol": get_args(Protocol),
    "Transport": get_args(Transport),
}
