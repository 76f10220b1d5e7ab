"""The paho client that aiomqtt makes of our options; it never dials, waits or retries."""

from __future__ import annotations

import dataclasses
import ssl
from typing import Any, cast

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ....options import Options, Will
from ..reasons import ConnectFailure

__all__ = ["clean_start", "make_client"]

_VERSIONS = {"3.1": 3, "3.1.1": 4, "5": 5}


def make_client(options: Options, identifier: str, protocol: str, will: Will | None, *, first: bool) -> Any:
    """A paho client that calls nobody, and whose ``reconnect`` queues CONNECT.

    Args:
        protocol: ``"3.1"``, ``"3.1.1"`` or ``"5"``.
        first: no connection was made since the start (for ``clean_start``).

    Raises:
        ConnectFailure: TLS options that cannot be used.
    """
    is_5 = protocol == "5"
    client = aiomqtt.Client(
        options.hostname,
        options.port,
        username=options.username,
        password=options.password,
        identifier=identifier,
        protocol=aiomqtt.ProtocolVersion(_VERSIONS[protocol]),
        will=None if will is None else aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
        clean_session=None if is_5 else options.clean_session,
        tls_context=options.tls_context,
        proxy=options.proxy,
    )
    paho = cast(Any, client._client)
    paho.connect_timeout = options.connect_timeout_s
    paho.disable_logger()
    paho.on_connect = paho.on_disconnect = paho.on_message = None
    paho.on_subscribe = paho.on_unsubscribe = paho.on_publish = None
    paho.on_socket_open = None
    # paho calls that one under a lock that its other callbacks hold.
    paho.on_socket_close = None
    _set_tls(paho, options)
    paho.connect_async(
        options.hostname,
        options.port,
        options.keepalive_s,
        options.bind_address,
        options.bind_port,
        clean_start(options, first) if is_5 else MQTT_CLEAN_START_FIRST_ONLY,
        _properties(options) if is_5 else None,
    )
    return paho


def _set_tls(paho: Any, options: Options) -> None:
    try:
        if options.tls_params is not None:
            paho.tls_set(**dataclasses.asdict(options.tls_params))
        if options.tls_insecure is not None:
            paho.tls_insecure_set(options.tls_insecure)
    except (OSError, ValueError, ssl.SSLError) as error:
        raise ConnectFailure(f"wrong TLS options: {error}", permanent=True) from error


def clean_start(options: Options, first: bool) -> Any:
    """Clean Start of CONNECT (MQTT 5.0 section 3.1.2.4)."""
    wanted = options.clean_start
    if wanted is None:
        return options.clean_session
    # Each connection is the first of its paho client, so that value cannot be left to paho.
    return first if wanted == MQTT_CLEAN_START_FIRST_ONLY else wanted


def _properties(options: Options) -> Any:
    if options.properties is None and not options.clean_session:
        properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        # Never expires, as a session of 3.1.1 (MQTT 5.0 section 3.1.2.11.2).
        properties.SessionExpiryInterval = 0xFFFF_FFFF
        return properties
    return options.properties
