"""A broker for demos, tests and desks: rumqttd, out of the package ``iotcore``, in a child process.

It keeps nothing on disk and asks nobody for a password: not for production.
"""

from __future__ import annotations

import os
import socket
import tempfile
from typing import TYPE_CHECKING

from .errors import MqttError
from .interrupts import children_deaf_to_ctrl_c

if TYPE_CHECKING:
    from iotcore import Broker

__all__ = ["BrokerUnavailable", "EmbeddedBroker"]

_PORT_ATTEMPTS = 10

# rumqttd keeps what it routes in a log of segments and forgets the oldest: 4 GiB of room (used only as it fills) lets
# the slowest subscriber of a demo keep up. The payload limit is the largest remaining length that the protocol has.
_CONFIGURATION = """\
id = 0

[router]
id = 0
max_connections = 10000
max_outgoing_packet_count = 1000
max_segment_size = 104857600
max_segment_count = 40

[v4.1]
name = "v4"
listen = "{host}:{port}"
next_connection_delay_ms = 0

[v4.1.connections]
connection_timeout_ms = 5000
max_payload_size = 268435455
max_inflight_count = 1000
dynamic_filters = true
"""


class BrokerUnavailable(MqttError, ImportError):
    """The package that the embedded broker comes from is not installed."""


class EmbeddedBroker:
    """An MQTT 3.1.1 broker in a child process; a context manager.

    Args:
        host: IPv4 address, or a name that has one, to listen on. Only this machine by default.
        port: TCP port; 0 takes a free one.

    The child ends with ``stop()``, and by itself when this process ends in any other way.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self._wanted_port = port
        self._broker: Broker | None = None

    @property
    def port(self) -> int:
        """The TCP port that the broker listens on.

        Raises:
            RuntimeError: it is not running.
        """
        if self._broker is None:
            raise RuntimeError("the embedded broker is not running: call start()")
        return self._broker.port

    @property
    def running(self) -> bool:
        """Whether the child process lives."""
        return self._broker is not None and self._broker.is_running

    def start(self) -> EmbeddedBroker:
        """Start it, and return once it accepts connections; a second call does nothing.

        Raises:
            BrokerUnavailable: ``iotcore`` is not installed.
            OSError: the address cannot be listened on.
            RuntimeError: the child did not come up within ten seconds.
        """
        if self._broker is None:
            address = _address(self.host)
            self._broker = _serve(address, self._wanted_port) if self._wanted_port else _serve_on_free_port(address)
        return self

    def stop(self) -> None:
        """End the child process; a second call does nothing."""
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.stop()

    def __enter__(self) -> EmbeddedBroker:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def _serve_on_free_port(host: str) -> Broker:
    # Between finding a free port and the child's taking it somebody else may have it: then another one.
    for _ in range(_PORT_ATTEMPTS - 1):
        try:
            return _serve(host, _free_port(host))
        except OSError:
            continue
    return _serve(host, _free_port(host))


def _serve(host: str, port: int) -> Broker:
    try:
        from iotcore import Broker
    except ImportError as error:
        raise BrokerUnavailable(
            "the embedded broker needs iotcore: pip install 'cascade-connector-mqtt[broker]', "
            "or in a clone pip install '.[broker]'"
        ) from error
    descriptor, path = tempfile.mkstemp(prefix="cascade-broker-", suffix=".toml")
    try:
        with open(descriptor, "w") as configuration:
            configuration.write(_CONFIGURATION.format(host=host, port=port))
        broker = Broker(config_path=path)
        with children_deaf_to_ctrl_c():
            return broker.start()
    finally:
        os.unlink(path)


def _address(host: str) -> str:
    """The IPv4 address of this machine that ``host`` means."""
    try:
        address = socket.gethostbyname(host)
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError as error:
        raise OSError(f"cannot listen on {host}: {error.strerror}") from error
    return address


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
