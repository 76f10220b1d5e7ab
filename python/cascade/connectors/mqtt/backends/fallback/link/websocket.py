"""The opening handshake of a websocket (RFC 6455 section 4.1), without blocking."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl

from ....options import Options
from ..reasons import ConnectFailure
from .frames import Frames
from .readiness import patiently

__all__ = ["upgrade"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_ANSWER_BYTES = 16 * 1024


async def upgrade(sock: socket.socket, options: Options) -> Frames:
    """A connected socket as one that carries bytes in websocket frames.

    Raises:
        ConnectFailure: the answer is not that of a websocket server.
    """
    secure, path = isinstance(sock, ssl.SSLSocket), options.websocket_path or "/mqtt"
    key = base64.b64encode(os.urandom(16)).decode()
    request = bytearray(_request(options, path, secure, key))
    while request:
        del request[: await patiently(sock, lambda: sock.send(request), sends=True)]
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        # One at a time: what comes behind the answer is frames already.
        byte = await patiently(sock, lambda: sock.recv(1))
        answer += byte
        if not byte or len(answer) > _MAX_ANSWER_BYTES:
            raise ConnectFailure("the websocket handshake was not answered")
    _check(answer.decode("latin-1"), key)
    return Frames(sock)


def _request(options: Options, path: str, secure: bool, key: str) -> bytes:
    host = options.hostname if options.port == (443 if secure else 80) else f"{options.hostname}:{options.port}"
    headers = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Origin": f"{'https' if secure else 'http'}://{host}",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mqtt",
    }
    extra = options.websocket_headers
    if callable(extra):
        headers = extra(headers)
    elif extra is not None:
        headers |= extra
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _check(answer: str, key: str) -> None:
    status, *lines = answer.split("\r\n")
    if status.split(" ")[1:2] != ["101"]:
        raise ConnectFailure(f"the websocket handshake was refused: {status[:80]!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    accepted = base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()
    if headers.get("upgrade", "").lower() != "websocket" or headers.get("sec-websocket-accept") != accepted:
        raise ConnectFailure("the websocket handshake was answered wrongly")
