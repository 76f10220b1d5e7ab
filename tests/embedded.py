"""The embedded broker as tests share it: rumqttd 0.20 can panic when a subscriber leaves in mid-delivery."""

from __future__ import annotations

import socket
from typing import Any

import wire
from cascade.connectors.mqtt.broker import EmbeddedBroker

__all__ = ["SharedBroker", "answers"]

_PATIENCE_S = 5.0


class SharedBroker:
    """One broker for many tests. A test that kills it fails; the tests behind it get another."""

    def __init__(self) -> None:
        self._broker = EmbeddedBroker()
        self._broker.start()

    def living(self) -> EmbeddedBroker:
        if not answers(self._broker):
            self.stop()
            self._broker = EmbeddedBroker()
            self._broker.start()
        return self._broker

    def stop(self) -> None:
        self._broker.stop()


def answers(broker: Any) -> bool:
    """Whether a SUBSCRIBE gets its SUBACK: rumqttd's router is what dies, it goes on accepting connections."""
    connect = wire.encode(wire.CONNECT, body=b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x05probe")
    subscribe = wire.encode(wire.SUBSCRIBE, 2, b"\x00\x01\x00\x05probe\x00")
    received = bytearray()
    try:
        with socket.create_connection((broker.host, broker.port), _PATIENCE_S) as probe:
            probe.sendall(connect)
            for kind, answer in ((wire.CONNACK, subscribe), (wire.SUBACK, wire.encode(wire.DISCONNECT))):
                while (packet := wire.take(received)) is None:
                    data = probe.recv(4096)
                    if not data:
                        return False
                    received += data
                if packet.kind != kind:
                    return False
                probe.sendall(answer)
    except OSError:
        return False
    return True
