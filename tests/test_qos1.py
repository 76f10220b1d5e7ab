"""At least once: acknowledgements, replay after an outage, and publish_confirmed."""

from __future__ import annotations

import asyncio

import pytest

import accounts
import wire
from cascade.connectors.mqtt import ConfirmationError, MqttConnector
from fake_peer import FakePeer
from waiting import eventually, settled


async def test_acknowledged(connected, broker, new_observer, prefix):
    observer = new_observer(broker, f"{prefix}/#")
    connector = await connected(broker)
    for number in range(5_000):
        assert connector.publish_nowait(f"{prefix}/a", {"n": number}, qos=1)
    assert await connector.flush(30) == 0
    stats = accounts.check(connector.stats())
    assert (stats.submitted, stats.acknowledged, stats.in_flight) == (5_000, 5_000, 0)
    await eventually(lambda: len(observer.seen) == 5_000)
    assert [message.json["n"] for message in observer.seen] == list(range(5_000))


async def test_without_a_session_it_is_sent_again_as_new(connected, peer):
    """Session not present: new packets, DUP 0 (MQTT 3.1.1 section 3.1.2.4)."""
    peer.puback = False
    connector = await connected(peer)
    for number in range(10):
        connector.publish_nowait("t", str(number), qos=1)
    await eventually(lambda: len(peer.published()) == 10)
    peer.cut()
    await eventually(lambda: len(peer.published()) >= 20)
    again = peer.published()[10:20]
    assert [packet.payload for packet in again] == [b"%d" % number for number in range(10)]
    assert not any(packet.dup for packet in again)
    assert len({packet.packet_id for packet in again}) == 10
    assert connector.stats().in_flight == 10
    peer.puback = True
    peer.cut()
    await eventually(lambda: connector.stats().acknowledged == 10)
    accounts.check(connector.stats())


async def test_with_a_session_it_is_sent_again_as_it_was(connected, peer):
    """Session present: the same packet ids, DUP 1, in order, before anything new (section 4.4)."""
    peer.puback = False
    connector = await connected(peer, clean_session=False, identifier="stable")
    for number in range(10):
        connector.publish_nowait("t", str(number), qos=1)
    await eventually(lambda: len(peer.published()) == 10)
    peer.connack = b"\x01\x00"
    peer.cut()
    await eventually(lambda: not connector.stats().connected or connector.stats().reconnects)
    connector.publish_nowait("t", "new", qos=1)
    await eventually(lambda: len(peer.published()) >= 21)
    first, again = peer.published()[:10], peer.published()[10:21]
    assert [packet.payload for packet in again] == [b"%d" % number for number in range(10)] + [b"new"]
    assert [packet.packet_id for packet in again[:10]] == [packet.packet_id for packet in first]
    assert [packet.dup for packet in again] == [True] * 10 + [False]
    assert again[10].packet_id not in {packet.packet_id for packet in first}


async def test_acknowledged_before_the_cut_is_not_sent_again(connected, peer):
    connector = await connected(peer)
    for number in range(100):
        connector.publish_nowait("t", str(number), qos=1)
    await eventually(lambda: connector.stats().acknowledged == 100)
    peer.cut()
    await eventually(lambda: connector.stats().reconnects == 1)
    assert await settled(lambda: len(peer.published())) == 100


async def test_acknowledgements_in_any_order(connected, peer):
    peer.puback = False
    connector = await connected(peer)
    for number in range(50):
        connector.publish_nowait("t", str(number), qos=1)
    await eventually(lambda: len(peer.published()) == 50)
    ids = [packet.packet_id for packet in peer.published()]
    for packet_id in reversed(ids[1:]):
        peer.send(wire.acknowledge(wire.PUBACK, packet_id))
    await eventually(lambda: connector.stats().acknowledged == 49)
    assert connector.stats().in_flight == 1
    peer.send(wire.acknowledge(wire.PUBACK, ids[0]))
    await eventually(lambda: connector.stats().in_flight == 0)


async def test_unknown_and_doubled_acknowledgements_count_once(connected, peer):
    connector = await connected(peer)
    connector.publish_nowait("t", "x", qos=1)
    await eventually(lambda: connector.stats().acknowledged == 1)
    packet_id = peer.published()[0].packet_id
    peer.send(wire.acknowledge(wire.PUBACK, packet_id) + wire.acknowledge(wire.PUBACK, 4_321))
    connector.publish_nowait("t", "y", qos=1)
    await eventually(lambda: connector.stats().acknowledged == 2)
    await settled(lambda: connector.stats().acknowledged)
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.in_flight) == (2, 0)


