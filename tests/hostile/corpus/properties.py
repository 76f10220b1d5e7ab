"""MQTT 5: properties, reason codes, AUTH. None of this exists in 3.1.1."""

from __future__ import annotations

from typing import Any

from corpus.entry import ID, Entry, connack5, packet, publish5, string, table, with_length

_USER = b"\x26" + string("k") + string("v")
_WHY = b"\x1f" + string("why")
_ALIASED = packet(0x30, string("") + with_length("23 00 01") + b"x")
_REASONS = {
    0x00: "closed by the broker", 0x04: "reason code 0x04", 0x80: "unspecified error", 0x81: "malformed packet",
    0x82: "protocol error", 0x83: "implementation specific error", 0x87: "not authorized", 0x89: "server busy",
    0x8B: "server shutting down", 0x8D: "keep alive timeout", 0x8E: "session taken over",
    0x8F: "topic filter invalid", 0x90: "topic name invalid", 0x93: "receive maximum exceeded",
    0x94: "topic alias invalid", 0x95: "packet too large", 0x96: "message rate too high", 0x97: "quota exceeded",
    0x98: "administrative action", 0x99: "payload format invalid", 0x9A: "retain not supported",
    0x9B: "qos not supported", 0x9C: "use another server", 0x9D: "server moved",
    0x9E: "shared subscription not supported", 0x9F: "connection rate exceeded", 0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported", 0xA2: "wildcard subscription not supported",
    0x55: "reason code 0x55", 0xFF: "reason code 0xff",
}  # fmt: skip


def _five(outcome: Any, when: Any, rows: list[tuple[Any, ...]], **common: Any) -> list[Entry]:
    """Rows ``(name, data, section[, more])`` for MQTT 5 alone."""
    return table(outcome, when, [(name, data, None, *rest) for name, data, *rest in rows], **common)


