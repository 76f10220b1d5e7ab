"""A TCP proxy between a connector and a real broker, that does what networks do, and notes what passed."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import NamedTuple

import wire
from listener import Listener, resets_when_closed
from wire import Packet

_PATIENCE_S = 0.1
"""How long a relay waits for something before it looks whether it has been cut."""
_TRICKLE_S = 0.01


class Passed(NamedTuple):
    """A whole packet on its way: on which connection (from 1), in which direction, when (monotonic seconds)."""

    connection: int
    from_broker: bool
    packet: Packet
    at: float


class Proxy:
    """Forwards whole packets to ``(host, port)`` and back; what it does to them is switched any time."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.connections = 0
        self.passed: list[Passed] = []
        self.closing = False
        """New connections are accepted and closed."""
        self.withheld: set[int] = set()
        """Types of packets from the broker that do not pass."""
        self.trickling = False
        """A byte in 10 ms, in each direction."""
        self._by_type: defaultdict[tuple[int, bool], list[Passed]] = defaultdict(list)
        self._cut_inside: tuple[int, bool] | None = None
        self._flowing = threading.Event()
        self._flowing.set()
        self._relays: set[_Relay] = set()
        self._lock = threading.Lock()
        self._listener = Listener(self._serve)
        self.host, self.port = self._listener.host, self._listener.port

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def packets(self, kind: int, *, from_broker: bool) -> list[Passed]:
        """What has passed so far, of one type, in order; the list goes on growing."""
        return self._by_type[kind, from_broker]

    def pause(self) -> None:
        """Hold the bytes of both directions; the connections stay up."""
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        """Reset every connection; new ones are accepted."""
        for relay in self._open():
            relay.reset()

    def cut_inside(self, kind: int, *, from_broker: bool) -> None:
        """Close a connection when half of its next packet of this type has passed."""
        self._cut_inside = kind, from_broker

    def lose(self) -> None:
        """The connections that there are lead nowhere from now on, and nobody is told; new ones work."""
        for relay in self._open():
            relay.lost = True

    def stop(self) -> None:
        self._listener.close()
        self.cut()

    def _open(self) -> list[_Relay]:
        with self._lock:
            return list(self._relays)

    def _serve(self, client: socket.socket) -> None:
        if self.closing:
            return
        with socket.create_connection(self.upstream) as server:
            with self._lock:
                self.connections += 1
                relay = _Relay(self, self.connections, client, server)
                self._relays.add(relay)
            relay.run()
            with self._lock:
                self._relays.discard(relay)

    def pass_on(self, relay: _Relay, packet: Packet, from_broker: bool) -> bytes:
        """What becomes of a packet: its bytes, half of them, or none."""
        while not self._flowing.wait(_PATIENCE_S) and not relay.over:
            pass
        if relay.over or relay.lost or (from_broker and packet.kind in self.withheld):
            return b""
        data = wire.encode(*packet)
        if self._cut_inside == (packet.kind, from_broker):
            self._cut_inside = None
            relay.over = True
            return data[: len(data) // 2]
        passed = Passed(relay.number, from_broker, packet, time.monotonic())
        self.passed.append(passed)
        self._by_type[packet.kind, from_broker].append(passed)
        return data


class _Relay:
    """One connection through the proxy: a thread for each direction."""

    def __init__(self, proxy: Proxy, number: int, client: socket.socket, server: socket.socket) -> None:
        self.number = number
        self.over = self.lost = self._broken = False
        self._proxy, self._client, self._server = proxy, client, server

    def run(self) -> None:
        for end in (self._client, self._server):
            end.settimeout(_PATIENCE_S)
        upwards = threading.Thread(target=self._forward, args=(self._client, self._server, False), daemon=True)
        upwards.start()
        self._forward(self._server, self._client, True)
        upwards.join()

    def reset(self) -> None:
        self.over = self._broken = True
        for end in (self._client, self._server):
            resets_when_closed(end)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD)  # wakes who reads it, and tells nobody else

    def _forward(self, source: socket.socket, target: socket.socket, from_broker: bool) -> None:
        received, out = bytearray(), bytearray()
        try:
            while data := self._read(source):
                received += data
                while not self.over and (packet := wire.take(received)):
                    out += self._proxy.pass_on(self, packet, from_broker)
                self._write(target, out)
            while self.lost and not self.over:
                time.sleep(_PATIENCE_S)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            self.over = True

    def _read(self, source: socket.socket) -> bytes:
        while not self.over:
            with contextlib.suppress(TimeoutError):
                return source.recv(65_536)
        return b""

    def _write(self, target: socket.socket, out: bytearray) -> None:
        while out and not self._broken:
            slowly = self._proxy.trickling
            with contextlib.suppress(TimeoutError):
                del out[: target.send(out[:1] if slowly else out)]
            if slowly:
                time.sleep(_TRICKLE_S)
