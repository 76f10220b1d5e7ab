"""Frames of a websocket that no server may send (RFC 6455 section 5, MQTT 3.1.1 section 6), and some that it may."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
from typing import Any

import pytest
from resident import Resident

import wire
from fake_peer import FakePeer
from waiting import eventually
from wire import Packet

# The only one that speaks through websockets.
pytestmark = pytest.mark.parametrize("backend", ["python"])

MIB = 1024 * 1024
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MESSAGE = wire.publish("t", b'"x"')


def frame(opcode: int, payload: bytes = b"", *, first: int = 0x80) -> bytes:
    """A frame as a server sends it, in the shortest form."""
    size = len(payload)
    if size < 126:
        return bytes((first | opcode, size)) + payload
    wide = (126, 2) if size < 65_536 else (127, 8)
    return bytes((first | opcode, wide[0])) + size.to_bytes(wide[1], "big") + payload


class WebPeer(FakePeer):
    """The fake peer behind a websocket. ``frames`` holds what came that was no data."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.hostile = b""
        """Sent once, raw, behind the answer to a SUBSCRIBE."""
        super().__init__()

    def send(self, data: bytes) -> None:
        super().send(frame(BINARY, data))

    def _serve(self, client: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += client.recv(1)
        (key,) = (line[19:] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        super()._serve(_Framed(client, self.frames))

    def answer(self, packet: Packet) -> bytes:
        good = super().answer(packet)
        good = frame(BINARY, good) if good else b""
        if packet.kind == wire.SUBSCRIBE:
            good, self.hostile = good + self.hostile, b""
        return good


class _Framed:
    """A client's socket whose ``recv`` takes the frames off, and whose ``sendall`` is raw."""

    def __init__(self, sock: socket.socket, frames: list[tuple[int, bytes]]) -> None:
        self._socket, self._frames = sock, frames
        self.sendall, self.shutdown, self.setsockopt = sock.sendall, sock.shutdown, sock.setsockopt

    def recv(self, _size: int) -> bytes:
        with contextlib.suppress(EOFError):
            while True:
                opcode, payload = self._frame()
                if opcode == BINARY:
                    return payload
                self._frames.append((opcode, payload))
        return b""

    def _frame(self) -> tuple[int, bytes]:
        first, second = self._exactly(2)
        assert second & 0x80, "a client's frames are masked"
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
        key, payload = self._exactly(4), self._exactly(size)
        return first & 0x0F, bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data


@pytest.fixture
def web():
    with WebPeer() as web:
        yield web


async def subscribed(connected: Any, web: WebPeer, got: list[Any]) -> Any:
    connector = await connected(web, transport="websockets", reconnect_min_delay=0.01, reconnect_max_delay=0.02)
    await connector.subscribe("t", lambda topic, payload: got.append(payload))
    return connector


ILLEGAL = {
    "text": (frame(TEXT, MESSAGE), "MQTT 3.1.1 section 6"),
    "a mask": (b"\x82\x80\0\0\0\0", "RFC 6455 section 5.1"),
    "reserved bits": (frame(BINARY, MESSAGE, first=0xC0), "RFC 6455 section 5.2"),
    "a reserved opcode for data": (frame(0x3, MESSAGE), "RFC 6455 section 5.5"),
    "a reserved opcode for control": (frame(0xB), "RFC 6455 section 5.5"),
    "a ping of 126 bytes": (frame(PING, bytes(126)), "RFC 6455 section 5.5"),
    "a ping in fragments": (frame(PING, first=0), "RFC 6455 section 5.5"),
    "a continuation of nothing": (frame(CONTINUATION, MESSAGE), "RFC 6455 section 5.4"),
    "a message within a message": (frame(BINARY, b"\xd0", first=0) + frame(BINARY, b"\0"), "RFC 6455 section 5.4"),
    "a length of 5 in two bytes": (b"\x82\x7e\0\x05" + bytes(5), "RFC 6455 section 5.2"),
    "a length of 65,535 in eight bytes": (b"\x82\x7f" + (65_535).to_bytes(8, "big"), "RFC 6455 section 5.2"),
    "a length of 2^63": (b"\x82\x7f" + (1 << 63).to_bytes(8, "big"), "RFC 6455 section 5.2"),
    "MQTT that is malformed": (frame(BINARY, b"\0\0"), "MQTT 3.1.1 section 2.2.1"),
    "close": (frame(CLOSE, b"\x03\xe8"), "closed by the broker"),
}


@pytest.mark.parametrize("name", ILLEGAL)
async def test_what_no_server_may_send_ends_the_connection(connected, web, name):
    web.hostile, says = ILLEGAL[name]
    web.hostile += frame(BINARY, wire.publish("t", b'"behind"'))
    got: list[Any] = []
    connector = await subscribed(connected, web, got)
    await eventually(lambda: connector.stats().reconnects == 1)
    assert says in connector.stats().last_error
    await eventually(lambda: len(web.of(wire.SUBSCRIBE)) == 2)
    web.send(MESSAGE)
    await eventually(lambda: got)
    assert got == ["x"]


LEGAL = {
    "one byte a frame": b"".join(frame(BINARY, MESSAGE[at : at + 1]) for at in range(len(MESSAGE))),
    "a message in three fragments": frame(BINARY, MESSAGE[:3], first=0) + frame(CONTINUATION, MESSAGE[3:5], first=0)
    + frame(CONTINUATION, MESSAGE[5:]),
    "a ping between fragments": frame(BINARY, MESSAGE[:3], first=0) + frame(PING, b"now")
    + frame(CONTINUATION, MESSAGE[3:]),
    "empty frames": frame(BINARY) * 1_000 + frame(BINARY, MESSAGE),
    "pongs that nothing asked for": frame(PONG, b"x" * 125) * 1_000 + frame(BINARY, MESSAGE),
    "a message in a frame with others": frame(BINARY, wire.publish("u", b"y") * 10_000 + MESSAGE),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
async def test_what_a_server_may_send_is_understood(connected, web, name):
    web.hostile = LEGAL[name]
    got: list[Any] = []
    connector = await subscribed(connected, web, got)
    await eventually(lambda: got)
    assert got == ["x"]
    assert connector.stats().reconnects == 0


async def test_a_ping_is_answered_in_a_mask(connected, web):
    got: list[Any] = []
    await subscribed(connected, web, got)
    FakePeer.send(web, frame(PING, b"are you there?"))
    await eventually(lambda: web.frames)
    assert web.frames == [(PONG, b"are you there?")]


async def test_a_frame_without_an_end_costs_no_memory(connected, web):
    """A frame may have 2^63 bytes; what of it is read is gone when it has been handled."""
    got: list[Any] = []
    connector = await subscribed(connected, web, got)
    many = wire.publish("u", b"y" * 60_000) * 100
    FakePeer.send(web, b"\x82\x7f" + ((1 << 63) - 1).to_bytes(8, "big"))
    resident = Resident()
    for _ in range(20):
        FakePeer.send(web, many)
    FakePeer.send(web, MESSAGE)
    await eventually(lambda: got)
    assert connector.stats().reconnects == 0
    assert resident.grown_at_most() <= 50 * MIB
