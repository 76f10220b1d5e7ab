"""Too much of what a broker may send, and packets without an end: memory stays bounded, and all else goes on."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from resident import Resident

import wire
from fake_peer import FakePeer
from waiting import eventually
from wire import Packet

MIB = 1024 * 1024
RETAINED = 50_000


class Flooding(FakePeer):
    """Sends ``flood`` behind the answer to the first SUBSCRIBE of each of the first ``floods`` connections."""

    def __init__(self, flood: bytes, floods: int = 1) -> None:
        self.flood, self.floods = flood, floods
        super().__init__()

    def answer(self, packet: Packet) -> bytes:
        good = super().answer(packet)
        if packet.kind == wire.SUBSCRIBE and self.floods:
            self.floods -= 1
            good += self.flood
        return good


async def lives(connector, peer: FakePeer, got: list) -> None:
    """A message comes in, and one goes out."""
    subscribed = len(peer.of(wire.SUBSCRIBE))
    await eventually(lambda: connector.stats().connected and subscribed)
    peer.send(wire.publish("good", b'"after"'))
    await eventually(lambda: got and got[-1] == "after")
    acknowledged = connector.stats().acknowledged
    await connector.publish("t", "x", qos=1)
    await eventually(lambda: connector.stats().acknowledged == acknowledged + 1)


async def test_50_000_retained_messages(connected):
    messages = (wire.publish(f"r/{n}", b"%d" % n, retain=True) for n in range(RETAINED))
    with Flooding(b"".join(messages)) as peer:
        resident = Resident()
        connector = await connected(peer, retained_timeout=30)
        count = 0

        def on_message(topic: str, payload: int) -> None:
            nonlocal count
            assert payload == count
            count += 1

        await connector.subscribe("r/#", on_message)
        assert count == RETAINED
        got: list[object] = []
        await connector.subscribe("good", lambda topic, payload: got.append(payload))
        await lives(connector, peer, got)
        assert connector.stats().reconnects == 0
        assert resident.grown_at_most() <= 50 * MIB


async def test_topics_and_keys_that_never_come_again(connected, peer):
    """What is remembered of topics and of the shapes of messages is bounded: 60 MB of them leave nothing behind."""
    count = 0

    def on_message(topic: str, payload: dict[str, int]) -> None:
        nonlocal count
        count += 1

    connector = await connected(peer)
    await connector.subscribe("in/#", on_message)
    resident = Resident()
    for n in range(60):
        some = b"".join(
            wire.publish(f"in/{n}/{m}/{'x' * 1_000}", b'{"%s-%d-%d": 1}' % (b"k" * 1_000, n, m)) for m in range(500)
        )
        await asyncio.to_thread(peer.send, some)
    await eventually(lambda: count == 30_000)
    assert connector.stats().reconnects == 0
    assert resident.grown_at_most() <= 50 * MIB


HARMLESS = {
    "PINGRESP": wire.encode(wire.PINGRESP),
    "PUBACK of nothing": wire.acknowledge(wire.PUBACK, 15_000),
    "a message that nobody subscribed to": wire.publish("other", b"x" * 10),
    "a retained message that nobody subscribed to": wire.publish("other", b"x" * 10, retain=True),
    "a message at QoS 1 that nobody subscribed to": wire.publish("other", b"x" * 10, qos=1),
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_100_000_of_a_harmless_packet(connected, caplog, name):
    with Flooding(HARMLESS[name] * 100_000) as peer:
        resident = Resident()
        got: list[object] = []
        connector = await connected(peer)
        await connector.subscribe("good", lambda topic, payload: got.append(payload))
        await lives(connector, peer, got)
        assert connector.stats().reconnects == 0
        assert resident.grown_at_most() <= 50 * MIB
    assert len(caplog.records) <= 20


async def test_pingresps_in_advance_do_not_answer_a_later_pingreq(connected, peer):
    """A SUBSCRIBE would be done before its retained messages are there."""
    connector = await connected(peer, retained_timeout=30)
    got: list[object] = []
    await connector.subscribe("good", lambda topic, payload: got.append(payload))
    peer.send(wire.encode(wire.PINGRESP) * 100)
    await lives(connector, peer, got)
    peer.pingresp = False
    first, second = (
        asyncio.create_task(connector.subscribe(f"r/{n}", lambda topic, payload: got.append(payload))) for n in (1, 2)
    )
    await eventually(lambda: len(peer.of(wire.PINGREQ)) == 3)
    peer.send(wire.encode(wire.PINGRESP))
    await first
    assert not second.done()
    peer.send(wire.publish("r/2", b'"retained"', retain=True) + wire.encode(wire.PINGRESP))
    await second
    assert got[-1] == "retained"


async def test_a_flood_of_subacks_ends_the_connection(connected, caplog):
    with Flooding(wire.acknowledge(wire.SUBACK, 7, b"\1") * 400_000, floods=3) as peer:
        resident = Resident()
        got: list[object] = []
        connector = await connected(peer)
        await connector.subscribe("good", lambda topic, payload: got.append(payload))
        await eventually(lambda: connector.stats().reconnects == 3)
        assert "unexpected SUBACK" in connector.stats().last_error
        await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 4)
        await lives(connector, peer, got)
        assert resident.grown_at_most() <= 50 * MIB
    assert len(caplog.records) <= 20


class Endless(FakePeer):
    """Begins a packet behind the first SUBACK, and sends more for as long as anybody takes it."""

    def __init__(self, begins: bytes, most: int, more: bytes = b"x" * 65_536) -> None:
        self.begins, self.most, self.more, self.sent = begins, most, more, 0
        self.begun = False
        super().__init__()

    def answer(self, packet: Packet) -> bytes:
        good = super().answer(packet)
        if packet.kind != wire.SUBSCRIBE or self.begun:
            return good
        self.begun = True
        self.send(good + self.begins)
        (client,) = self._clients()
        with contextlib.suppress(OSError):
            while self.sent < self.most:
                client.sendall(self.more)
                self.sent += len(self.more)
        return b""


def _publish_of(size: int) -> bytes:
    """How a PUBLISH with so long a remaining length begins."""
    return wire.encode(wire.PUBLISH, 0, bytes(size))[: -size or None] + b"\0\4good"


@pytest.mark.parametrize("size", [268_435_455, 16 * MIB + 1], ids=["256 MiB", "just above max_inbound_bytes"])
async def test_a_packet_above_the_limit_ends_the_connection_by_its_header(connected, size):
    begins = b"\x30\xff\xff\xff\x7f\0\4good" if size == 268_435_455 else _publish_of(size)
    with Endless(begins, most=64 * MIB) as peer:
        resident = Resident()
        got: list[object] = []
        connector = await connected(peer)
        await connector.subscribe("good", lambda topic, payload: got.append(payload))
        await eventually(lambda: connector.stats().reconnects == 1)
        assert "max_inbound_bytes" in connector.stats().last_error
        assert connector.stats().inbox_dropped == {"too_large": 1}
        # What is behind the header was not read: no more than the buffers of both sides have taken it.
        assert peer.sent < 16 * MIB
        await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 2)
        await lives(connector, peer, got)
        assert resident.grown_at_most() <= 50 * MIB


async def test_a_packet_that_stops_short_of_its_end_is_the_end_of_the_connection(connected):
    """It could be completed any time; but what follows it cannot come, PINGRESP for one."""
    with Endless(_publish_of(12 * MIB), most=11 * MIB) as peer:
        resident = Resident()
        got: list[object] = []
        connector = await connected(peer, keepalive=1)
        await connector.subscribe("good", lambda topic, payload: got.append(payload))
        await eventually(lambda: connector.stats().reconnects == 1)
        assert "PINGREQ" in connector.stats().last_error
        await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 2)
        await lives(connector, peer, got)
        assert resident.grown_at_most() <= 50 * MIB


async def test_an_endless_flood_holds_up_no_other_connector(connected, peer):
    """All connectors of a process share one I/O thread."""
    message = wire.publish("other", b"x" * 100)
    with Endless(b"", most=1 << 40, more=message * 600) as flooding:
        flooded = await connected(flooding)
        await flooded.subscribe("good", lambda topic, payload: None)
        await eventually(lambda: flooding.sent > MIB)
        got: list[object] = []
        other = await connected(peer)
        await other.subscribe("good", lambda topic, payload: got.append(payload))
        before = flooding.sent
        for _ in range(3):
            await lives(other, peer, got)
        await eventually(lambda: flooding.sent > before)
        assert flooded.stats().reconnects == other.stats().reconnects == 0
        await flooded.disconnect(timeout=0.5)
