"""Fixed headers: types, flags, remaining lengths; and packets that end too soon."""

from __future__ import annotations

from corpus.entry import Entry, each, publish, table

ENDLESS = "ff ff ff 7f"

ENTRIES: list[Entry] = [
    *table("close", "idle", [
        ("reserved type 0", "00 00", "2.2.1", "2.1.2"),
        ("reserved type 0, known by its first byte", "00 7f", "2.2.1", "2.1.2"),
        ("reserved type 0 that never ends", "0f" + ENDLESS, "2.2.1", "2.1.2"),
        ("reserved type 15", "f0 00", "2.2.1", None),
        ("reserved type 15, known by its first byte", "f1", "2.2.1", None),
        ("CONNECT", "10 0c 00 04 4d 51 54 54 04 02 00 3c 00 00", "2.2.1", "2.1.2"),
        ("CONNECT, known by its first byte", "10 7f", "2.2.1", "2.1.2"),
        ("SUBSCRIBE", "82 06 00 01 00 01 61 00", "2.2.1", "2.1.2"),
        ("SUBSCRIBE without its flags", "80 06 00 01 00 01 61 00", "2.2.1", "2.1.2"),
        ("UNSUBSCRIBE", "a2 05 00 01 00 01 61", "2.2.1", "2.1.2"),
        ("PINGREQ", "c0 00", "2.2.1", "2.1.2"),
        ("CONNACK with flags", "21 02 00 00", "2.2.2", "2.1.3"),
        ("PUBACK with flag 1", "41 02 00 01", "2.2.2", "2.1.3"),
        ("PUBACK with flag 2", "42 02 00 01", "2.2.2", "2.1.3"),
        ("PUBACK with flag 4", "44 02 00 01", "2.2.2", "2.1.3"),
        ("PUBACK with flag 8", "48 02 00 01", "2.2.2", "2.1.3"),
        ("PUBREC with flags", "52 02 00 01", "2.2.2", "2.1.3"),
        ("PUBREL without its flags", "60 02 00 01", "2.2.2", "2.1.3"),
        ("PUBREL with one flag more", "63 02 00 01", "2.2.2", "2.1.3"),
        ("PUBREL with other flags", "6d 02 00 01", "2.2.2", "2.1.3"),
        ("PUBCOMP with flags", "72 02 00 01", "2.2.2", "2.1.3"),
        ("SUBACK with flags", "92 03 00 01 00", "2.2.2", "2.1.3"),
        ("UNSUBACK with flags", "b2 02 00 01", "2.2.2", "2.1.3"),
        ("PINGRESP with flags", "d1 00", "2.2.2", "2.1.3"),
        ("DISCONNECT with flags", "e1 00", "2.2.2", "2.1.3"),
        ("a remaining length of five bytes", "30 ff ff ff ff 7f", "2.2.3", "1.5.5"),
        ("a remaining length that goes on after four bytes", "30 ff ff ff ff", "2.2.3", "1.5.5"),
        ("a small remaining length in five bytes", "30 85 80 80 80 00 00 01 61 68 69", "2.2.3", "1.5.5"),
        ("a remaining length of 0 in five bytes", "d0 80 80 80 80 00", "2.2.3", "1.5.5"),
        ("a remaining length of 0 in two bytes", "d0 80 00", "2.2.3", "1.5.5"),
        ("a remaining length of 3 in four bytes", "30 83 80 80 00 00 01 61", "2.2.3", "1.5.5"),
        ("a remaining length of 2 in two bytes", "40 82 00 00 01", "2.2.3", "1.5.5"),
        ("PINGRESP with a body", "d0 01 00", "3.13.1", "3.13.1"),
        ("PINGRESP with a long body", "d0 80 01" + "00" * 128, "3.13.1", "3.13.1"),
    ]),
    *table("close", "idle", [
        ("a packet of 20 MB", bytes.fromhex("30 80 da c4 09 00 01 74") + b"x" * 100_000, "2.2.3", "2.1.4"),
        ("a packet that never ends", bytes.fromhex("30" + ENDLESS + "00 01 74") + b"x" * 100_000, "2.2.3", "2.1.4"),
        ("an acknowledgement that never ends", bytes.fromhex("40" + ENDLESS) + bytes(100_000), "2.2.3", "2.1.4"),
    ], says="max_inbound_bytes", counts={"too_large": 1}),
    # The length is kept by whoever wrote it, or it is not: what follows is read by it either way.
    *table("ignore", "idle", [
        ("PUBLISH that takes the next packet for its payload",
         each("30 05 00 01 74 d0 00", "30 06 00 01 74 00 d0 00"),
         "2.2.3", "2.1.4"),
    ], delivers=(("t", b"\xd0\x00"),)),
    *table("close", "idle", [
        ("PUBLISH whose payload is longer than it says",
         each(bytes.fromhex("30 04 00 01 74 79") + b"hello", bytes.fromhex("30 05 00 01 74 00 79") + b"hello"),
         "2.2.2", "2.1.3"),
    ], delivers=(("t", b"y"),)),
    *table("close", "idle", [
        ("cut behind the first byte", "30", "4.8", "4.13"),
        ("cut in the remaining length", "30 80", "4.8", "4.13"),
        ("cut in a topic's length", "30 07 00", "4.8", "4.13"),
        ("cut in a topic", "30 07 00 03 61", "4.8", "4.13"),
        ("cut in a packet identifier", "32 07 00 01 61 00", "4.8", "4.13"),
        ("cut in a payload", "30 07 00 01 61 00 22", "4.8", "4.13"),
        ("cut in a PUBACK", "40 02 00", "4.8", "4.13"),
        ("cut in a SUBACK", "90 03 00 01", "4.8", "4.13"),
        ("cut in a CONNACK", "20 02 00", "4.8", "4.13"),
        ("cut in a PINGRESP", "d0", "4.8", "4.13"),
    ], cut=True, says="by the broker"),
    *table("close", "behind", [
        ("reserved type 0", "00 00", "2.2.1", "2.1.2"),
        ("a remaining length of five bytes", "30 ff ff ff ff 7f", "2.2.3", "1.5.5"),
        ("PUBLISH at QoS 3", publish("t", first=0x36), "3.3.1.2", "3.3.1.2"),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n", "2.2.2", "2.1.3"),
    ]),
]  # fmt: skip
