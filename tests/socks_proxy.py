"""A SOCKS 5 proxy (RFC 1928) without authentication, as far as one CONNECT needs it."""

from __future__ import annotations

import contextlib
import socket
import threading

from listener import Listener


class SocksProxy:
    """Connects clients to wherever they ask; ``targets`` is where that was."""

    def __init__(self) -> None:
        self.targets: list[tuple[str, int]] = []
        self._open: list[socket.socket] = []
        self._listener = Listener(self._serve)
        self.host, self.port = self._listener.host, self._listener.port

    def stop(self) -> None:
        self._listener.close()
        for end in self._open:
            end.close()

    def _serve(self, client: socket.socket) -> None:
        self._open.append(client)
        with client.makefile("rb") as reader:
            reader.read(reader.read(2)[1])  # the methods offered
            client.sendall(b"\x05\x00")  # no authentication
            kind = reader.read(4)[3]
            host = socket.inet_ntoa(reader.read(4)) if kind == 1 else reader.read(reader.read(1)[0]).decode()
            port = int.from_bytes(reader.read(2), "big")
            self.targets.append((host, port))
            upstream = socket.create_connection((host, port))
            self._open.append(upstream)
            client.sendall(b"\x05\x00\x00\x01" + bytes(6))
            threading.Thread(target=_forward, args=(upstream, client), daemon=True).start()
            _forward(client, upstream)


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
