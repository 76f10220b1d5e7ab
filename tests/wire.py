"""Just enough of MQTT 3.1.1 to play the other side, written from the standard and from nothing of ours."""

from __future__ import annotations

import struct
from typing import NamedTuple

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
PUBREC, PUBREL, PUBCOMP = 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 8, 9, 10, 11
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14


class Packet(NamedTuple):
    """One control packet: type and flags of the fixed header (section 2.2), then the rest."""

    kind: int
    flags: int
    body: bytes

    @property
    def qos(self) -> int:
        return self.flags >> 1 & 3

    @property
    def dup(self) -> bool:
        return bool(self.flags & 8)

    @property
    def retain(self) -> bool:
        return bool(self.flags & 1)

    @property
    def topic(self) -> str:
        """Of a PUBLISH (section 3.3.2.1)."""
        return self.body[2 : 2 + _u16(self.body)].decode()

    @property
    def packet_id(self) -> int:
        """Of a PUBLISH at QoS 1 or 2, or of an acknowledgement, SUBSCRIBE or UNSUBSCRIBE."""
        return _u16(self.body, 2 + _u16(self.body) if self.kind == PUBLISH else 0)

    @property
    def payload(self) -> bytes:
        """Of a PUBLISH (section 3.3.3)."""
        return self.body[2 + _u16(self.body) + (2 if self.qos else 0) :]

    @property
    def filters(self) -> list[str]:
        """Of a SUBSCRIBE (section 3.8.3) or UNSUBSCRIBE (section 3.10.3)."""
        found, rest = [], self.body[2:]
        while rest:
            end = 2 + _u16(rest)
            found.append(rest[2:end].decode())
            rest = rest[end + (1 if self.kind == SUBSCRIBE else 0) :]
        return found


def encode(kind: int, flags: int = 0, body: bytes = b"") -> bytes:
    """A control packet with its remaining length (section 2.2.3)."""
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([kind << 4 | flags]) + bytes(digits) + body


def publish(
    topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, dup: bool = False, packet_id: int = 1
) -> bytes:
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name + (struct.pack(">H", packet_id) if qos else b"") + payload
    return encode(PUBLISH, dup << 3 | qos << 1 | retain, body)


def acknowledge(kind: int, packet_id: int, rest: bytes = b"") -> bytes:
    return encode(kind, 2 if kind == PUBREL else 0, struct.pack(">H", packet_id) + rest)


def take(buffer: bytearray) -> Packet | None:
    """Remove the first whole packet from a buffer; None where there is none yet."""
    digits = next((place for place, digit in enumerate(buffer[1:5], 1) if digit < 0x80), 0)
    if not digits:
        return None
    length = sum((digit & 0x7F) << 7 * place for place, digit in enumerate(buffer[1 : 1 + digits]))
    end = 1 + digits + length
    if len(buffer) < end:
        return None
    packet = Packet(buffer[0] >> 4, buffer[0] & 15, bytes(buffer[1 + digits : end]))
    del buffer[:end]
    return packet


def _u16(data: bytes, at: int = 0) -> int:
    return int.from_bytes(data[at : at + 2], "big")
