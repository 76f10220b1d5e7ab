"""PUBACK, SUBACK, UNSUBACK, PINGRESP and DISCONNECT: malformed, unasked, or more than once."""

from __future__ import annotations

from corpus.entry import ID, Entry, each, packet, table

_HEX_ID = ID.hex()

ENTRIES: list[Entry] = [
    *table("close", "idle", [
        ("PUBACK of no bytes", "40 00", "3.4.1", "3.4.2"),
        ("PUBACK of one byte", "40 01 01", "3.4.1", "3.4.2"),
        ("PUBACK of three bytes", "40 03 00 01 00", "3.4.1", None),
        ("PUBACK with identifier 0", "40 02 00 00", "2.3.1", "2.2.1"),
        ("PUBREC of no bytes", "50 00", "3.5.1", "3.5.2"),
        ("PUBREC of one byte", "50 01 01", "3.5.1", "3.5.2"),
        ("PUBREC of three bytes", "50 03 00 01 00", "3.5.1", None),
        ("PUBREC with identifier 0", "50 02 00 00", "2.3.1", "2.2.1"),
        ("PUBREL of no bytes", "62 00", "3.6.1", "3.6.2"),
        ("PUBREL of one byte", "62 01 01", "3.6.1", "3.6.2"),
        ("PUBREL of three bytes", "62 03 00 01 00", "3.6.1", None),
        ("PUBREL with identifier 0", "62 02 00 00", "2.3.1", "2.2.1"),
        ("PUBCOMP of no bytes", "70 00", "3.7.1", "3.7.2"),
        ("PUBCOMP of one byte", "70 01 01", "3.7.1", "3.7.2"),
        ("PUBCOMP of three bytes", "70 03 00 01 00", "3.7.1", None),
        ("PUBCOMP with identifier 0", "70 02 00 00", "2.3.1", "2.2.1"),
        ("SUBACK of no bytes", "90 00", "3.9.3", "1.5.5"),
        ("SUBACK of one byte", "90 01 01", "3.9.3", "1.5.5"),
        ("SUBACK with identifier 0", each("90 03 00 00 00", "90 04 00 00 00 00"),
         "2.3.1", "2.2.1"),
        ("UNSUBACK of no bytes", "b0 00", "3.11.1", "1.5.5"),
        ("UNSUBACK of one byte", "b0 01 01", "3.11.1", "1.5.5"),
        ("UNSUBACK of three bytes", "b0 03 00 01 00", "3.11.1", None),
        ("UNSUBACK with identifier 0", each("b0 02 00 00", "b0 04 00 00 00 00"),
         "2.3.1", "2.2.1"),
    ]),
    *table("close", "suback", [
        ("SUBACK without a code", each(packet(0x90, ID), packet(0x90, ID + b"\0")), "3.9.3", "3.9.3"),
        *(
            (f"SUBACK with the reserved code {code:#04x}",
             each(packet(0x90, ID + bytes((code,))), packet(0x90, ID + bytes((0, code)))),
             "3.9.3", "3.9.3" if code < 0x80 else None)
            for code in (0x03, 0x40, 0x7F, 0x81, 0x8F, 0xFF)
        ),
    ]),
    *table("close", "suback", [
        ("SUBACK with two codes for one filter",
         each(packet(0x90, ID + b"\0\0"), packet(0x90, ID + b"\0\0\0")), "3.8.4", "3.9.3"),
        ("SUBACK with 10,000 codes for one filter",
         each(packet(0x90, ID + bytes(10_000)), packet(0x90, ID + bytes(10_001))), "3.8.4", "3.9.3"),
        ("SUBACK for an identifier that was never sent",
         each("90 03 3a 98 00", "90 04 3a 98 00 00"), "3.8.4", "3.9.2"),
    ], says="unexpected SUBACK"),
    *table("close", "idle", [
        ("SUBACK that nothing asked for",
         each("90 03 3a 98 00", "90 04 3a 98 00 00"), "3.8.4", "3.9.2"),
        # In 3.1.1 it may be the answer to a SUBSCRIBE that was given up, as far as the core remembers.
        ("SUBACK for another identifier of SUBSCRIBE", "90 04 ff fe 00 00", None, "3.9.2"),
    ], says="unexpected SUBACK"),
    *table("close", "behind", [
        ("SUBACK before any SUBSCRIBE",
         each("90 03 00 01 00", "90 04 00 01 00 00"), "3.8.4", "3.9.2"),
    ], says="unexpected SUBACK"),
    *table("close", "idle", [
        ("UNSUBACK that nothing asked for",
         each("b0 02 00 01", "b0 04 00 01 00 00"), "3.10.4", "3.11.2"),
    ], says="unexpected UNSUBACK"),
    *table("close", "suback", [
        ("UNSUBACK in place of SUBACK",
         each(packet(0xB0, ID), packet(0xB0, ID + b"\0\0")), "3.8.4", "3.8.4"),
    ], says="unexpected UNSUBACK"),
    *table("close", "unsuback", [
        ("SUBACK in place of UNSUBACK",
         each(packet(0x90, ID + b"\0"), packet(0x90, ID + b"\0\0")), "3.10.4", "3.10.4"),
    ], says="unexpected SUBACK"),
    *table("close", "unsuback", [
        ("UNSUBACK without a code", packet(0xB0, ID + b"\0"), None, "3.11.3"),
        ("UNSUBACK with two codes for one filter", packet(0xB0, ID + b"\0\0\0"), None, "3.11.3"),
        ("UNSUBACK of MQTT 3.1.1", packet(0xB0, ID), None, "1.5.5"),
        ("UNSUBACK of MQTT 5", packet(0xB0, ID + b"\0\0"), "3.11.1", None),
    ]),
    *table("close", "idle", [
        ("DISCONNECT", "e0 00", "3.14", None),
        ("DISCONNECT with a reason", "e0 02 8e 00", "3.14", None),
        ("DISCONNECT with a long body", "e0 40" + "ff" * 64, "3.14", None),
    ], says="the broker sent DISCONNECT"),
    *table("ignore", "idle", [
        ("PUBACK for an identifier that was never sent", "40 02 3a 98", "3.4.4", "3.4.4"),
        ("PUBACK for an identifier of SUBSCRIBE", "40 02 fd e9", "3.4.4", "3.4.4"),
        ("a thousand PUBACKs for nothing", "40 02 3a 98" * 1_000, "3.4.4", "3.4.4"),
        ("PINGRESP that nothing asked for", "d0 00", "3.13", "3.13"),
        ("a thousand PINGRESPs that nothing asked for", "d0 00" * 1_000, "3.13", "3.13"),
    ]),
    *table("ignore", "behind", [
        ("PUBACK before any PUBLISH", "40 02 00 01", "3.4.4", "3.4.4"),
        ("PINGRESP before any PINGREQ", "d0 00", "3.13", "3.13"),
    ]),
    *table("ignore", "puback", [
        ("PUBACK twice", "40 02" + _HEX_ID, "3.4.4", "3.4.4"),
        ("PUBACK a thousand times", ("40 02" + _HEX_ID) * 1_000, "3.4.4", "3.4.4"),
    ]),
]  # fmt: skip
