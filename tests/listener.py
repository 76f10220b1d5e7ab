"""A TCP server of the tests' own: one thread that accepts, and one for each connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

__all__ = ["Listener", "resets_when_closed"]

_RESET = struct.pack("ii", 1, 0)


class Listener:
    """Calls ``serve`` with each connection, on a thread of its own, and closes it when that returns or fails."""

    def __init__(self, serve: Callable[[socket.socket], None], port: int = 0) -> None:
        self._serve = serve
        self.socket = socket.create_server(("127.0.0.1", port))
        self.host, self.port = self.socket.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more; what was accepted goes on."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_one, args=(client,), daemon=True).start()

    def _serve_one(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self._serve(client)


def resets_when_closed(end: socket.socket) -> None:
    """SO_LINGER of 0 seconds: closing sends RST, and what was not sent is gone."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
