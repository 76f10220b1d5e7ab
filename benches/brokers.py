"""Real brokers as far ends: mosquitto as it is installed, and the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker_process import BrokerProcess, free_port
from cascade.connectors.mqtt.broker import EmbeddedBroker
from mosquitto import PROGRAM

__all__ = ["BROKERS", "Running", "running"]

BROKERS = ("mosquitto", "embedded")


@dataclass(frozen=True)
class Running:
    """A broker that runs here."""

    name: str
    port: int


@contextmanager
def running(name: str, directory: Path) -> Iterator[Running]:
    """That broker on a free port.

    Raises:
        BrokerUnavailable, FileNotFoundError: it is not here.
    """
    broker = _mosquitto(directory) if name == "mosquitto" else EmbeddedBroker().start()
    try:
        yield Running("mosquitto" if name == "mosquitto" else "the embedded broker", broker.port)
    finally:
        broker.stop()


def _mosquitto(directory: Path) -> BrokerProcess:
    """With nothing set but where it listens, and that it logs errors alone."""
    if PROGRAM is None:
        raise FileNotFoundError("mosquitto is not installed")
    port = free_port()
    configuration = directory / "mosquitto.conf"
    configuration.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_type error\n")
    return BrokerProcess(directory, port, [PROGRAM, "-c", str(configuration)])
