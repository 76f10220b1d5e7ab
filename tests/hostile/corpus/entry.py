"""What an entry of the corpus is, and the few words that its tables are written in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import wire

Protocol = Literal["3.1.1", "5"]
Outcome = Literal["close", "ignore", "answer"]
When = Literal["first", "behind", "suback", "unsuback", "puback", "pubrec", "pubcomp", "idle"]
Data = bytes | str | Mapping[Protocol, bytes | str]
Delivery = tuple[str, Any]

ID = b"\xde\xfa"
"""Stands in ``Entry.data`` for the packet identifier of what is answered."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Bytes that a broker may or may not send, and what has to happen then."""

    name: str
    protocol: Protocol
    data: bytes
    when: When
    """``first``: in place of CONNACK; ``behind``: with CONNACK, in one segment; ``suback``, ``unsuback``,
    ``puback``, ``pubrec``, ``pubcomp``: before that answer; ``idle``: when all is quiet."""
    section: str
    """Of the standard in that version: the rule that is broken, or that says that none is."""
    outcome: Outcome
    says: str
    """What ``stats().last_error`` tells after ``close``."""
    answer: bytes = b""
    """What the broker has to get after ``answer``."""
    delivers: tuple[Delivery, ...] = ()
    """The messages among the bytes, as the callback has to see them."""
    decode: Literal["json", "bytes"] = "bytes"
    counts: Mapping[str, int] = field(default_factory=dict)
    """What each time adds to ``stats().inbox_dropped``."""
    reads_on: bool = False
    """What is behind the bytes in the same segment may be read before the connection is ended."""
    cut: bool = False
    """The broker resets the connection behind the bytes."""

    @property
    def id(self) -> str:
        return f"{self.protocol} {self.when}: {self.name}"


def table(outcome: Outcome, when: When, rows: Iterable[tuple[Any, ...]], **common: Any) -> list[Entry]:
    """Entries of rows ``(name, data, section in 3.1.1, section in 5.0[, more])``.

    A section of None: not for that version. ``data`` is bytes, hex, or either for each version.
    ``more`` holds further fields of the entry.
    """
    entries = []
    for name, data, *sections, more in (row if isinstance(row[-1], dict) else (*row, {}) for row in rows):
        for protocol, section in zip(("3.1.1", "5"), sections, strict=True):
            if section is None:
                continue
            fields = {"says": f"section {section})"} | common | more
            entries.append(
                Entry(
                    name=name, protocol=protocol, data=_bytes(data, protocol), when=when,
                    section=section, outcome=outcome, **fields,
                )
            )  # fmt: skip
    return entries


def each(data: bytes | str, data_of_5: bytes | str) -> Data:
    """The bytes in 3.1.1, and those in 5."""
    return {"3.1.1": data, "5": data_of_5}


def publish(topic: bytes | str, payload: bytes = b"x", *, first: int = 0x30, tail: bytes | None = None) -> Data:
    """A PUBLISH in both versions, with whatever first byte; ``tail``: in place of identifier and all behind it."""
    name = topic.encode() if isinstance(topic, str) else topic
    head = len(name).to_bytes(2, "big") + name
    identifier = b"\0\1" if first & 0b0110 else b""
    bodies = {"3.1.1": identifier + payload, "5": identifier + b"\0" + payload}
    return {version: packet(first, head + (body if tail is None else tail)) for version, body in bodies.items()}


def publish5(properties: bytes | str, payload: bytes = b"x", topic: str = "t", *, length: int | None = None) -> bytes:
    """A PUBLISH of MQTT 5 at QoS 0; ``length``: what it says of its properties, where that is not the truth."""
    return packet(0x30, string(topic) + with_length(properties, length) + payload)


def connack5(properties: bytes | str = b"", *, flags: int = 0, code: int = 0, length: int | None = None) -> bytes:
    return packet(0x20, bytes((flags, code)) + with_length(properties, length))


def with_length(properties: bytes | str, length: int | None = None) -> bytes:
    """Properties behind their length (MQTT 5.0 section 2.2.2.1)."""
    raw = bytes.fromhex(properties) if isinstance(properties, str) else properties
    return variable(len(raw) if length is None else length) + raw


def variable(value: int) -> bytes:
    """A Variable Byte Integer (MQTT 5.0 section 1.5.5)."""
    digits = bytearray()
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(digits)


def packet(first: int, body: bytes | str = b"") -> bytes:
    raw = bytes.fromhex(body) if isinstance(body, str) else body
    return wire.encode(first >> 4, first & 15, raw)


def string(text: str | bytes) -> bytes:
    """A string or binary data behind its length (MQTT 5.0 sections 1.5.4 and 1.5.6)."""
    raw = text.encode() if isinstance(text, str) else text
    return len(raw).to_bytes(2, "big") + raw


def _bytes(data: Data, protocol: Protocol) -> bytes:
    if isinstance(data, Mapping):
        data = data[protocol]
    return bytes.fromhex(data) if isinstance(data, str) else data
