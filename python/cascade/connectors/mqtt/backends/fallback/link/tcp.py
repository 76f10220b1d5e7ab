"""What a connection asks of TCP; sockets of other families are left as they are."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

__all__ = ["acknowledge_now", "tune"]

# Keep what the kernel holds unsent short, so that telemetry does not hide control packets.
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_UNSENT_BYTES = 128 * 1024
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


def tune(sock: Any) -> None:
    """Once, before anything is sent."""
    if _is_tcp(sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _NOTSENT_LOWAT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _UNSENT_BYTES)


def acknowledge_now(sock: Any) -> None:
    """Acknowledge what has been read, before the timer of the operating system says so.

    A broker that keeps Nagle's algorithm (RFC 896), as mosquitto does by default, holds a small message back until the
    one before it is acknowledged: of a slow stream of batches each would wait for 40 ms.
    """
    if _QUICKACK is not None and _is_tcp(sock):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def _is_tcp(sock: Any) -> bool:
    return sock.family in (socket.AF_INET, socket.AF_INET6)
