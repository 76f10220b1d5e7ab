"""disconnect(): everything that was published leaves, and nothing holds the caller."""

from __future__ import annotations

import asyncio
import time

import pytest

import accounts
import wire
from waiting import eventually


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_burst_arrives_whole_while_messages_are_coming_in(
    connected, mosquitto_broker, new_observer, prefix, qos
):
    """Closing with unread input resets the connection and destroys what was sent; this must not happen.

    Not on the embedded broker: a subscriber that leaves in mid-delivery can make rumqttd panic.
    """
    broker = mosquitto_broker
    observer, speaker = new_observer(broker, f"{prefix}/out"), new_observer(broker)
    connector = await connected(broker)
    got = 0

    def count(topic: str, payload: object) -> None:
        nonlocal got
        got += 1

    await connector.subscribe(f"{prefix}/in", count)
    talking = True

    def talk() -> None:
        while talking:
            for _ in range(50):
                speaker.publish_soon(f"{prefix}/in", b'{"x":"' + b"y" * 500 + b'"}')
            time.sleep(0.001)

    chatter = asyncio.create_task(asyncio.to_thread(talk))
    await eventually(lambda: got > 100)
    for number in range(10_000):
        await connector.publish(f"{prefix}/out", {"n": number}, qos=qos)
    await connector.disconnect(timeout=20)
    talking = False
    await chatter
    stats = accounts.check(connector.stats())
    assert (stats.written if qos == 0 else stats.acknowledged) == 10_000
    await eventually(lambda: len(observer.seen) >= 10_000)
    assert [message.json["n"] for message in observer.seen] == list(range(10_000))


@pytest.mark.every_loop
@pytest.mark.parametrize("qos", [0, 1])
async def test_a_burst_leaves_within_the_default_time_out(connected, broker, new_observer, prefix, qos):
    observer = new_observer(broker, f"{prefix}/#")
    connector = await connected(broker)
    for number in range(1_000):
        connector.publish_nowait(f"{prefix}/a", str(number), qos=qos)
    await connector.disconnect()
    await eventually(lambda: len(observer.seen) == 1_000)


async def test_from_the_event_to_the_broker_without_delay(connected, peer):
    """A single event on an idle connection does not wait for company."""
    connector = await connected(peer)
    await connector.publish("t", "x")
    await eventually(lambda: peer.published(), timeout=5)


async def test_goodbye(connected, peer):
    connector = await connected(peer)
    connector.publish_nowait("t", "last")
    await connector.disconnect()
    assert [packet.kind for packet in peer.packets[-2:]] == [wire.PUBLISH, wire.DISCONNECT]


async def test_a_frozen_broker_does_not_hold_disconnect(connected, own_mosquitto):
    broker = own_mosquitto()
    connector = await connected(broker)
    broker.freeze()
    for _ in range(20_000):
        connector.publish_nowait("t", b"x" * 500, qos=1)
    await asyncio.wait_for(connector.disconnect(timeout=0.5), 5)
    stats = accounts.check(connector.stats())
    assert not stats.connected
    assert stats.dropped["closed"] > 0


async def test_an_unreachable_broker_does_not_hold_disconnect(connected, peer):
    connector = await connected(peer)
    peer.stop()
    await eventually(lambda: not connector.stats().connected)
    connector.publish_nowait("t", "x", qos=1)
    await asyncio.wait_for(connector.disconnect(timeout=0.5), 5)
    assert accounts.check(connector.stats()).dropped == {"closed": 1}


@pytest.mark.every_loop
async def test_the_loop_stays_free_while_disconnecting(connected, peer):
    peer.puback = False
    connector = await connected(peer)
    connector.publish_nowait("t", "x", qos=1)
    leaving = asyncio.create_task(connector.disconnect(timeout=1.0))
    ticks = 0
    while not leaving.done():
        ticks += 1
        await asyncio.sleep(0.001)
    await leaving
    assert ticks > 50


async def test_concurrent_disconnects(connected, peer):
    connector = await connected(peer)
    connector.publish_nowait("t", "x")
    await asyncio.gather(*(connector.disconnect() for _ in range(5)))
    assert len(peer.of(wire.DISCONNECT)) == 1
    assert len(peer.published()) == 1


async def test_cancelled_disconnect_leaves_a_usable_connector(connected, peer):
    peer.puback = False
    connector = await connected(peer)
    connector.publish_nowait("t", "x", qos=1)
    leaving = asyncio.create_task(connector.disconnect(timeout=30))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    peer.puback = True
    await connector.disconnect(timeout=0.2)
    await connector.connect()
    assert connector.stats().connected
    accounts.check(connector.stats())


async def test_counts_go_on_over_a_second_connection(connected, peer):
    connector = await connected(peer)
    await connector.publish("t", "1", qos=1)
    await connector.disconnect()
    await connector.connect()
    await connector.publish("t", "2", qos=1)
    await connector.disconnect()
    stats = accounts.check(connector.stats())
    assert (stats.submitted, stats.acknowledged) == (2, 2)


async def test_a_goodbye_without_time_is_said_all_the_same(connected, peer):
    """DISCONNECT goes with what the socket takes at once, so that no will is published (MQTT 3.1.1 section 3.14)."""
    connector = await connected(peer)
    await connector.disconnect(timeout=0)
    await eventually(lambda: peer.of(wire.DISCONNECT))
    assert peer.packets[-1].kind == wire.DISCONNECT


async def test_a_new_connection_outlives_the_time_of_the_last_stop(connected, peer):
    connector = await connected(peer)
    await connector.disconnect(timeout=0.5)
    ends = time.monotonic() + 0.5
    await connector.connect()
    await eventually(lambda: time.monotonic() > ends + 0.2)
    await connector.publish("t", "x", qos=1)
    assert await connector.flush(10) == 0
    assert (connector.stats().connected, connector.stats().reconnects) == (True, 0)
