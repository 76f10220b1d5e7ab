"""A client that sends what it is told, byte for byte, and reports what comes back: for what no client would do."""

from __future__ import annotations

import socket
import struct
import time
from types import TracebackType
from typing import Any, Self

import wire
from wire import Packet

__all__ = ["CLOSED", "RawClient", "connect", "is_retained", "subscribe"]

CLOSED = "closed"
_PATIENCE_S = 5.0


class RawClient:
    """A TCP connection to a broker; ``connect_with`` also sends CONNECT and takes the answer."""

    def __init__(self, broker: Any, *, receive_buffer: int = 0) -> None:
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.connect((broker.host, broker.port))
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Without DISCONNECT."""
        self._socket.close()

    def send(self, *data: bytes) -> bool:
        """Whether the broker takes it: it may have closed, or read nothing for a while."""
        self._socket.settimeout(_PATIENCE_S)
        try:
            self._socket.sendall(b"".join(data))
        except OSError:
            return False
        return True

    def ask(self, *data: bytes) -> Packet:
        """Send, and take the answer."""
        self.send(*data)
        answer = self.next()
        assert isinstance(answer, Packet), answer
        return answer

    def next(self, within_s: float = _PATIENCE_S) -> Packet | str | None:
        """The next packet; ``CLOSED``; None where nothing came in that time."""
        deadline = time.monotonic() + within_s
        while (packet := wire.take(self._received)) is None:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._socket.recv(65_536)
            except TimeoutError:
                return None
            except OSError:
                return CLOSED
            if not data:
                return CLOSED
            self._received += data
        return packet

    def all(self, quiet_s: float = 1.0) -> list[Packet]:
        """All packets until nothing has come for a while, or the end."""
        packets = []
        while isinstance(packet := self.next(quiet_s), Packet):
            packets.append(packet)
        return packets


def is_retained(broker: Any, topic: str) -> bool:
    """Whether a new subscriber gets it: some acknowledge a message before they have stored it."""
    with RawClient(broker) as client:
        client.ask(connect(f"{topic[:12]}-looks"))
        client.send(subscribe(topic))
        return any(packet.kind == wire.PUBLISH and packet.retain for packet in client.all(0.5))


def connect(identifier: str, *, level: int = 4, clean: bool = True) -> bytes:
    """CONNECT (section 3.1), for MQTT 5 without properties."""
    body = _string("MQTT") + bytes([level, clean << 1, 0, 60]) + (b"\x00" if level == 5 else b"")
    return wire.encode(wire.CONNECT, body=body + _string(identifier))


def subscribe(topic_filter: str, qos: int = 1, packet_id: int = 1) -> bytes:
    """SUBSCRIBE of MQTT 3.1.1 (section 3.8)."""
    return wire.encode(wire.SUBSCRIBE, 2, struct.pack(">H", packet_id) + _string(topic_filter) + bytes([qos]))


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