ENTRIES: list[Entry] = [
    *_five("close", "idle", [
        ("PUBLISH without a property length", packet(0x30, string("t")), "1.5.5"),
        ("PUBLISH whose properties end behind it", publish5("01 00", b"", length=3), "2.2.2.1"),
        ("PUBLISH whose properties are said to have 268,435,455 bytes",
         packet(0x30, string("t") + bytes.fromhex("ff ff ff 7f")), "2.2.2.1"),
        ("PUBLISH with a property length of five bytes", packet(0x30, string("t") + bytes.fromhex("80 80 80 80 00")),
         "1.5.5"),
        ("PUBLISH with a property length longer than it needs to be", packet(0x30, string("t") + b"\x80\0x"), "1.5.5"),
        ("PUBLISH whose properties end within one", publish5("02 00 00 00 01", length=3), "2.2.2.2"),
        ("PUBLISH whose properties end behind an identifier", publish5("01", b"", length=1), "2.2.2.2"),
        ("PUBLISH with property 0x00", publish5("00"), "2.2.2.2"),
        ("PUBLISH with property 0x04", publish5("04 00"), "2.2.2.2"),
        ("PUBLISH with property 0x7f", publish5("7f 00"), "2.2.2.2"),
        ("PUBLISH with property 0x80, in two bytes", publish5("80 01 00"), "2.2.2.2"),
        ("PUBLISH with a property identifier longer than it needs to be", publish5("81 00 01"), "1.5.5"),
        ("PUBLISH with a property identifier without an end", publish5("ff ff ff ff"), "1.5.5"),
        ("PUBLISH with Receive Maximum", publish5("21 00 01"), "2.2.2.2"),
        ("PUBLISH with Session Expiry Interval", publish5("11 00 00 00 00"), "2.2.2.2"),
        ("PUBLISH with Reason String", publish5(_WHY), "2.2.2.2"),
        ("PUBLISH with Will Delay Interval", publish5("18 00 00 00 01"), "2.2.2.2"),
        ("PUBLISH with Server Keep Alive", publish5("13 00 05"), "2.2.2.2"),
        ("PUBLISH with Payload Format Indicator 2", publish5("01 02"), "3.3.2.3.2"),
        ("PUBLISH with Payload Format Indicator twice", publish5("01 00 01 00"), "3.3.2.3.2"),
        ("PUBLISH with Message Expiry Interval twice", publish5("02 00 00 00 01 02 00 00 00 01"), "3.3.2.3.3"),
        ("PUBLISH with Message Expiry Interval cut off", publish5("02 00 00 01"), "2.2.2.2"),
        ("PUBLISH with topic alias 0", publish5("23 00 00"), "3.3.2.3.4"),
        ("PUBLISH with a topic alias, where none may be", publish5("23 00 01"), "3.3.2.3.4"),
        ("PUBLISH with topic alias 65,535", publish5("23 ff ff"), "3.3.2.3.4"),
        ("PUBLISH with a topic alias twice", publish5("23 00 01 23 00 01"), "3.3.2.3.4"),
        ("PUBLISH with an unknown alias for its topic", _ALIASED, "3.3.2.3.4"),
        ("PUBLISH with an empty topic and no alias", publish5("", topic=""), "4.7.3"),
        ("PUBLISH with Response Topic +", publish5(b"\x08" + string("a/+")), "3.3.2.3.5"),
        ("PUBLISH with Response Topic #", publish5(b"\x08" + string("#")), "3.3.2.3.5"),
        ("PUBLISH with Response Topic twice", publish5((b"\x08" + string("a")) * 2), "3.3.2.3.5"),
        ("PUBLISH with Response Topic with U+0000", publish5(b"\x08" + string("a\0")), "1.5.4"),
        ("PUBLISH with Response Topic that is not UTF-8", publish5(b"\x08" + string(b"\xff")), "1.5.4"),
        ("PUBLISH with Response Topic that ends behind the properties", publish5("08 00 05 61"), "2.2.2.2"),
        ("PUBLISH with Correlation Data twice", publish5((b"\x09" + string(b"\0")) * 2), "3.3.2.3.6"),
        ("PUBLISH with Correlation Data said to have 65,535 bytes", publish5("09 ff ff 00"), "2.2.2.2"),
        ("PUBLISH with a user property without a value", publish5(b"\x26" + string("k")), "2.2.2.2"),
        ("PUBLISH with a user property that is not UTF-8", publish5(b"\x26" + string(b"\xff") + string("v")), "1.5.4"),
        ("PUBLISH with a user property with a surrogate",
         publish5(b"\x26" + string("k") + string(b"\xed\xa0\x80")), "1.5.4"),
        ("PUBLISH with a user property with U+0000", publish5(b"\x26" + string("k") + string("\0")), "1.5.4"),
        ("PUBLISH with the Subscription Identifier 0", publish5("0b 00"), "3.3.2.3.8"),
        ("PUBLISH with a Subscription Identifier of five bytes", publish5("0b 80 80 80 80 01"), "1.5.5"),
        ("PUBLISH with a Subscription Identifier longer than it needs to be", publish5("0b 81 00"), "1.5.5"),
        ("PUBLISH with Content Type twice", publish5((b"\x03" + string("a")) * 2), "3.3.2.3.9"),
        ("PUBLISH with Content Type with U+0000", publish5(b"\x03" + string("\0")), "1.5.4"),
    ]),
    *_five("ignore", "idle", [
        ("PUBLISH with all it may have",
         publish5(bytes.fromhex("01 01 02 00 00 00 05 0b 07") + b"\x03" + string("text") + b"\x08" + string("re")
                  + b"\x09" + string(b"\0\xff") + _USER), "3.3.2.3"),
        ("PUBLISH with one user property twice", publish5(_USER * 2), "3.3.2.3.7"),
        ("PUBLISH with 20,000 user properties", publish5(_USER * 20_000), "3.3.2.3.7"),
        ("PUBLISH with a user property of 131,070 bytes",
         publish5(b"\x26" + string("k" * 65_535) + string("v" * 65_535)), "1.5.4"),
        ("PUBLISH with a Response Topic with U+FEFF", publish5(b"\x08" + string("\ufeffa")), "1.5.4"),
        ("PUBLISH with an empty Response Topic and Content Type", publish5("08 00 00 03 00 00"), "3.3.2.3.5"),
        ("PUBLISH with a Subscription Identifier that nobody asked for", publish5("0b 01"), "3.3.4"),
        ("PUBLISH with a hundred Subscription Identifiers", publish5("0b ff ff ff 7f" * 100), "3.3.2.3.8"),
        ("PUBLISH that has expired", publish5("02 00 00 00 00"), "3.3.2.3.3"),
    ], delivers=(("t", b"x"),)),
    *_five("ignore", "idle", [
        ("PUBLISH of bytes that are said to be UTF-8", publish5("01 01", b"\xff\xfe"), "3.3.2.3.2"),
    ], delivers=(("t", b"\xff\xfe"),)),
    *_five("close", "first", [
        ("CONNACK without a property length", packet(0x20, "00 00"), "1.5.5"),
        ("CONNACK whose properties end behind it", connack5("13 00", length=9), "2.2.2.1"),
        ("CONNACK with bytes behind its properties", packet(0x20, "00 00 00 ff"), "3.2.2"),
        ("CONNACK with property 0x00", connack5("00 00"), "2.2.2.2"),
        ("CONNACK with property 0x7f", connack5("7f 00"), "2.2.2.2"),
        ("CONNACK with Request Problem Information", connack5("17 01"), "2.2.2.2"),
        ("CONNACK with Topic Alias", connack5("23 00 01"), "2.2.2.2"),
        ("CONNACK with Payload Format Indicator", connack5("01 01"), "2.2.2.2"),
        ("CONNACK with Receive Maximum 0", connack5("21 00 00"), "3.2.2.3.3"),
        ("CONNACK with Receive Maximum twice", connack5("21 00 01 21 00 01"), "3.2.2.3.3"),
        ("CONNACK with Receive Maximum cut off", connack5("21 00"), "2.2.2.2"),
        ("CONNACK with Maximum QoS 2", connack5("24 02"), "3.2.2.3.4"),
        ("CONNACK with Maximum QoS twice", connack5("24 01 24 01"), "3.2.2.3.4"),
        ("CONNACK with Retain Available 2", connack5("25 02"), "3.2.2.3.5"),
        ("CONNACK with Maximum Packet Size 0", connack5("27 00 00 00 00"), "3.2.2.3.6"),
        ("CONNACK with Maximum Packet Size twice", connack5("27 00 01 00 00" * 2), "3.2.2.3.6"),
        ("CONNACK with Wildcard Subscription Available 3", connack5("28 03"), "3.2.2.3.11"),
        ("CONNACK with Subscription Identifiers Available 255", connack5("29 ff"), "3.2.2.3.12"),
        ("CONNACK with Shared Subscription Available 2", connack5("2a 02"), "3.2.2.3.13"),
        ("CONNACK with Server Keep Alive twice", connack5("13 00 05 13 00 05"), "3.2.2.3.14"),
        ("CONNACK with Assigned Client Identifier twice", connack5((b"\x12" + string("a")) * 2), "3.2.2.3.7"),
        ("CONNACK with Assigned Client Identifier with U+0000", connack5(b"\x12" + string("\0")), "1.5.4"),
        ("CONNACK with Topic Alias Maximum twice", connack5("22 00 01 22 00 01"), "3.2.2.3.8"),
        ("CONNACK with Reason String that is not UTF-8", connack5(b"\x1f" + string(b"\x80")), "1.5.4"),
        ("CONNACK with Reason String twice", connack5((b"\x1f" + string("a")) * 2), "3.2.2.3.9"),
        ("CONNACK with an authentication method that nobody asked for", connack5(b"\x15" + string("SCRAM")), "4.12"),
        ("CONNACK with authentication data that nobody asked for", connack5(b"\x16" + string("data")), "4.12"),
        ("CONNACK with a session present, of a clean start", connack5(flags=1), "3.2.2.1.1"),
    ]),
    *_five("ignore", "first", [
        ("CONNACK with all it may have",
         connack5(bytes.fromhex("11 00 00 00 05 13 00 78 21 00 05 22 00 05 24 01 25 01 27 00 10 00 00")
                  + bytes.fromhex("28 01 29 01 2a 01") + b"\x12" + string("us") + b"\x1a" + string("re")
                  + b"\x1c" + string("other") + _WHY + _USER), "3.2.2.3"),
        ("CONNACK with 20,000 user properties", connack5(_USER * 20_000), "3.2.2.3.10"),
        ("CONNACK with an identifier that nobody asked for", connack5(b"\x12" + string("other")), "3.2.2.3.7"),
        ("CONNACK with a Reason String of success", connack5(b"\x1f" + string("\ufeff\x01\uffff")), "3.2.2.3.9"),
        ("CONNACK with Receive Maximum 1", connack5("21 00 01"), "3.2.2.3.3"),
        ("CONNACK with Maximum Packet Size 268,435,456", connack5("27 10 00 00 00"), "3.2.2.3.6"),
        ("CONNACK with Maximum Packet Size 4,294,967,295", connack5("27 ff ff ff ff"), "3.2.2.3.6"),
        ("CONNACK with Server Keep Alive 0", connack5("13 00 00"), "3.2.2.3.14"),
        ("CONNACK with Topic Alias Maximum 65,535", connack5("22 ff ff"), "3.2.2.3.8"),
        ("CONNACK with Session Expiry Interval 4,294,967,295", connack5("11 ff ff ff ff"), "3.2.2.3.2"),
    ]),
    *_five("close", "first", [("AUTH", "f0 00", "4.12"), ("AUTH that goes on", "f0 02 18 00", "4.12")]),
    *_five("close", "idle", [
        ("AUTH", "f0 00", "4.12"),
        ("AUTH that goes on", "f0 02 18 00", "4.12"),
        ("AUTH with a method", packet(0xF0, b"\x18" + with_length(b"\x15" + string("SCRAM"))), "4.12"),
        ("AUTH with flags", "f1 00", "2.1.3"),
    ]),
    *_five("close", "idle", [
        (f"DISCONNECT with reason {code:#04x}", packet(0xE0, bytes((code,))), "3.14.2.1", {"says": says})
        for code, says in _REASONS.items()
    ]),
    *_five("close", "idle", [
        ("DISCONNECT without a reason", "e0 00", "3.14.2.1"),
        ("DISCONNECT with no properties", "e0 02 00 00", "3.14.2.2"),
    ], says="closed by the broker"),
    *_five("close", "idle", [
        ("DISCONNECT that sends us elsewhere, for a reason",
         packet(0xE0, b"\x9c" + with_length(b"\x1c" + string("other") + _WHY + _USER)), "3.14.2.2"),
    ], says="use another server"),
    *_five("close", "idle", [
        ("DISCONNECT whose properties end behind it", "e0 02 8e 05", "2.2.2.1"),
        ("DISCONNECT with bytes behind its properties", "e0 03 8e 00 00", "3.14.2"),
        ("DISCONNECT with Session Expiry Interval", packet(0xE0, b"\x8e" + with_length("11 00 00 00 00")), "2.2.2.2"),
        *(
            (f"{name} whose properties end behind it", packet(first, "00 01 00 05"), "2.2.2.1")
            for name, first in (("PUBACK", 0x40), ("PUBREC", 0x50), ("PUBREL", 0x62), ("PUBCOMP", 0x70))
        ),
        *(
            (f"{name} with bytes behind its properties", packet(first, "00 01 00 00 ff"), section)
            for name, first, section in (
                ("PUBACK", 0x40, "3.4.2"), ("PUBREC", 0x50, "3.5.2"),
                ("PUBREL", 0x62, "3.6.2"), ("PUBCOMP", 0x70, "3.7.2"),
            )
        ),
        *(
            (f"{name} with a Topic Alias", packet(first, "00 01 00 03 23 00 01"), "2.2.2.2")
            for name, first in (("PUBACK", 0x40), ("PUBREC", 0x50), ("PUBREL", 0x62), ("PUBCOMP", 0x70))
        ),
        ("PUBACK with Reason String twice", packet(0x40, b"\0\1\x87" + with_length(_WHY * 2)), "3.2.2.3.9"),
    ]),
    *_five("close", "suback", [
        ("SUBACK without a property length", packet(0x90, ID), "1.5.5"),
        ("SUBACK whose properties end behind it", packet(0x90, ID + b"\5\0"), "2.2.2.1"),
        ("SUBACK with a Subscription Identifier", packet(0x90, ID + with_length("0b 01") + b"\1"), "2.2.2.2"),
        ("SUBACK with Reason String with U+0000",
         packet(0x90, ID + with_length(b"\x1f" + string("\0")) + b"\1"), "1.5.4"),
    ]),
    *_five("close", "idle", [("UNSUBACK without a code", packet(0xB0, "00 01 00"), "3.11.3")]),
    *_five("ignore", "idle", [
        ("PUBACK for nothing, with an unknown reason", packet(0x40, "3a 98 ee"), "2.4"),
        ("PUBACK for nothing, with properties", packet(0x40, b"\x3a\x98\x97" + with_length(_USER)), "3.4.4"),
    ]),
    *_five("ignore", "puback", [
        ("PUBACK that nobody subscribes", packet(0x40, ID + b"\x10"), "3.4.2.1"),
        ("PUBACK with 20,000 user properties", packet(0x40, ID + b"\0" + with_length(_USER * 20_000)), "3.4.2.2.3"),
    ]),
]  # fmt: skip
