"""PUBLISH: flags, topics, packet identifiers. Its properties and payloads are in tables of their own."""

from __future__ import annotations

from corpus.entry import Entry, each, packet, publish, string, table

_LONGEST = "é" + "t" * 65_533


def _ill_formed(hexadecimal: str) -> object:
    return publish(b"a" + bytes.fromhex(hexadecimal) + b"b")


ENTRIES: list[Entry] = [
    *table("close", "idle", [
        ("PUBLISH at QoS 3", publish("t", first=0x36), "3.3.1.2", "3.3.1.2"),
        ("PUBLISH at QoS 3, retained", publish("t", first=0x37), "3.3.1.2", "3.3.1.2"),
        ("PUBLISH at QoS 3, a duplicate", publish("t", first=0x3E), "3.3.1.2", "3.3.1.2"),
        ("PUBLISH at QoS 3, known by its first byte", "3f 7f", "3.3.1.2", "3.3.1.2"),
        ("PUBLISH at QoS 0, a duplicate", publish("t", first=0x38), "3.3.1.1", "3.3.1.1"),
        ("PUBLISH at QoS 0, a retained duplicate", publish("t", first=0x39), "3.3.1.1", "3.3.1.1"),
        ("PUBLISH of no bytes", "30 00", "3.3.2.1", "3.3.2.1"),
        ("PUBLISH of one byte", "30 01 00", "3.3.2.1", "3.3.2.1"),
        ("PUBLISH whose topic is cut off", "30 03 00 02 61", "3.3.2.1", "3.3.2.1"),
        ("PUBLISH whose topic runs into the next packet", "30 03 00 03 61 d0 00", "3.3.2.1", "3.3.2.1"),
        ("PUBLISH whose topic is said to have 65,535 bytes", "30 05 ff ff 61 62 63", "3.3.2.1", "3.3.2.1"),
        ("PUBLISH to the empty topic", publish(""), "4.7.3", "4.7.3"),
        ("PUBLISH to +", publish("+"), "4.7.1", "4.7.1"),
        ("PUBLISH to #", publish("#"), "4.7.1", "4.7.1"),
        ("PUBLISH to a/+/b", publish("a/+/b"), "4.7.1", "4.7.1"),
        ("PUBLISH to a/#", publish("a/#"), "4.7.1", "4.7.1"),
        ("PUBLISH to a+b", publish("a+b"), "4.7.1", "4.7.1"),
        ("PUBLISH to $share/g/#", publish("$share/g/#"), "4.7.1", "4.7.1"),
        ("PUBLISH to U+0000", publish("\0"), "4.7.3", "4.7.3"),
        ("PUBLISH to a topic that ends with U+0000", publish("a\0"), "4.7.3", "4.7.3"),
        ("PUBLISH to a topic with a lone continuation byte", _ill_formed("80"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic with FF", _ill_formed("ff"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic with FE", _ill_formed("fe"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic with a sequence that is cut off", _ill_formed("e2 82"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic that ends in a sequence", publish(b"a\xc3"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic with an overlong slash", _ill_formed("c0 af"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic with an overlong NUL", _ill_formed("c0 80"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic with an overlong + in three bytes", _ill_formed("e0 80 ab"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic with an overlong # in four bytes", _ill_formed("f0 80 80 a3"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic with the surrogate D800", _ill_formed("ed a0 80"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic with the surrogate DFFF", _ill_formed("ed bf bf"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic in CESU-8", _ill_formed("ed a0 bd ed b8 80"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic above U+10FFFF", _ill_formed("f4 90 80 80"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic with a sequence of five bytes", _ill_formed("f8 88 80 80 80"), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic in Latin-1", publish("é".encode("latin-1")), "1.5.3", "1.5.4"),
        ("PUBLISH to a topic in UTF-16", publish("topic".encode("utf-16")), "1.5.3", "1.5.4"),
        ("PUBLISH at QoS 1 with identifier 0", publish("t", first=0x32, tail=b"\0\0\0"), "2.3.1", "2.2.1"),
        ("PUBLISH at QoS 2 with identifier 0", publish("t", first=0x34, tail=b"\0\0\0"), "2.3.1", "2.2.1"),
        ("PUBLISH at QoS 1 without identifier", publish("t", first=0x32, tail=b""), "3.3.2.2", "3.3.2.2"),
        ("PUBLISH at QoS 2 without identifier", publish("t", first=0x34, tail=b""), "3.3.2.2", "3.3.2.2"),
        ("PUBLISH at QoS 1 with half an identifier", publish("t", first=0x32, tail=b"\1"), "3.3.2.2", "3.3.2.2"),
    ]),
    *(
        entry
        for name, topic in {
            "U+FEFF in front": "\ufefft",
            "U+FFFE": "a\ufffeb",
            "U+FFFF": "a\uffffb",
            "the noncharacter U+1FFFF": "a\U0001ffffb",
            "U+10FFFF": "a\U0010ffffb",
            "U+0001": "a\x01b",
            "newlines": "a\r\nb",
            "U+007F": "a\x7fb",
            "U+0085": "a\x85b",
            "U+2028": "a\u2028b",
            "a right-to-left override": "a\u202eb",
            "combining characters": "e\u0301" * 20,
            "format directives": "%s%n{0}{x!r}",
            "nothing but a space": " ",
            "nothing but a slash": "/",
            "a thousand empty levels": "/" * 1_000,
            "65,535 bytes": _LONGEST,
            "65,535 bytes in levels": "a/" * 32_767 + "a",
        }.items()
        for entry in table(
            "ignore", "idle", [(f"PUBLISH to a topic with {name}", publish(topic), "1.5.3", "1.5.4")],
            delivers=((topic, b"x"),),
        )
    ),
    *table("ignore", "idle", [
        ("PUBLISH to $SYS/x, which # does not match", publish("$SYS/x"), "4.7.2", "4.7.2"),
        ("PUBLISH to $, which # does not match", publish("$"), "4.7.2", "4.7.2"),
    ]),
    *table("ignore", "idle", [
        ("PUBLISH without a payload", publish("t", b""), "3.3.3", "3.3.3"),
        ("PUBLISH without a payload, retained", publish("t", b"", first=0x31), "3.3.1.3", "3.3.1.3"),
    ], delivers=(("t", b""),)),
    *table("answer", "idle", [
        ("PUBLISH at QoS 1", publish("t", first=0x32), "3.3.4", "3.3.4"),
        ("PUBLISH at QoS 1, a duplicate of nothing", publish("t", first=0x3A), "3.3.1.1", "3.3.1.1"),
        ("PUBLISH at QoS 1, a retained duplicate", publish("t", first=0x3B), "3.3.1.1", "3.3.1.1"),
    ], delivers=(("t", b"x"),), answer=packet(0x40, "00 01")),
    *table("answer", "idle", [
        ("PUBLISH at QoS 1 with identifier 65,535",
         each(packet(0x32, string("t") + b"\xff\xffx"), packet(0x32, string("t") + b"\xff\xff\0x")),
         "2.3.1", "2.2.1"),
    ], delivers=(("t", b"x"),), answer=packet(0x40, "ff ff")),
]  # fmt: skip
