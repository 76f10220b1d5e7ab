"""A broker that sends what it must not: the connection is given up and made again, nothing else."""

from __future__ import annotations

import logging
import os
import random
from typing import Any

import pytest

import wire
from waiting import eventually

CONNECTED = wire.encode(wire.CONNACK, 0, b"\x00\x00")
MALFORMED = {
    "reserved type 0": b"\x00\x00",
    "reserved type 15": b"\xf0\x00",
    "a client's packet": wire.encode(wire.CONNECT, 0, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"),
    "length of five bytes": b"\x30\xff\xff\xff\xff\x7f",
    "publish at QoS 3": wire.encode(wire.PUBLISH, 0b0110, b"\x00\x01a\x00\x01x"),
    "publish without a topic's length": wire.encode(wire.PUBLISH, 0, b"\x00"),
    "publish whose topic is cut off": wire.encode(wire.PUBLISH, 0, b"\x00\xffa"),
    "publish to an empty topic": wire.encode(wire.PUBLISH, 0, b"\x00\x00x"),
    "publish to a wildcard": wire.publish("a/#", b"1"),
    "publish to NUL": wire.publish("a\0b", b"1"),
    "publish to bad UTF-8": wire.encode(wire.PUBLISH, 0, b"\x00\x02\xff\xfex"),
    "publish with id 0": wire.publish("a", b"1", qos=1, packet_id=0),
    "publish without an id": wire.encode(wire.PUBLISH, 0b0010, b"\x00\x01a"),
    "puback of three bytes": wire.encode(wire.PUBACK, 0, b"\x00\x01\x00"),
    "puback of one byte": wire.encode(wire.PUBACK, 0, b"\x01"),
    "puback with flags": wire.encode(wire.PUBACK, 0b1111, b"\x00\x01"),
    "suback without codes": wire.encode(wire.SUBACK, 0, b"\x00\x01"),
    "a second connack": CONNECTED,
    "pingresp with a body": wire.encode(wire.PINGRESP, 0, b"x"),
}
BAD_CONNACKS = {
    "nothing but noise": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "three bytes": wire.encode(wire.CONNACK, 0, b"\x00\x00\x00"),
    "one byte": wire.encode(wire.CONNACK, 0, b"\x00"),
    "reserved flags": wire.encode(wire.CONNACK, 0, b"\x02\x00"),
    "another packet first": wire.encode(wire.PINGRESP),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_bytes_end_the_connection_and_nothing_else(connected, peer, caplog, name):
    got: list[Any] = []
    connector = await connected(peer)
    await connector.subscribe("good", lambda topic, payload: got.append(payload))
    peer.send(MALFORMED[name])
    await eventually(lambda: connector.stats().reconnects == 1)
    await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 2)
    peer.send(wire.publish("good", b"1"))
    await eventually(lambda: got == [1])
    await connector.publish("t", "x", qos=1)
    await eventually(lambda: connector.stats().acknowledged == 1)
    assert len(_loud(caplog)) <= 3


@pytest.mark.parametrize("name", BAD_CONNACKS)
async def test_a_bad_connack_is_a_failed_attempt(new_connector, peer, name, caplog):
    peer.connack, peer.greeting = b"", b""
    connector = new_connector(peer, first_connect="background", connect_timeout=0.2, reconnect_max_delay=0.1)
    await connector.connect()
    for count in range(1, 4):
        await eventually(lambda count=count: len(peer.of(wire.CONNECT)) >= count)
        peer.send(BAD_CONNACKS[name])
        peer.cut()
    assert not connector.stats().connected
    peer.connack = b"\x00\x00"
    peer.cut()
    await eventually(lambda: connector.stats().connected)
    assert len(_loud(caplog)) <= 3


async def test_packets_in_single_bytes(connected, peer):
    got: list[Any] = []
    connector = await connected(peer)
    await connector.subscribe("a", lambda topic, payload: got.append(payload))
    data = wire.publish("a", b'{"x":[1,2,3]}') + wire.publish("a", b'"' + b"y" * 300 + b'"')
    for at in range(len(data)):
        peer.send(data[at : at + 1])
    await eventually(lambda: got == [{"x": [1, 2, 3]}, "y" * 300])


async def test_a_packet_cut_off_is_not_delivered(connected, peer):
    got: list[Any] = []
    connector = await connected(peer)
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
    connector = await connected(peer, max_inbound_bytes=10_000)
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
    connector = await connected(peer)
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
    connector = await connected(peer)
    peer.greeting = MALFORMED["reserved type 0"]
    peer.cut()
    await eventually(lambda: peer.connections >= 4)
    peer.greeting = b""
    connector.publish_nowait("t", "x", qos=1)
    assert connector.stats().last_error
    assert len(_loud(caplog)) <= 8


def _loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
