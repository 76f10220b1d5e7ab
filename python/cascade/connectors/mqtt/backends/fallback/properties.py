"""The properties of MQTT 5 that a broker may send (MQTT 5.0 section 2.2.2)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, NoReturn

from .malformed import Malformed

__all__ = ["AUTHENTICATION", "MAXIMUM_PACKET_SIZE", "MAXIMUM_QOS", "RECEIVE_MAXIMUM", "SERVER_KEEP_ALIVE", "read"]

SERVER_KEEP_ALIVE, RECEIVE_MAXIMUM, MAXIMUM_QOS, MAXIMUM_PACKET_SIZE = 0x13, 0x21, 0x24, 0x27
AUTHENTICATION = (0x15, 0x16)
_MALFORMED, _PROTOCOL_ERROR = 0x81, 0x82

_Kind = Literal["byte", "two", "four", "variable", "string", "binary", "pair"]
_SIZES = {"byte": 1, "two": 2, "four": 4}


class _Property(NamedTuple):
    name: str
    kind: _Kind
    section: str
    """Of the packet that it is most at home in; Reason String and User Property are in nearly all."""
    packets: tuple[int, ...]
    """First bytes of the packets that may hold it, without flags."""
    least: int = 0
    most: int = 0xFFFF_FFFF


_CONNACK, _PUBLISH, _DISCONNECT = 0x20, 0x30, 0xE0
_ANSWERS = (_CONNACK, 0x40, 0x50, 0x60, 0x70, 0x90, 0xB0, _DISCONNECT)
_KNOWN = {
    0x01: _Property("Payload Format Indicator", "byte", "3.3.2.3.2", (_PUBLISH,), most=1),
    0x02: _Property("Message Expiry Interval", "four", "3.3.2.3.3", (_PUBLISH,)),
    0x03: _Property("Content Type", "string", "3.3.2.3.9", (_PUBLISH,)),
    0x08: _Property("Response Topic", "string", "3.3.2.3.5", (_PUBLISH,)),
    0x09: _Property("Correlation Data", "binary", "3.3.2.3.6", (_PUBLISH,)),
    0x0B: _Property("Subscription Identifier", "variable", "3.3.2.3.8", (_PUBLISH,), least=1),
    0x11: _Property("Session Expiry Interval", "four", "3.2.2.3.2", (_CONNACK,)),
    0x12: _Property("Assigned Client Identifier", "string", "3.2.2.3.7", (_CONNACK,)),
    SERVER_KEEP_ALIVE: _Property("Server Keep Alive", "two", "3.2.2.3.14", (_CONNACK,)),
    0x15: _Property("Authentication Method", "string", "3.2.2.3.17", (_CONNACK,)),
    0x16: _Property("Authentication Data", "binary", "3.2.2.3.18", (_CONNACK,)),
    0x1A: _Property("Response Information", "string", "3.2.2.3.15", (_CONNACK,)),
    0x1C: _Property("Server Reference", "string", "3.2.2.3.16", (_CONNACK, _DISCONNECT)),
    0x1F: _Property("Reason String", "string", "3.2.2.3.9", _ANSWERS),
    RECEIVE_MAXIMUM: _Property("Receive Maximum", "two", "3.2.2.3.3", (_CONNACK,), least=1),
    0x22: _Property("Topic Alias Maximum", "two", "3.2.2.3.8", (_CONNACK,)),
    0x23: _Property("Topic Alias", "two", "3.3.2.3.4", (_PUBLISH,), least=1),
    MAXIMUM_QOS: _Property("Maximum QoS", "byte", "3.2.2.3.4", (_CONNACK,), most=1),
    0x25: _Property("Retain Available", "byte", "3.2.2.3.5", (_CONNACK,), most=1),
    0x26: _Property("User Property", "pair", "3.3.2.3.7", (*_ANSWERS, _PUBLISH)),
    MAXIMUM_PACKET_SIZE: _Property("Maximum Packet Size", "four", "3.2.2.3.6", (_CONNACK,), least=1),
    0x28: _Property("Wildcard Subscription Available", "byte", "3.2.2.3.11", (_CONNACK,), most=1),
    0x29: _Property("Subscription Identifiers Available", "byte", "3.2.2.3.12", (_CONNACK,), most=1),
    0x2A: _Property("Shared Subscription Available", "byte", "3.2.2.3.13", (_CONNACK,), most=1),
}
_RESPONSE_TOPIC = 0x08
# The only ones that may come more than once (MQTT 5.0 sections 3.3.2.3.7 and 3.3.2.3.8).
_MANY = (0x0B, 0x26)


def read(body: memoryview, at: int, packet: int) -> tuple[dict[int, Any], int]:
    """The properties that begin at ``at``, by identifier, and where they end.

    What may come more than once is checked and left out: nothing here asks for it.

    Raises:
        Malformed: which rule they break.
    """
    length, at = _variable(body, at, len(body))
    end = at + length
    if end > len(body):
        _broken("properties that end behind their packet", "2.2.2.1")
    found: dict[int, Any] = {}
    while at < end:
        identifier, at = _variable(body, at, end)
        known = _KNOWN.get(identifier)
        if known is None or packet not in known.packets:
            _broken(f"the property 0x{identifier:02x}, which this packet cannot have", "2.2.2.2")
        if identifier in found:
            _broken(f"{known.name} more than once", known.section, _PROTOCOL_ERROR)
        value, at = _value(body, at, end, known.kind)
        if isinstance(value, int) and not known.least <= value <= known.most:
            _broken(f"{known.name} of {value}", known.section, _PROTOCOL_ERROR)
        if identifier == _RESPONSE_TOPIC and ("+" in value or "#" in value):
            _broken("a Response Topic with wildcards", known.section, _PROTOCOL_ERROR)
        if identifier not in _MANY:
            found[identifier] = value
    return found, at


def _value(body: memoryview, at: int, end: int, kind: _Kind) -> tuple[Any, int]:
    if kind in _SIZES:
        after = at + _SIZES[kind]
        if after > end:
            _broken("properties that are cut off", "2.2.2.2")
        return int.from_bytes(body[at:after], "big"), after
    if kind == "variable":
        return _variable(body, at, end)
    if kind == "binary":
        return _binary(body, at, end)
    if kind == "string":
        return _string(body, at, end)
    key, at = _string(body, at, end)
    value, at = _string(body, at, end)
    return (key, value), at


def _variable(body: memoryview, at: int, end: int) -> tuple[int, int]:
    """A Variable Byte Integer (MQTT 5.0 section 1.5.5)."""
    value = 0
    for place, digit in enumerate(body[at : min(at + 4, end)]):
        value |= (digit & 0x7F) << 7 * place
        if digit < 0x80:
            if not digit and place:
                _broken("a Variable Byte Integer longer than it needs to be", "1.5.5")
            return value, at + place + 1
    _broken("a Variable Byte Integer that is cut off or has more than four bytes", "1.5.5")


def _binary(body: memoryview, at: int, end: int) -> tuple[bytes, int]:
    """Binary Data (MQTT 5.0 section 1.5.6)."""
    after = at + 2 + int.from_bytes(body[at : at + 2], "big") if at + 2 <= end else end + 1
    if after > end:
        _broken("properties that are cut off", "2.2.2.2")
    return bytes(body[at + 2 : after]), after


def _string(body: memoryview, at: int, end: int) -> tuple[str, int]:
    """A UTF-8 Encoded String (MQTT 5.0 section 1.5.4)."""
    data, after = _binary(body, at, end)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        _broken("a property that is not UTF-8", "1.5.4")
    if "\0" in text:
        _broken("a property that holds U+0000", "1.5.4")
    return text, after


def _broken(rule: str, section: str, code: int = _MALFORMED) -> NoReturn:
    raise Malformed.rule(rule, section, is_5=True, code=code)
