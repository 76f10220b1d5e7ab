"""Outages as a fake peer makes them: what comes back, what is sent again, what is said."""

from __future__ import annotations

import asyncio
from typing import Any

import accounts
import wire
from waiting import eventually, settled


async def test_a_cut_connection_comes_back_with_its_subscriptions(connected, peer):
    got: list[Any] = []
    connector = await connected(peer)
    await connector.subscribe("a", lambda topic, payload: got.append(payload))
    await connector.subscribe("b/#", lambda topic, payload: got.append(payload))
    for number in range(1, 4):
        peer.cut()
        await eventually(lambda number=number: connector.stats().reconnects == number)
        await eventually(lambda number=number: _subscribed(peer) == ["a", "b/#"] * (number + 1))
    peer.send(wire.publish("b/c", b"1"))
    await eventually(lambda: got == [1])
    assert connector.stats().last_error


async def test_one_line_a_change_of_state(connected, peer, caplog):
    connector = await connected(peer, reconnect_min_delay=0.01, reconnect_max_delay=0.05)
    peer.connack = b""
    peer.cut()
    await eventually(lambda: not connector.stats().connected)
    for _ in range(20):
        connections = peer.connections
        peer.cut()
        await eventually(lambda connections=connections: peer.connections > connections)
    peer.connack = b"\x00\x00"
    peer.cut()
    await eventually(lambda: connector.stats().connected)
    loud = [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert 1 <= len(loud) <= 3, loud


async def test_events_of_an_outage_arrive_after_it(connected, peer):
    connector = await connected(peer)
    peer.connack = b""
    peer.cut()
    await eventually(lambda: not connector.stats().connected)
    for number in range(100):
        assert connector.publish_nowait("q0", str(number))
        assert connector.publish_nowait("q1", str(number), qos=1)
    assert accounts.check(connector.stats()).queued_events == 200
    peer.connack = b"\x00\x00"
    peer.cut()
    await eventually(lambda: len(peer.published()) == 200)
    for topic in ("q0", "q1"):
        payloads = [packet.payload for packet in peer.published() if packet.topic == topic]
        assert payloads == [b"%d" % number for number in range(100)]
    accounts.check(connector.stats())


async def test_keepalive_is_kept_while_only_the_broker_talks(connected, peer):
    """What counts is what the client sends: inbound traffic does not replace PINGREQ."""
    connector = await connected(peer, keepalive=1)
    await connector.subscribe("a", lambda topic, payload: None)
    before = len(peer.of(wire.PINGREQ))

    async def pings() -> None:
        while len(peer.of(wire.PINGREQ)) < before + 2:
            peer.send(wire.publish("a", b"1"))
            await asyncio.sleep(0.05)

    await asyncio.wait_for(pings(), 20)
    assert peer.connections == 1


async def test_a_message_cut_in_the_middle_is_sent_again_whole(connected, peer):
    payload = b"x" * 900_000
    connector = await connected(peer)
    peer.freeze()
    for _ in range(8):
        connector.publish_nowait("big", payload)
    await settled(lambda: connector.stats().queued_events)
    left = connector.stats().queued_events
    assert left > 0
    peer.cut()
    peer.thaw()
    await eventually(lambda: connector.stats().queued_events == 0)
    await eventually(lambda: len(peer.published()) >= left)
    assert all(packet.payload == payload for packet in peer.published())
    accounts.check(connector.stats())


async def test_disconnect_during_an_outage_ends_the_attempts(connected, peer):
    connector = await connected(peer)
    peer.connack = b""
    peer.cut()
    await eventually(lambda: not connector.stats().connected)
    await connector.disconnect(timeout=0.2)
    connections = await settled(lambda: peer.connections, still_s=0.8)
    assert peer.connections == connections
    assert not connector.stats().connected


def _subscribed(peer: Any) -> list[str]:
    return [name for packet in peer.of(wire.SUBSCRIBE) for name in packet.filters]
