"""Topic aliases from a broker, which may use as many as CONNECT has allowed (MQTT 5.0 section 3.3.2.3.4)."""

from __future__ import annotations

from typing import Any

import pytest
from corpus.entry import publish5
from hostile_peer import HostilePeer, nothing
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import wire
from waiting import eventually

# The only one that speaks MQTT 5.
pytestmark = pytest.mark.parametrize("backend", ["python"])


@pytest.fixture
def peer():
    with HostilePeer(nothing("5"), times=0) as peer:
        yield peer


async def subscribed(connected: Any, peer: HostilePeer, got: list[Any], maximum: int) -> Any:
    allowed = Properties(PacketTypes.CONNECT)
    allowed.TopicAliasMaximum = maximum
    connector = await connected(peer, protocol="5", properties=allowed)
    await connector.subscribe("#", lambda topic, payload: got.append((topic, payload)), decode="bytes")
    return connector


async def test_an_alias_stands_for_the_topic_that_it_came_with_last(connected, peer):
    got: list[Any] = []
    await subscribed(connected, peer, got, maximum=2)
    peer.send(publish5("23 00 01", b"1", "a") + publish5("23 00 02", b"2", "b") + publish5("23 00 01", b"3", ""))
    peer.send(publish5("23 00 01", b"4", "c") + publish5("23 00 01", b"5", "") + publish5("23 00 02", b"6", ""))
    await eventually(lambda: len(got) == 6)
    assert got == [("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4"), ("c", b"5"), ("b", b"6")]


@pytest.mark.parametrize(
    ("hostile", "code"),
    [(publish5("23 00 03", b"x", "a"), 0x94), (publish5("23 00 02", b"x", ""), 0x82), (publish5("23 00 00"), 0x82)],
    ids=["above the maximum", "unknown", "0"],
)
async def test_an_alias_that_cannot_be_ends_the_connection(connected, peer, hostile, code):
    got: list[Any] = []
    connector = await subscribed(connected, peer, got, maximum=2)
    peer.send(publish5("23 00 01", b"1", "a") + hostile)
    await eventually(lambda: connector.stats().reconnects == 1)
    await eventually(lambda: peer.of(wire.DISCONNECT))
    assert peer.of(wire.DISCONNECT)[0].body == bytes((code,))
    assert got == [("a", b"1")]


async def test_aliases_end_with_their_connection(connected, peer):
    got: list[Any] = []
    connector = await subscribed(connected, peer, got, maximum=2)
    peer.send(publish5("23 00 01", b"1", "a"))
    await eventually(lambda: got)
    peer.cut()
    await eventually(lambda: connector.stats().reconnects == 1)
    await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 2)
    peer.send(publish5("23 00 01", b"2", ""))
    await eventually(lambda: connector.stats().reconnects == 2)
    assert "section 3.3.2.3.4" in connector.stats().last_error
    assert got == [("a", b"1")]
