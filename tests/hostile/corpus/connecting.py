"""What comes in place of CONNACK, and CONNACK when nothing asks for it."""

from __future__ import annotations

from corpus.entry import Entry, connack5, each, packet, publish, string, table

_ACCEPTED = each(packet(0x20, "00 00"), packet(0x20, "00 00 00"))
_TLS_ALERT = bytes.fromhex("15 03 01 00 02 02 46")
_TLS_HELLO = bytes.fromhex("16 03 03 00 31 02 00 00 2d 03 03") + bytes(43)
_REFUSALS_5 = {
    0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error",
    0x84: "unacceptable protocol version", 0x85: "identifier rejected",
    0x86: "bad user name or password", 0x87: "not authorised", 0x88: "server unavailable", 0x89: "server busy",
    0x8A: "banned", 0x8C: "bad authentication method", 0x97: "quota exceeded", 0x9F: "connection rate exceeded",
    0x90: "topic name invalid", 0x95: "packet too large", 0x99: "payload format invalid", 0x9A: "retain not supported",
    0x9B: "qos not supported", 0x9C: "use another server", 0x9D: "server moved",
    0x55: "refused with the reserved code", 0xFF: "refused with the reserved code",
}  # fmt: skip

ENTRIES: list[Entry] = [
    *table("close", "first", [
        ("CONNACK of no bytes", "20 00", "3.2.1", "3.2.2"),
        ("CONNACK of one byte", "20 01 00", "3.2.1", "3.2.2"),
        ("CONNACK of three bytes", "20 03 00 00 00", "3.2.1", None),
        ("CONNACK of a thousand bytes", packet(0x20, bytes(1_000)), "3.2.1", "3.2.2"),
        ("CONNACK of MQTT 3.1.1", "20 02 00 00", None, "1.5.5"),
        ("CONNACK with a reserved flag", each(packet(0x20, "02 00"), packet(0x20, "02 00 00")),
         "3.2.2.1", "3.2.2.1"),
        ("CONNACK with all flags", each(packet(0x20, "ff 00"), packet(0x20, "ff 00 00")),
         "3.2.2.1", "3.2.2.1"),
        ("CONNACK that refuses, with a session present", each(packet(0x20, "01 05"), packet(0x20, "01 87 00")),
         "3.2.2.2", "3.2.2.1.1"),
        ("CONNACK with flags in its header", "21 02 00 00", "2.2.2", "2.1.3"),
        ("reserved type 0", "00 00", "2.2.1", "2.1.2"),
        ("a thousand NULs", bytes(1_000), "2.2.1", "2.1.2"),
        ("a thousand FFs", b"\xff" * 1_000, "2.2.1", "2.1.3"),
        ("our own CONNECT, from an echo server", "10 0c 00 04 4d 51 54 54 04 02 00 3c 00 00", "2.2.1", "2.1.2"),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "2.2.2", "2.1.3"),
        ("a web page", b"<!DOCTYPE html><html><body>It works!</body></html>", "3.3.2.1", "3.3.2.1"),
        ("an SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n", "2.2.2", "2.1.3"),
        ("an SMTP banner", b"220 mail.example.org ESMTP\r\n", "3.2", "3.2", {"says": "before CONNACK"}),
        ("an FTP banner", b"220 ready\r\n", "3.2", "3.2", {"says": "before CONNACK"}),
        ("an answer of Redis", b"-ERR unknown command\r\n", "2.2.2", "2.1.3"),
        ("a greeting of MySQL", b"J\0\0\0\n8.0.36\0", "2.2.2", "2.1.3"),
        ("a header of AMQP", b"AMQP\0\0\x09\x01", "2.2.2", "2.1.3"),
        ("a TLS alert", _TLS_ALERT, "2.2.1", "2.1.2"),
        ("a TLS handshake", _TLS_HELLO, "2.2.1", "2.1.2"),
        ("JSON", b'{"error": "no"}', "2.2.2", "2.1.3"),
    ]),
    *table("close", "first", [
        ("PINGRESP", "d0 00", "3.2", "3.2"),
        ("PUBLISH", publish("leak", b'"x"'), "3.2", "3.2"),
        ("PUBLISH and CONNACK in one segment",
         {version: data + _ACCEPTED[version] for version, data in publish("leak", b'"x"').items()}, "3.2", "3.2"),
        ("PUBLISH that never ends", "30 ff ff 7f 00 01 74", "3.2", "3.2"),
        ("PUBACK", "40 02 00 01", "3.2", "3.2"),
        ("PUBREL", "62 02 00 01", "3.2", "3.2"),
        ("SUBACK", each(packet(0x90, "00 01 00"), packet(0x90, "00 01 00 00")), "3.2", "3.2"),
        ("UNSUBACK", each(packet(0xB0, "00 01"), packet(0xB0, "00 01 00 00")), "3.2", "3.2"),
        ("DISCONNECT", "e0 00", "3.2", "3.2"),
    ], says="before CONNACK"),
    *table("close", "first", [
        ("CONNACK that never ends", "20 ff ff ff 7f", "2.2.3", "2.1.4"),
        ("PUBACK that never ends", "40 ff ff ff 7f", "2.2.3", "2.1.4"),
    ], says="max_inbound_bytes"),
    *table("close", "first", [
        ("nothing, and the end", b"", "3.2", "3.2"),
        ("half a CONNACK, and the end", "20 02 00", "3.2", "3.2"),
        ("a first byte, and the end", "20", "3.2", "3.2"),
    ], cut=True, says="by the broker"),
    *table("close", "first", [
        ("CONNACK that refuses with code 3", "20 02 00 03", "3.2.2.3", "3.2.2.2", {"says": "server unavailable"}),
        ("CONNACK that refuses with code 2", "20 02 00 02", "3.2.2.3", None, {"says": "identifier rejected"}),
        ("CONNACK that refuses with the reserved code 6", "20 02 00 06", "3.2.2.3", None, {"says": "reserved code 6"}),
        ("CONNACK that refuses with the reserved code 255", "20 02 00 ff", "3.2.2.3", None,
         {"says": "reserved code 255"}),
        *(
            (f"CONNACK that refuses with code {code:#04x}", connack5(code=code), None, "3.2.2.2", {"says": says})
            for code, says in _REFUSALS_5.items()
        ),
        ("CONNACK that refuses and says why", connack5(b"\x1f" + string("go away"), code=0x88), None, "3.2.2.3.9",
         {"says": "server unavailable"}),
        ("CONNACK that sends us elsewhere", connack5(b"\x1c" + string("other.example.org"), code=0x9D), None,
         "3.2.2.3.16", {"says": "server moved"}),
    ]),
    *table("close", "idle", [("CONNACK again", _ACCEPTED, "3.2", "3.2")], says="unexpected CONNACK"),
    *table("close", "behind", [
        ("CONNACK twice", _ACCEPTED, "3.2", "3.2"),
        ("CONNACK a thousand times", {version: data * 1_000 for version, data in _ACCEPTED.items()}, "3.2", "3.2"),
        ("CONNACK that refuses, behind the one that accepts", each(packet(0x20, "00 05"), connack5(code=0x87)),
         "3.2", "3.2"),
    ], says="unexpected CONNACK"),
    # The client may go on, or disconnect; this one goes on. In MQTT 5 it must close: see ``properties``.
    *table("ignore", "first", [
        ("CONNACK with a session present, of a clean session", "20 02 01 00", "3.2.2.2", None),
    ]),
    *table("answer", "behind", [
        ("a hundred messages in the segment of CONNACK",
         {version: data * 100 for version, data in publish("$SYS/none", first=0x32).items()}, "3.2", "3.2"),
    ], answer=packet(0x40, "00 01")),
]  # fmt: skip
