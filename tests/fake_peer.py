"""A broker that does as it is told: it speaks bytes over a socket, and does what no real broker would.

It runs on threads of its own, so that it answers while a test blocks its event loop. What it received
is in ``packets``; what it answers is switched by plain attributes, any time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

import wire
from listener import Listener, resets_when_closed
from wire import Packet


class FakePeer:
    """Accepts every connection; acknowledges all that asks for it, until told otherwise."""

    def __init__(self, port: int = 0) -> None:
        self.connack = b"\x00\x00"
        """Flags and return code of the next CONNACK (section 3.2.2); empty: none is sent."""
        self.greeting = b""
        """Raw bytes to send behind each CONNACK."""
        self.puback = True
        self.pubrec = True
        self.pubcomp = True
        self.pingresp = True
        self.suback = True
        self.unsuback = True
        self.granted = 1
        """The return code of SUBACKs (section 3.9.3)."""
        self.retained: dict[str, bytes] = {}
        """Sent behind the SUBACK of a SUBSCRIBE that names the topic literally."""
        self.packets: list[Packet] = []
        self.connections = 0
        self._reading = threading.Event()
        self._reading.set()
        self._open: set[socket.socket] = set()
        self._lock = threading.RLock()
        self._listener = Listener(self._serve, port)
        # Small, so that a peer that does not read is soon felt.
        self._listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.host, self.port = self._listener.host, self._listener.port

    def __enter__(self) -> FakePeer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def of(self, kind: int) -> list[Packet]:
        """The packets of one type received so far, over all connections, in order."""
        with self._lock:
            return [packet for packet in self.packets if packet.kind == kind]

    def published(self, *, qos: int | None = None) -> list[Packet]:
        return [packet for packet in self.of(wire.PUBLISH) if qos is None or packet.qos == qos]

    def freeze(self) -> None:
        """Stop reading, as a stopped process does; the connection stays up."""
        self._reading.clear()

    def thaw(self) -> None:
        self._reading.set()

    def send(self, data: bytes) -> None:
        """Raw bytes to every client."""
        for client in self._clients():
            with contextlib.suppress(OSError):
                client.sendall(data)

    def cut(self) -> None:
        """Reset every connection."""
        for client in self._clients():
            resets_when_closed(client)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._listener.close()
        self.cut()
        self.thaw()

    @property
    def open_connections(self) -> int:
        """Connections that their clients have not closed."""
        return len(self._clients())

    def _clients(self) -> list[socket.socket]:
        with self._lock:
            return list(self._open)

    def _serve(self, client: socket.socket) -> None:
        # Answers go out at once, and do not wait for the acknowledgement of the one before.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(client)
            self.connections += 1
        buffer = bytearray()
        try:
            while self._reading.wait() and (data := client.recv(65_536)):
                buffer += data
                while packet := wire.take(buffer):
                    with self._lock:
                        self.packets.append(packet)
                    if answer := self.answer(packet):
                        client.sendall(answer)
        finally:
            with self._lock:
                self._open.discard(client)

    def answer(self, packet: Packet) -> bytes:
        """What is sent back. A subclass may answer otherwise; an OSError closes the connection."""
        match packet.kind:
            case wire.CONNECT if self.connack:
                return wire.encode(wire.CONNACK, 0, self.connack) + self.greeting
            case wire.PUBLISH if packet.qos == 1 and self.puback:
                return wire.acknowledge(wire.PUBACK, packet.packet_id)
            case wire.PUBLISH if packet.qos == 2 and self.pubrec:
                return wire.acknowledge(wire.PUBREC, packet.packet_id)
            case wire.PUBREL if self.pubcomp:
                return wire.acknowledge(wire.PUBCOMP, packet.packet_id)
            case wire.SUBSCRIBE if self.suback:
                codes = bytes([self.granted]) * len(packet.filters)
                answer = wire.acknowledge(wire.SUBACK, packet.packet_id, codes)
                for topic in packet.filters:
                    if topic in self.retained:
                        answer += wire.publish(topic, self.retained[topic], retain=True)
                return answer
            case wire.UNSUBSCRIBE if self.unsuback:
                return wire.acknowledge(wire.UNSUBACK, packet.packet_id)
            case wire.PINGREQ if self.pingresp:
                return wire.encode(wire.PINGRESP)
            case _:
                return b""
