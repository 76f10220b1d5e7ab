"""QoS 2: acknowledgements of nothing, of the wrong kind, and more than once."""

from __future__ import annotations

from corpus.entry import ID, Entry, packet, publish, table

_UNKNOWN = "3a 98"
_MESSAGE = publish("t", first=0x34)
_AGAIN = publish("t", first=0x3C)
_PUBREL, _PUBCOMP = packet(0x62, "00 01"), packet(0x70, "00 01")

ENTRIES: list[Entry] = [
    *table("answer", "idle", [
        ("PUBREC for an identifier that was never sent", packet(0x50, _UNKNOWN), "4.3.3", "4.3.3"),
        ("a hundred PUBRECs for nothing", packet(0x50, _UNKNOWN) * 100, "4.3.3", "4.3.3"),
        ("PUBREC for nothing, with a reason", packet(0x50, _UNKNOWN + "10"), None, "4.3.3"),
    ], answer=packet(0x62, _UNKNOWN)),
    *table("answer", "idle", [
        ("PUBREL for an identifier that was never sent", packet(0x62, _UNKNOWN), "4.3.3", "4.3.3"),
        ("a hundred PUBRELs for nothing", packet(0x62, _UNKNOWN) * 100, "4.3.3", "4.3.3"),
        ("PUBREL for nothing, with a reason", packet(0x62, _UNKNOWN + "92"), None, "4.3.3"),
    ], answer=packet(0x70, _UNKNOWN)),
    *table("answer", "behind", [("PUBREL before any message", _PUBREL, "4.3.3", "4.3.3")], answer=_PUBCOMP),
    *table("ignore", "idle", [
        ("PUBCOMP for an identifier that was never sent", packet(0x70, _UNKNOWN), "4.3.3", "4.3.3"),
        ("a hundred PUBCOMPs for nothing", packet(0x70, _UNKNOWN) * 100, "4.3.3", "4.3.3"),
        ("PUBREC for nothing, with an error", packet(0x50, _UNKNOWN + "92"), None, "3.5.2.1"),
        ("PUBCOMP for nothing, with an error", packet(0x70, _UNKNOWN + "92"), None, "3.7.2.1"),
    ]),
    *table("answer", "idle", [
        ("PUBLISH at QoS 2", _MESSAGE, "4.3.3", "4.3.3"),
        ("PUBLISH at QoS 2, a duplicate of nothing", _AGAIN, "3.3.1.1", "3.3.1.1"),
        ("PUBLISH at QoS 2, and its duplicate",
         {version: data + _AGAIN[version] for version, data in _MESSAGE.items()}, "4.3.3", "4.3.3"),
        ("PUBLISH at QoS 2 twice, neither marked as a duplicate",
         {version: data * 2 for version, data in _MESSAGE.items()}, "4.3.3", "4.3.3"),
    ], answer=packet(0x50, "00 01"), delivers=(("t", b"x"),)),
    *table("answer", "idle", [
        ("PUBLISH at QoS 2, PUBREL, and both again",
         {version: (data + _PUBREL) * 2 for version, data in _MESSAGE.items()}, "4.3.3", "4.3.3"),
    ], answer=_PUBCOMP, delivers=(("t", b"x"), ("t", b"x"))),
    *table("close", "pubrec", [("PUBACK of a message at QoS 2", packet(0x40, ID), "4.3.3", "4.3.3")],
           says="section 4.3.3)", reads_on=True),
    *table("close", "puback", [("PUBREC of a message at QoS 1", packet(0x50, ID), "4.3.2", "4.3.2")],
           says="section 4.3.2)", reads_on=True),
    *table("ignore", "pubrec", [("PUBCOMP in front of PUBREC", packet(0x70, ID), "4.3.3", "4.3.3")]),
    *table("ignore", "puback", [("PUBCOMP of a message at QoS 1", packet(0x70, ID), "4.3.2", "4.3.2")]),
    *table("answer", "pubrec", [("PUBREC a hundred times", packet(0x50, ID) * 100, "4.3.3", "4.3.3")],
           answer=packet(0x62, ID)),
    *table("answer", "pubcomp", [("PUBREC again in place of PUBCOMP", packet(0x50, ID), "4.3.3", "4.3.3")],
           answer=packet(0x62, ID)),
    *table("ignore", "pubcomp", [("PUBCOMP a hundred times", packet(0x70, ID) * 100, "4.3.3", "4.3.3")]),
]  # fmt: skip
