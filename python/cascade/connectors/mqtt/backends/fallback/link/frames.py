"""Bytes in the frames of a websocket (RFC 6455 section 5), by way of a connected socket that does not block.

paho's own frames hold what has been read of one until its end, which a broker need never send; they let text
pass for MQTT, and do not mask what they answer.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from typing import NoReturn

from ..malformed import Malformed

__all__ = ["Frames"]

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FINAL, _RESERVED, _MASKED = 0x80, 0x70, 0x80
_MAX_CONTROL = 125
_Wants = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Frames:
    """Has what paho and ``Link`` use of a socket, and carries the bytes in binary frames."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._header = bytearray()
        # Of the data frame that is being read.
        self._left = 0
        self._continues = False
        self._out = bytearray()
        self._promised = 0
        self.fileno, self.close, self.setblocking = sock.fileno, sock.close, sock.setblocking

    def recv(self, size: int) -> bytes:
        """Some bytes of data, at most ``size``; none at the end.

        Raises:
            BlockingIOError: there are none now (of TLS: ssl.SSLWantReadError, ssl.SSLWantWriteError).
            InterruptedError: there was a frame without data; perhaps there is more.
            Malformed: a frame that no server may send.
        """
        if not self._left:
            try:
                self._next_frame()
            except EOFError:
                return b""
            if not self._left:
                raise InterruptedError
        data = self._socket.recv(min(size, self._left))
        self._left -= len(data)
        return data

    def send(self, data: bytes | bytearray) -> int:
        """Send all of ``data`` as one frame; 0: it went out in part, and is to be given again."""
        if not self._promised:
            self._out += _frame(_BINARY, data)
            self._promised = len(data)
        del self._out[: self._socket.send(self._out)]
        if self._out:
            return 0
        sent, self._promised = self._promised, 0
        return sent

    def _next_frame(self) -> None:
        """Read the header of a data frame, or a whole control frame; EOFError: that was the end."""
        first, second = self._take(2)[:2]
        opcode, size = first & 0x0F, second & 0x7F
        if first & _RESERVED:
            _broken("reserved bits", "5.2")
        if second & _MASKED:
            _broken("a mask, which only a client's may have", "5.1")
        if opcode in (_CONTINUATION, _BINARY):
            if (opcode == _CONTINUATION) != self._continues:
                _broken("no end, or no beginning", "5.4")
            wide = {126: 2, 127: 8}.get(size, 0)
            if wide:
                size = int.from_bytes(self._take(2 + wide)[2:], "big")
                if size < (126 if wide == 2 else 1 << 16) or size >> 63:
                    _broken("a length that is not the shortest, or too long", "5.2")
            self._continues = not first & _FINAL
            self._left = size
        elif opcode == _TEXT:
            raise Malformed("a text frame (MQTT 3.1.1 section 6)", code=0x82)
        elif opcode not in (_CLOSE, _PING, _PONG) or size > _MAX_CONTROL or not first & _FINAL:
            _broken("an opcode, a length or a fragment that is not possible", "5.5")
        else:
            payload = self._take(2 + size)[2:]
            if opcode != _PONG:
                self._answer(_CLOSE if opcode == _CLOSE else _PONG, payload)
            if opcode == _CLOSE:
                raise EOFError
        self._header.clear()

    def _take(self, size: int) -> bytes:
        """The first bytes of a frame, and no more, as soon as they are there."""
        while len(self._header) < size:
            data = self._socket.recv(size - len(self._header))
            if not data:
                raise EOFError
            self._header += data
        return bytes(self._header)

    def _answer(self, opcode: int, payload: bytes) -> None:
        """A pong, or the close frame back; where there is no room now, the broker has to ask again."""
        if not self._out:
            self._out += _frame(opcode, payload)
            with contextlib.suppress(*_Wants):
                del self._out[: self._socket.send(self._out)]


def _frame(opcode: int, data: bytes | bytearray) -> bytes:
    size = len(data)
    if size <= _MAX_CONTROL:
        length = bytes((_MASKED | size,))
    elif size < 1 << 16:
        length = bytes((_MASKED | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((_MASKED | 127,)) + size.to_bytes(8, "big")
    key = os.urandom(4)
    mask = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")
    return bytes((_FINAL | opcode,)) + length + key + masked.to_bytes(size, "big")


def _broken(what: str, section: str) -> NoReturn:
    raise Malformed(f"a websocket frame with {what} (RFC 6455 section {section})", code=0x82)
