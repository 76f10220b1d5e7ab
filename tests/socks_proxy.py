"""A SOCKS 5 proxy (RFC 1928) without authentication, as far as one CONNECT needs it."""

from __future__ import annotations

import contextlib
import socket
import threading


class SocksProxy:
    """Connects clients to wherever they ask; ``targets`` is where that was."""

    def __init__(self) -> None:
        self.targets: list[tuple[str, int]] = []
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for end in [self._listener, *self._open]:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client.makefile("rb") as reader:
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
