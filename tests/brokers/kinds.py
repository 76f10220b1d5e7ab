"""The brokers that the connector is tried on: where each comes from, and how it is started.

As they come: no setting but a port on this machine, a directory, and what MQTT needs at all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import install

from broker_process import BrokerProcess, free_port
from cascade.connectors.mqtt.broker import EmbeddedBroker
from mosquitto import PROGRAM

__all__ = ["KINDS", "Kind", "Started"]

_HERE = Path(__file__).parent


class Started(Protocol):
    """A broker that runs."""

    host: str
    port: int

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def restart(self) -> None: ...


class Kind(NamedTuple):
    """One broker product."""

    name: str
    start: Callable[[Path], Started]
    absent: Callable[[], str]
    """Why it is not here; empty: it is."""


class _Rumqttd:
    """The embedded broker, on a port that it keeps."""

    def __init__(self) -> None:
        self.host, self.port = "127.0.0.1", free_port()
        self._broker = EmbeddedBroker(self.host, self.port)
        self.start()

    def start(self) -> None:
        self._broker.start()

    def stop(self) -> None:
        self._broker.stop()

    def restart(self) -> None:
        self.stop()
        self.start()


def _mosquitto(directory: Path) -> BrokerProcess:
    port, configuration = free_port(), directory / "mosquitto.conf"
    configuration.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    return BrokerProcess(directory, port, [str(PROGRAM), "-c", str(configuration)])


def _nats(directory: Path) -> BrokerProcess:
    port, configuration = free_port(), directory / "nats.conf"
    # MQTT is served out of JetStream, which wants a name for the server; its own protocol on any port.
    configuration.write_text(
        "server_name: tried\nlisten: '127.0.0.1:-1'\n"
        f"jetstream {{ store_dir: '{directory}' }}\nmqtt {{ listen: '127.0.0.1:{port}' }}\n"
    )
    return BrokerProcess(directory, port, [str(install.NATS.directory / "nats-server"), "-c", str(configuration)])


def _mochi(directory: Path) -> BrokerProcess:
    port, others = free_port(), "127.0.0.1:0"
    program = str(install.MOCHI.directory / "cmd")
    return BrokerProcess(directory, port, [program, "-tcp", f"127.0.0.1:{port}", "-ws", others, "-info", others])


def _aedes(directory: Path) -> BrokerProcess:
    port = free_port()
    return BrokerProcess(directory, port, ["node", str(_HERE / "aedes.js"), str(install.AEDES.directory), str(port)])


def _hivemq(directory: Path) -> BrokerProcess:
    port = free_port()
    for name in ("conf", "data", "extensions"):
        (directory / name).mkdir()
    (directory / "conf/config.xml").write_text(
        "<hivemq><listeners><tcp-listener>"
        f"<port>{port}</port><bind-address>127.0.0.1</bind-address>"
        "</tcp-listener></listeners>"
        # It would tell its makers that it runs.
        "<anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics></hivemq>"
    )
    small = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    path = f"{install.HIVEMQ.directory}/*"
    return BrokerProcess(
        directory, port, ["java", *small, "-cp", path, str(_HERE / "hivemq/HiveMq.java"), str(directory)]
    )


KINDS = (
    Kind("mosquitto", _mosquitto, lambda: "" if PROGRAM else "mosquitto is not installed"),
    Kind("rumqttd", lambda _: _Rumqttd(), lambda: ""),
    Kind("nats", _nats, install.NATS.absent),
    Kind("mochi", _mochi, install.MOCHI.absent),
    Kind("aedes", _aedes, install.AEDES.absent),
    Kind("hivemq", _hivemq, install.HIVEMQ.absent),
)
