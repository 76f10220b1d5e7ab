"""What a broker of MQTT 5 is told when its bytes end the connection (MQTT 5.0 section 4.13)."""

from __future__ import annotations

import pytest
from corpus.entry import connack5, packet, publish, publish5
from hostile_peer import HostilePeer, nothing

import wire
from waiting import eventually

# The only one that speaks MQTT 5.
pytestmark = pytest.mark.parametrize("backend", ["python"])

REASONS = {
    "malformed": (b"\0\0", 0x81),
    "a protocol error": (publish5("01 02"), 0x82),
    "a topic that cannot be": (publish("a/#")["5"], 0x90),
    "a topic alias that was not allowed": (publish5("23 00 01"), 0x94),
    "CONNACK again": (connack5(), 0x82),
    "SUBACK that nothing asked for": (packet(0x90, "3a 98 00 00"), 0x82),
    "PUBREC of nothing that is malformed": (packet(0x50, "00 00"), 0x81),
    "above max_inbound_bytes": (b"\x30\xff\xff\xff\x7f", 0x95),
}


@pytest.mark.parametrize("name", REASONS)
async def test_disconnect_says_why(connected, name):
    data, code = REASONS[name]
    with HostilePeer(nothing("5"), times=0) as peer:
        connector = await connected(peer, protocol="5")
        peer.send(data)
        await eventually(lambda: connector.stats().reconnects == 1)
        await eventually(lambda: peer.of(wire.DISCONNECT))
        assert [packet.body for packet in peer.of(wire.DISCONNECT)] == [bytes((code,))]
