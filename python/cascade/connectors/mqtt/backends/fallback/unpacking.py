"""A batch that has arrived: inflated, looked through as a whole, and cut into its events."""

from __future__ import annotations

import re

from ...batching import MAX_EVENTS
from ...encoding import MAX_DEPTH, Undecodable
from . import zstd

__all__ = ["explain", "unpack"]

_JSON, _ZSTD = "application/json", "application/zstd"
_WORDS = {
    "not_zstd": "is not zstd",
    "too_large": f"is over max_inbound_bytes, or over {MAX_EVENTS:,} events",
    "not_json": "is not a JSON array",
    "too_deep": "is nested too deep",
}
_SPACE = b" \t\n\r"
_COMMA, _CLOSED = ord(","), ord("]")
_CLOSES = {ord("["): ord("]"), ord("{"): ord("}")}
_BEGIN = re.compile(rb"[ \t\n\r]*+\[")


def _up_to(marks: bytes) -> re.Pattern[bytes]:
    """Up to one of these outside strings."""
    between = b'[^"%b]*+' % marks
    string = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
    return re.compile(b"%b(?:%b%b)*+[%b]" % (between, string, between, marks), re.DOTALL)


_BRACKET, _BRACKET_OR_COMMA = _up_to(rb"\[\]{}"), _up_to(rb"\[\]{},")


def unpack(payload: bytes, content_type: str | None, limit: int) -> list[bytes]:
    """The payloads that a batch holds, as if each had come alone; none of them is decoded yet.

    Args:
        content_type: what MQTT 5 said of it; else the magic number of zstd does (RFC 8878 section 3.1.1).
        limit: how many bytes the array may have.

    Raises:
        Undecodable: ``not_zstd``, ``too_large``, ``not_json`` (no array, or a broken one) or ``too_deep``.
    """
    if content_type not in (_JSON, _ZSTD):
        content_type = _ZSTD if payload.startswith(zstd.MAGIC) else _JSON
    if content_type == _JSON:
        return _cut(payload)
    try:
        return _cut(zstd.inflate(payload, limit))
    except zstd.Broken:
        raise Undecodable("not_zstd") from None
    except zstd.TooLarge:
        raise Undecodable("too_large") from None


def explain(reason: str) -> str:
    """What is wrong with a batch, in words."""
    if reason == "not_zstd" and not zstd.is_available():
        return f"is compressed, which needs an extra here: {zstd.EXTRA}"
    return _WORDS[reason]


def _cut(array: bytes) -> list[bytes]:
    found = _BEGIN.match(array)
    begin = at = found.end() if found else len(array)
    events: list[bytes] = []
    # What closes each bracket that is open within an event.
    expected = bytearray()
    while found := (_BRACKET if expected else _BRACKET_OR_COMMA).match(array, at):
        at = found.end()
        mark = array[at - 1]
        if mark in _CLOSES:
            if len(expected) == MAX_DEPTH:
                raise Undecodable("too_deep")
            expected.append(_CLOSES[mark])
        elif expected:
            if expected.pop() != mark:
                break
        else:
            event = array[begin : at - 1].strip(_SPACE)
            begin = at
            is_last = mark == _CLOSED and not array[at:].strip(_SPACE)
            if is_last and not event and not events:
                return events
            if not event or not (is_last or mark == _COMMA):
                break
            if len(events) == MAX_EVENTS:
                raise Undecodable("too_large")
            events.append(event)
            if is_last:
                return events
    raise Undecodable("not_json")
