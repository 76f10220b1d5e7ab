"""Bytes as a network and a careless broker deliver them: one at a time, cut off, too many, or noise."""

from __future__ import annotations

import logging
import os
import random
from typing import Any

import pytest

import wire
from waiting import eventually

QUICK: dict[str, Any] = {"reconnect_min_delay": 0.01, "reconnect_max_delay": 0.02}


async def test_packets_in_single_bytes(connected, peer):
    got: list[Any] = []
    connector = await connected(peer, **QUICK)
    await connector.subscribe("a", lambda topic, payload: got.append(payload))
    data = wire.publish("a", b'{"x":[1,2,3]}') + wire.publish("a", b'"' + b"y" * 300 + b'"')
    for at in range(len(data)):
        peer.send(data[at : at + 1])
    await eventually(lambda: got == [{"x": [1, 2, 3]}, "y" * 300])


async def test_a_packet_cut_off_is_not_delivered(connected, peer):
    got: list[Any] = []
    connector = await connected(peer, **QUICK)
    await connector.subscribe("a", lambda topic, payload: got.append(payload))
    whole = wire.publish("a", b'"whole"')
    for cut in range(1, len(whole)):
        connections, subscribed = peer.connections, len(peer.of(wire.SUBSCRIBE))
        peer.send(whole[:cut])
        peer.cut()
        await eventually(lambda connections=connections: peer.connections > connections)
        await eventually(lambda subscribed=subscribed: len(peer.of(wire.SUBSCRIBE)) > subscribed)
    peer.send(whole)
    await eventually(lambda: got)
    assert got == ["whole"]


async def test_a_message_above_max_inbound_bytes_ends_the_connection(connected, peer):
    got: list[Any] = []
    connector = await connected(peer, max_inbound_bytes=10_000, **QUICK)
    await connector.subscribe("a", lambda topic, payload: got.append(payload))
    peer.send(wire.publish("a", b'"' + b"x" * 5_000 + b'"'))
    await eventually(lambda: got == ["x" * 5_000])
    peer.send(wire.publish("a", b'"' + b"x" * 20_000 + b'"'))
    await eventually(lambda: connector.stats().reconnects == 1)
    assert connector.stats().inbox_dropped == {"too_large": 1}
    await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 2)
    peer.send(wire.publish("a", b'"after"'))
    await eventually(lambda: got[1:] == ["after"])


@pytest.mark.parametrize("seed", range(20))
async def test_noise(connected, peer, caplog, seed):
    """Random bytes behind CONNACK: whatever they mean, the connector is there afterwards."""
    chance = random.Random(int(os.environ.get("CASCADE_TEST_SEED", "0")) * 1_000 + seed)
    connector = await connected(peer, **QUICK)
    noise = chance.randbytes(chance.randrange(1, 400))
    for _ in range(3):
        peer.send(noise)
        peer.cut()
        before = connector.stats().reconnects
        await eventually(lambda before=before: connector.stats().reconnects > before or connector.stats().connected)
    await connector.publish("t", "x", qos=1)
    await eventually(lambda: connector.stats().acknowledged == 1)
    assert len(_loud(caplog)) <= 12


async def test_a_broker_that_closes_after_every_connack(connected, peer, caplog):
    connector = await connected(peer, **QUICK)
    peer.greeting = b"\x00\x00"
    peer.cut()
    await eventually(lambda: peer.connections >= 4)
    peer.greeting = b""
    connector.publish_nowait("t", "x", qos=1)
    assert connector.stats().last_error
    assert len(_loud(caplog)) <= 8


def _loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