async def test_in_flight_is_limited(connected, peer):
    peer.puback = False
    connector = await connected(peer, max_inflight_messages=10)
    for number in range(50):
        connector.publish_nowait("t", str(number), qos=1)
    await eventually(lambda: len(peer.published()) == 10)
    assert await settled(lambda: len(peer.published())) == 10
    stats = accounts.check(connector.stats())
    assert stats.in_flight == 10
    assert stats.queued_events == 40
    peer.puback = True
    for packet in peer.published():
        peer.send(wire.acknowledge(wire.PUBACK, packet.packet_id))
    await eventually(lambda: connector.stats().acknowledged == 50)
    assert [packet.payload for packet in peer.published()] == [b"%d" % number for number in range(50)]


async def test_packet_ids_are_reused_only_when_free(connected, peer):
    connector = await connected(peer)
    for number in range(70_000):
        connector.publish_nowait("t", b"", qos=1)
        if number % 5_000 == 0:
            await asyncio.sleep(0)
    await eventually(lambda: connector.stats().acknowledged == 70_000, 60)
    assert all(packet.packet_id for packet in peer.published())
    accounts.check(connector.stats())


# --- publish_confirmed


@pytest.mark.every_loop
async def test_confirmed(connected, broker, new_observer, prefix):
    observer = new_observer(broker, f"{prefix}/#")
    connector = await connected(broker)
    await connector.publish_confirmed(f"{prefix}/a", {"n": 1})
    assert connector.stats().acknowledged == 1
    await eventually(lambda: observer.payloads == [b'{"n":1}'])


async def test_confirmed_in_parallel(connected, peer):
    connector = await connected(peer)
    await asyncio.gather(*(connector.publish_confirmed("t", str(number)) for number in range(200)))
    assert accounts.check(connector.stats()).acknowledged == 200


async def test_confirmed_needs_qos_1(connected, peer):
    connector = await connected(peer)
    with pytest.raises(ValueError, match="qos"):
        await connector.publish_confirmed("t", "x", qos=0)


async def test_confirmed_in_flight_may_still_arrive(connected, peer):
    peer.puback = False
    connector = await connected(peer)
    with pytest.raises(ConfirmationError) as failure:
        await connector.publish_confirmed("t", "x", timeout=0.3)
    assert failure.value.may_arrive
    assert isinstance(failure.value, TimeoutError)
    stats = accounts.check(connector.stats())
    assert stats.in_flight == 1
    peer.send(wire.acknowledge(wire.PUBACK, peer.published()[0].packet_id))
    await eventually(lambda: connector.stats().acknowledged == 1)


@pytest.fixture
async def waiting_to_connect(new_connector, peer: FakePeer) -> MqttConnector:
    """Connected in the background to a peer that does not answer: nothing can be sent."""
    peer.connack = b""
    connector = new_connector(peer, first_connect="background", connect_timeout=0.2)
    await connector.connect()
    return connector


async def test_confirmed_unsent_is_withdrawn(waiting_to_connect, peer):
    connector = waiting_to_connect
    with pytest.raises(ConfirmationError) as failure:
        await connector.publish_confirmed("t", "never", timeout=0.3)
    assert not failure.value.may_arrive
    stats = accounts.check(connector.stats())
    assert stats.dropped == {"expired": 1}
    assert stats.queued_events == 0
    peer.connack = b"\x00\x00"
    peer.cut()
    connector.publish_nowait("t", "after", qos=1)
    await eventually(lambda: connector.stats().acknowledged == 1)
    assert [packet.payload for packet in peer.published()] == [b"after"]


async def test_cancelled_unsent_is_withdrawn(waiting_to_connect):
    connector = waiting_to_connect
    call = asyncio.create_task(connector.publish_confirmed("t", "never", timeout=60))
    await eventually(lambda: connector.stats().queued_events == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    stats = accounts.check(connector.stats())
    assert stats.dropped == {"expired": 1}
    assert stats.queued_events == 0


async def test_confirmed_survives_a_reconnect(connected, peer):
    peer.puback = False
    connector = await connected(peer)
    call = asyncio.create_task(connector.publish_confirmed("t", "x", timeout=60))
    await eventually(lambda: peer.published())
    peer.puback = True
    peer.cut()
    await asyncio.wait_for(call, 20)


# --- inbound


async def test_inbound_qos1_is_acknowledged(connected, peer):
    got: list[object] = []
    connector = await connected(peer)
    await connector.subscribe("in", lambda topic, payload: got.append(payload))
    for packet_id in (7, 9):
        peer.send(wire.publish("in", b"%d" % packet_id, qos=1, packet_id=packet_id))
    await eventually(lambda: got == [7, 9])
    await eventually(lambda: [packet.packet_id for packet in peer.of(wire.PUBACK)] == [7, 9])
