"""From bytes to packets, for MQTT 3.1, 3.1.1 and 5: as strict as the compiled core, and in its words.

Whatever breaks a rule ends the connection, so each error says which rule it was.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

from ...errors import TopicError
from ...topics import check_name
from . import properties
from .malformed import Malformed, TooLarge

__all__ = [
    "CONNACK",
    "PUBACK",
    "PUBCOMP",
    "PUBREC",
    "PUBREL",
    "Ack",
    "ConnAck",
    "Disconnect",
    "Incoming",
    "Packet",
    "PingResp",
    "Publish",
    "SubAck",
    "UnsubAck",
]

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x20, 0x30, 0x40, 0x50, 0x60, 0x70
SUBACK, UNSUBACK, PINGRESP, DISCONNECT, AUTH = 0x90, 0xB0, 0xD0, 0xE0, 0xF0
_ONLY_CLIENTS = (0x10, 0x80, 0xA0, 0xC0)
_CONTENT_TYPE, _TOPIC_ALIAS = 0x03, 0x23
# In MQTT 3.1.1 and 5.0: what is said of the length of PUBACK, PUBREC, PUBREL, PUBCOMP.
_ACK_SECTIONS = {
    PUBACK: ("3.4.1", "3.4.2"),
    PUBREC: ("3.5.1", "3.5.2"),
    PUBREL: ("3.6.1", "3.6.2"),
    PUBCOMP: ("3.7.1", "3.7.2"),
}
_SUBSCRIPTION_REFUSED = 0x80


class ConnAck(NamedTuple):
    """``code`` other than 0 is a refusal; reserved ones pass, so that they can be told."""

    session_present: bool
    code: int
    properties: dict[int, Any]


class Publish(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    packet_id: int
    """0 at QoS 0, never 0 above."""
    content_type: str | None
    """Of MQTT 5, where it is given (MQTT 5.0 section 3.3.2.3.9)."""


class Ack(NamedTuple):
    """PUBACK, PUBREC, PUBREL or PUBCOMP; a code of 0x80 or more is a refusal (MQTT 5.0 section 2.4)."""

    kind: int
    packet_id: int
    code: int


class SubAck(NamedTuple):
    """One code a filter: the QoS granted, or 0x80 and above (MQTT 3.1.1 section 3.9.3)."""

    packet_id: int
    codes: bytes


class UnsubAck(NamedTuple):
    packet_id: int


class PingResp(NamedTuple):
    pass


class Disconnect(NamedTuple):
    """In 3.1.1 only a client may send it, but brokers do when another client takes the identifier over."""

    code: int


Packet = ConnAck | Publish | Ack | SubAck | UnsubAck | PingResp | Disconnect


class Incoming:
    """The bytes of one connection, as packets.

    Args:
        is_5: the protocol is MQTT 5.
        max_bytes: bound of the remaining length; a longer packet is refused by its header alone.
        topic_aliases: the Topic Alias Maximum that CONNECT announced (MQTT 5.0 section 3.1.2.11.5).
        authenticates: CONNECT held an authentication method (MQTT 5.0 section 3.1.2.11.9).
    """

    def __init__(self, *, is_5: bool, max_bytes: int, topic_aliases: int = 0, authenticates: bool = False) -> None:
        self._is_5, self._max_bytes = is_5, max_bytes
        self._topic_aliases, self._authenticates = topic_aliases, authenticates
        self._aliases: dict[int, str] = {}
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Bytes have arrived."""
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data

    @property
    def first(self) -> int | None:
        """The first byte of a packet that has not all arrived, or that nobody has asked for yet."""
        return self._buffer[self._at] if self._at < len(self._buffer) else None

    def next(self) -> Packet | None:
        """The next packet, or None while it is incomplete.

        Raises:
            Malformed: which rule the bytes break.
            TooLarge: a packet above ``max_bytes``.
        """
        start, buffer = self._at, self._buffer
        if start == len(buffer):
            return None
        first = buffer[start]
        self._check_first(first)
        header = self._remaining_length(start + 1)
        if header is None:
            return None
        size, begin = header
        if size > self._max_bytes:
            raise TooLarge
        end = begin + size
        if end > len(buffer):
            return None
        self._at = end
        # In place: a message of many megabytes is copied once.
        with memoryview(buffer) as whole:
            return self._packet(first, whole[begin:end])

    def _broken(self, rule: str, section: str, section_of_5: str, code: int = 0x81) -> NoReturn:
        raise Malformed.rule(rule, section_of_5 if self._is_5 else section, is_5=self._is_5, code=code)

    def _check_first(self, first: int) -> None:
        """Type and flags, before the rest has arrived."""
        kind, flags = first & 0xF0, first & 0x0F
        if kind == PUBLISH:
            if flags & 0b0110 == 0b0110:
                self._broken("PUBLISH of QoS 3", "3.3.1.2", "3.3.1.2")
            if flags & 0b1110 == 0b1000:
                self._broken("PUBLISH of QoS 0 marked as a duplicate", "3.3.1.1", "3.3.1.1")
        elif kind == 0 or (kind == AUTH and not self._is_5):
            self._broken("a reserved packet type", "2.2.1", "2.1.2")
        elif kind in _ONLY_CLIENTS:
            self._broken("a packet that only a client sends", "2.2.1", "2.1.2", 0x82)
        elif flags != (0b0010 if kind == PUBREL else 0):
            self._broken("wrong flags in the fixed header", "2.2.2", "2.1.3")

    def _remaining_length(self, at: int) -> tuple[int, int] | None:
        """It, and where the rest begins; None while it is incomplete."""
        size = 0
        for place, digit in enumerate(self._buffer[at : at + 4]):
            size |= (digit & 0x7F) << 7 * place
            if digit < 0x80:
                if not digit and place:
                    self._broken("a remaining length longer than it needs to be", "2.2.3", "1.5.5")
                return size, at + place + 1
        if len(self._buffer) - at >= 4:
            self._broken("a remaining length of more than four bytes", "2.2.3", "1.5.5")
        return None

    def _packet(self, first: int, body: memoryview) -> Packet:
        kind = first & 0xF0
        if kind == PUBLISH:
            return self._publish(first, body)
        if kind in _ACK_SECTIONS:
            return self._ack(kind, body)
        if kind == PINGRESP:
            if body:
                self._broken("PINGRESP with a body", "3.13.1", "3.13.1")
            return PingResp()
        if kind == SUBACK:
            return self._suback(body)
        if kind == UNSUBACK:
            return self._unsuback(body)
        if kind == CONNACK:
            return self._connack(body)
        if kind == DISCONNECT:
            return self._disconnect(body)
        self._broken("AUTH without an authentication method in CONNECT", "2.2.1", "4.12", 0x82)

    def _publish(self, first: int, body: memoryview) -> Publish:
        size = len(body)
        at = 2 + (body[0] << 8 | body[1]) if size >= 2 else size + 1
        if at > size:
            self._broken("PUBLISH shorter than its topic", "3.3.2.1", "3.3.2.1")
        try:
            topic = str(body[2:at], "utf-8")
        except UnicodeDecodeError:
            self._broken("PUBLISH to a topic that is not UTF-8", "1.5.3", "1.5.4")
        qos, packet_id = first >> 1 & 3, 0
        if qos:
            if size < at + 2:
                self._broken("PUBLISH without its packet identifier", "3.3.2.2", "3.3.2.2")
            packet_id = self._nonzero(body[at] << 8 | body[at + 1])
            at += 2
        content_type = None
        if self._is_5:
            found, at = properties.read(body, at, PUBLISH)
            if _TOPIC_ALIAS in found:
                topic = self._aliased(topic, found[_TOPIC_ALIAS])
            content_type = found.get(_CONTENT_TYPE)
        try:
            check_name(topic)
        except TopicError as error:
            raise Malformed(f"PUBLISH: {error}", code=0x82 if self._is_5 and not topic else 0x90) from None
        retain, dup = bool(first & 0b0001), bool(first & 0b1000)
        return Publish(topic, bytes(body[at:]), qos, retain, dup, packet_id, content_type)

    def _aliased(self, topic: str, alias: int) -> str:
        """The topic that an alias stands for, or from now on stands for (MQTT 5.0 section 3.3.2.3.4)."""
        if alias > self._topic_aliases:
            self._broken("a topic alias above the Topic Alias Maximum of CONNECT", "", "3.3.2.3.4", 0x94)
        if topic:
            self._aliases[alias] = topic
        elif alias not in self._aliases:
            self._broken("a topic alias that stands for nothing", "", "3.3.2.3.4", 0x82)
        return self._aliases[alias]

    def _ack(self, kind: int, body: memoryview) -> Ack:
        size = len(body)
        if size != 2 and (not self._is_5 or size < 2):
            rule = "an acknowledgement that is not 2 bytes, its packet identifier"
            self._broken(rule, *_ACK_SECTIONS[kind])
        packet_id = self._nonzero(body[0] << 8 | body[1])
        if size > 3:
            self._whole(body, properties.read(body, 3, kind)[1], _ACK_SECTIONS[kind][1])
        return Ack(kind, packet_id, body[2] if size > 2 else 0)

    def _suback(self, body: memoryview) -> SubAck:
        at = properties.read(body, 2, SUBACK)[1] if self._is_5 else 2
        if len(body) <= at:
            self._broken("SUBACK without a return code", "3.9.3", "3.9.3")
        codes = bytes(body[at:])
        # Codes of refusal that MQTT 5 does not know yet are refusals (MQTT 5.0 section 2.4).
        if any(code > 2 and (code < _SUBSCRIPTION_REFUSED or (code > 0x80 and not self._is_5)) for code in codes):
            self._broken("SUBACK with a reserved return code", "3.9.3", "3.9.3")
        return SubAck(self._nonzero(body[0] << 8 | body[1]), codes)

    def _unsuback(self, body: memoryview) -> UnsubAck:
        if not self._is_5 and len(body) != 2:
            self._broken("an acknowledgement that is not 2 bytes, its packet identifier", "3.11.1", "")
        # UNSUBSCRIBE names one filter here, always.
        if self._is_5 and len(body) != properties.read(body, 2, UNSUBACK)[1] + 1:
            self._broken("UNSUBACK with other than one reason code for one filter", "", "3.11.3")
        return UnsubAck(self._nonzero(body[0] << 8 | body[1]))

    def _connack(self, body: memoryview) -> ConnAck:
        # Brokers that do not know MQTT 5 refuse it in the form of their own version.
        old_refusal = len(body) == 2 and body[1] != 0
        if len(body) < 2 or (len(body) != 2 and not self._is_5):
            self._broken("CONNACK of other than 2 bytes", "3.2.1", "3.2.2")
        flags, code = body[0], body[1]
        if flags > 1:
            self._broken("CONNACK with reserved flags", "3.2.2.1", "3.2.2.1")
        if flags and code:
            self._broken("CONNACK that refuses, with a session present", "3.2.2.2", "3.2.2.1.1")
        found: dict[int, Any] = {}
        if self._is_5 and not old_refusal:
            found, end = properties.read(body, 2, CONNACK)
            self._whole(body, end, "3.2.2")
            if not self._authenticates and not found.keys().isdisjoint(properties.AUTHENTICATION):
                self._broken("CONNACK with an authentication that nobody asked for", "", "4.12", 0x82)
        return ConnAck(bool(flags), code, found)

    def _disconnect(self, body: memoryview) -> Disconnect:
        # In 3.1.1 it ends the connection whatever it says: some brokers add the reason code of MQTT 5.
        if self._is_5 and len(body) > 1:
            self._whole(body, properties.read(body, 1, DISCONNECT)[1], "3.14.2")
        return Disconnect(body[0] if self._is_5 and body else 0)

    def _whole(self, body: memoryview, end: int, section: str) -> None:
        if end != len(body):
            self._broken("bytes behind the end of a packet", "", section)

    def _nonzero(self, packet_id: int) -> int:
        if not packet_id:
            self._broken("the packet identifier 0", "2.3.1", "2.2.1")
        return packet_id
