"""A broker that ends the connection for one message: that one is dropped, the rest flow."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import accounts
import wire
from fake_peer import FakePeer
from waiting import eventually
from wire import Packet

MAX_PACKET_BYTES = 2_000
SECRET = "never in a log"


class Allergic(FakePeer):
    """Closes the connection when it gets a PUBLISH to one of ``topics``; it lets a connection live otherwise."""

    def __init__(self, *topics: str) -> None:
        self.topics = topics
        super().__init__()

    def answer(self, packet: Packet) -> bytes:
        if packet.kind == wire.PUBLISH and packet.topic in self.topics:
            raise ConnectionAbortedError
        return super().answer(packet)

    def on_each_connection(self) -> list[list[Packet]]:
        """What came behind each CONNECT."""
        found: list[list[Packet]] = []
        for packet in list(self.packets):
            if packet.kind == wire.CONNECT:
                found.append([])
            else:
                found[-1].append(packet)
        return found


@pytest.fixture
def allergic() -> Any:
    made: list[Allergic] = []

    def make(*topics: str) -> Allergic:
        made.append(Allergic(*topics))
        return made[-1]

    yield make
    for peer in made:
        peer.stop()


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and "was dropped: the broker ends every connection" in record.getMessage()
    ]


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_message_too_large_for_the_broker(connected, own_mosquitto, new_observer, prefix, caplog, qos):
    broker = own_mosquitto(f"max_packet_size {MAX_PACKET_BYTES}")
    observer = new_observer(broker, f"{prefix}/#", qos=2)
    connector = await connected(broker, clean_session=False, identifier=prefix)
    for number in range(40):
        filler = SECRET * 500 if number == 20 else ""
        connector.publish_nowait(f"{prefix}/{number}", {"n": number, "filler": filler}, qos=qos)
    assert await connector.flush(20) == 0
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, dict(stats.dropped)) == (39, {"rejected_by_peer": 1})
    wanted = [number for number in range(40) if number != 20]
    await eventually(lambda: {message.json["n"] for message in observer.seen} == set(wanted))
    seen = [message.json["n"] for message in observer.seen]
    assert list(dict.fromkeys(seen)) == wanted
    if qos == 2:
        assert seen == wanted
    [line] = complaints(caplog)
    assert f"{prefix}/20" in line
    assert str(len('{"n":20,"filler":""}') + 500 * len(SECRET)) in line
    assert SECRET not in caplog.text


async def test_qos_0_too_large_for_the_broker(connected, own_mosquitto, new_observer, prefix, caplog):
    """It is part-written when the broker, which knows the length from the first bytes, ends the connection."""
    broker = own_mosquitto(f"max_packet_size {MAX_PACKET_BYTES}")
    observer = new_observer(broker, f"{prefix}/#")
    connector = await connected(broker, max_message_bytes=64 * 2**20, max_queued_bytes=128 * 2**20)
    connector.publish_nowait(f"{prefix}/large", bytes(48 * 2**20))
    await eventually(lambda: connector.stats().reconnects >= 1)
    connector.publish_nowait(f"{prefix}/small", "x")
    await eventually(lambda: observer.topics == [f"{prefix}/small"])
    stats = accounts.check(connector.stats())
    assert dict(stats.dropped) == {"rejected_by_peer": 1}
    assert len(complaints(caplog)) == 1


async def test_the_broker_that_dies_of_one_topic(connected, allergic, caplog):
    peer = allergic("poison")
    connector = await connected(peer)
    await connector.subscribe("in", lambda topic, payload: None)
    for topic in ("a", "b", "poison", "c", "d"):
        connector.publish_nowait(topic, SECRET, qos=1)
    assert await connector.flush(20) == 0
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, dict(stats.dropped)) == (4, {"rejected_by_peer": 1})
    first_seen = list(dict.fromkeys(packet.topic for packet in peer.published()))
    assert first_seen == ["a", "b", "poison", "c", "d"]
    [line] = complaints(caplog)
    assert "poison" in line
    assert SECRET not in caplog.text


async def test_several_are_found_one_by_one(connected, allergic, caplog):
    peer = allergic("poison", "venom")
    connector = await connected(peer)
    for topic in ("a", "poison", "b", "venom", "c"):
        connector.publish_nowait(topic, "x", qos=1)
    assert await connector.flush(30) == 0
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, dict(stats.dropped)) == (3, {"rejected_by_peer": 2})
    assert [line for topic in ("poison", "venom") for line in complaints(caplog) if topic in line] == complaints(caplog)


async def test_whoever_waits_for_it_is_told(connected, allergic):
    peer = allergic("poison")
    connector = await connected(peer)
    with pytest.raises(Exception, match="rejected_by_peer"):
        await asyncio.wait_for(connector.publish_confirmed("poison", "x", timeout=30), 30)


async def test_while_it_looks_nothing_else_is_sent(connected, allergic):
    """One message at a time, behind the answers to the re-subscriptions."""
    peer = allergic("poison")
    connector = await connected(peer)
    await connector.subscribe("in", lambda topic, payload: None)
    connector.publish_nowait("poison", "x", qos=1)
    await eventually(lambda: peer.connections == 2)
    for number in range(10):
        connector.publish_nowait("new", str(number), qos=number % 2)
    assert await connector.flush(20) == 0
    probing = peer.on_each_connection()[4:6]
    for packets in probing:
        published = [packet for packet in packets if packet.kind == wire.PUBLISH]
        assert [packet.topic for packet in published] == ["poison"]
        assert packets.index(published[0]) > [packet.kind for packet in packets].index(wire.SUBSCRIBE)
    stats = accounts.check(connector.stats())
    assert (stats.written, stats.acknowledged, dict(stats.dropped)) == (5, 5, {"rejected_by_peer": 1})


async def test_a_broker_that_closes_every_connection_loses_nothing(connected, peer):
    """Behind CONNACK, whatever comes: while one message is looked for, none is sent before a PINGREQ is answered."""
    connector = await connected(peer)
    connector.publish_nowait("t", "first", qos=1)
    assert await connector.flush(10) == 0
    peer.puback = False
    for number in range(5):
        connector.publish_nowait("t", str(number), qos=1)
    await eventually(lambda: len(peer.published()) == 6)
    for cuts in range(4):
        peer.cut()
        await eventually(lambda cuts=cuts: peer.connections == 2 + cuts)
        if cuts < 2:
            await eventually(lambda cuts=cuts: len(peer.published()) >= 6 + 5 * (cuts + 1))
    peer.pingresp = False
    before = peer.connections
    for more in range(4):
        await eventually(lambda more=more: len(peer.of(wire.CONNECT)) == before + more)
        peer.cut()
    peer.puback = peer.pingresp = True
    peer.cut()
    assert await connector.flush(20) == 0
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, dict(stats.dropped)) == (6, {})


async def test_a_broker_that_dies_for_another_reason_loses_nothing(connected, peer):
    """It is cut four times in the middle of a replay, and lives when the messages come one at a time."""
    peer.puback = False
    connector = await connected(peer)
    for number in range(20):
        connector.publish_nowait("t", str(number), qos=1)
    for cuts in range(1, 5):
        await eventually(lambda cuts=cuts: len(peer.published()) > 20 * (cuts - 1))
        if cuts == 4:
            peer.puback = True
        peer.cut()
    assert await connector.flush(20) == 0
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, dict(stats.dropped)) == (20, {})
    # And afterwards many at a time again.
    for number in range(100):
        connector.publish_nowait("t", str(number), qos=1)
    assert await connector.flush(20) == 0
