"""Sessions that a broker keeps (MQTT 3.1.1 section 3.1.2.4): what both sides remember, and what they must forget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import accounts
import wire
from cascade.connectors.mqtt import MqttConnector
from fake_peer import FakePeer
from waiting import eventually, settled

ABSENT, PRESENT = b"\x00\x00", b"\x01\x00"
"""CONNACK without and with the session present."""
STABLE = {"clean_session": False, "identifier": "stable"}


@pytest.fixture
def collect() -> Callable[..., Any]:
    """``await collect(connector, filter)``: a list that grows by what arrives at QoS 2."""

    async def make(connector: MqttConnector, topic_filter: str) -> list[Any]:
        got: list[Any] = []
        await connector.subscribe(topic_filter, lambda topic, payload: got.append(payload), qos=2)
        return got

    return make


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_comes_while_away_is_there_afterwards(
    connected, mosquitto_broker, new_observer, collect, prefix, qos
):
    connector = await connected(mosquitto_broker, clean_session=False, identifier=prefix)
    got = await collect(connector, f"{prefix}/#")
    await connector.disconnect()
    speaker = new_observer(mosquitto_broker)
    for number in range(30):
        speaker.publish(f"{prefix}/a", str(number), qos=qos)
    await connector.connect()
    await eventually(lambda: len(got) >= 30)
    assert await settled(lambda: got) == list(range(30))


async def test_another_process_takes_the_session_over(new_connector, mosquitto_broker, new_observer, collect, prefix):
    """It gets what was meant for the first one, which the broker throws out.

    It subscribes before it connects: what a session holds comes right behind CONNACK.
    """
    first = new_connector(mosquitto_broker, clean_session=False, identifier=prefix)
    second = new_connector(mosquitto_broker, clean_session=False, identifier=prefix)
    got_first, got_second = await collect(first, f"{prefix}/#"), await collect(second, f"{prefix}/#")
    await first.connect()
    speaker = new_observer(mosquitto_broker)
    speaker.publish(f"{prefix}/a", "0", qos=2)
    await eventually(lambda: got_first == [0])
    await first.disconnect()
    for number in range(1, 11):
        speaker.publish(f"{prefix}/a", str(number), qos=2)
    await second.connect()
    await eventually(lambda: len(got_second) >= 10)
    # Twice there and back: then the broker has had each PUBREC and each PUBCOMP, and owes the session nothing.
    for _ in range(2):
        await second.publish_confirmed(f"{prefix}-elsewhere", "")

    third = new_connector(mosquitto_broker, clean_session=False, identifier=prefix)
    got_third = await collect(third, f"{prefix}/#")
    await third.connect()
    await eventually(lambda: second.stats().last_error)
    await second.disconnect()
    await eventually(lambda: third.stats().connected)
    speaker.publish(f"{prefix}/a", "11", qos=2)
    await eventually(lambda: got_third)
    assert await settled(lambda: (got_first, got_second, got_third)) == ([0], list(range(1, 11)), [11])


async def test_a_restarted_broker_with_its_state(connected, own_mosquitto, new_observer, prefix):
    """Each message arrives, in order, at a witness that keeps its session too.

    Not once: mosquitto 2.0 forgets the PUBRELs of its last moments, and delivers such messages to the witness again.
    """
    broker = own_mosquitto(persistence=True)
    witness = new_observer(broker, f"{prefix}/#", qos=2, session=f"witness-{prefix}")
    connector = await connected(broker, clean_session=False, identifier=prefix)
    for number in range(600):
        connector.publish_nowait(f"{prefix}/a", {"n": number}, qos=2)
        if number == 300:
            await eventually(lambda: connector.stats().acknowledged > 50)
            await asyncio.to_thread(broker.restart)
    assert await connector.flush(30) == 0
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.uncertain) == (600, 0)
    await eventually(lambda: len({message.json["n"] for message in witness.seen}) == 600, 30)
    assert list(dict.fromkeys(message.json["n"] for message in witness.seen)) == list(range(600))


async def test_a_restarted_broker_without_its_state(connected, own_mosquitto, new_observer, prefix):
    """Nothing is lost that the broker had not taken over; what it had is told apart as uncertain."""
    broker = own_mosquitto()
    connector = await connected(broker, clean_session=False, identifier=prefix)
    for number in range(600):
        connector.publish_nowait(f"{prefix}/a", {"n": number}, qos=2)
    await eventually(lambda: connector.stats().acknowledged > 50)
    await asyncio.to_thread(broker.stop)
    accepted = connector.stats().acknowledged
    broker.start()
    observer = new_observer(broker, f"{prefix}/#", qos=2)
    assert await connector.flush(30) == 0
    stats = accounts.check(connector.stats())
    assert stats.acknowledged == 600
    assert stats.uncertain <= 20
    assert accepted + stats.uncertain <= 600
    # The observer may have come after the first of them, or after all.
    await connector.publish_confirmed(f"{prefix}/a", {"n": 600}, qos=2)
    await eventually(lambda: observer.seen and observer.seen[-1].json["n"] == 600)
    seen = [message.json["n"] for message in observer.seen]
    assert seen == sorted(set(seen))


# --- packet by packet


async def test_pubrel_goes_before_publish(connected, peer):
    """What awaits PUBCOMP, then what awaits PUBREC or PUBACK in its order, then what is new (section 4.4)."""
    peer.puback = peer.pubrec = peer.pubcomp = False
    connector = await connected(peer, **STABLE)
    for number, qos in enumerate([1, 2, 2, 1]):
        connector.publish_nowait("t", str(number), qos=qos)
    await eventually(lambda: len(peer.published()) == 4)
    first = peer.published()[:]
    peer.send(wire.acknowledge(wire.PUBREC, first[2].packet_id))
    await eventually(lambda: len(peer.of(wire.PUBREL)) == 1)
    peer.connack = PRESENT
    peer.cut()
    await eventually(lambda: peer.connections == 2)
    connector.publish_nowait("t", "4", qos=1)
    await eventually(lambda: len(peer.published()) == 8)
    place = [packet.kind for packet in peer.packets].index(wire.CONNECT, 1)
    behind = peer.packets[place + 1 : place + 6]
    assert [packet.kind for packet in behind] == [wire.PUBREL] + [wire.PUBLISH] * 4
    assert [packet.packet_id for packet in behind[:4]] == [first[place].packet_id for place in (2, 0, 1, 3)]
    assert [packet.payload for packet in behind[1:]] == [b"0", b"1", b"3", b"4"]
    assert [packet.dup for packet in behind[1:]] == [True, True, True, False]


async def test_what_was_given_up_leaves_its_identifier_to_the_session(connected, peer):
    """The broker may hold it, and would take a new message for a repetition: the handshake is finished first."""
    peer.pubrec = peer.pubcomp = False
    connector = await connected(peer, **STABLE)
    for number in range(3):
        connector.publish_nowait("t", str(number), qos=2)
    await eventually(lambda: len(peer.published()) == 3)
    given_up = [packet.packet_id for packet in peer.published()]
    peer.send(wire.acknowledge(wire.PUBREC, given_up[0]))
    await eventually(lambda: len(peer.of(wire.PUBREL)) == 1)
    await connector.disconnect(timeout=0.2)
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.uncertain, dict(stats.dropped)) == (1, 1, {"closed": 2})

    peer.connack, peer.pubrec = PRESENT, True
    await connector.connect()
    for number in range(10):
        connector.publish_nowait("t", f"new {number}", qos=2)
    await eventually(lambda: len(peer.published()) == 13)
    new = {packet.packet_id for packet in peer.published()[3:]}
    assert len(new) == 10
    assert not new & set(given_up)
    released = {packet.packet_id for packet in peer.of(wire.PUBREL)}
    await eventually(lambda: set(given_up) <= {packet.packet_id for packet in peer.of(wire.PUBREL)}, 5)
    peer.send(b"".join(wire.acknowledge(wire.PUBCOMP, packet_id) for packet_id in released | new))
    await eventually(lambda: connector.stats().acknowledged == 11)
    accounts.check(connector.stats())


async def unsubscribed_while_away(connector: MqttConnector, peer: FakePeer) -> None:
    """Leaves the peer with two subscriptions of which one is still wanted, and connects again."""
    kept, left = [await connector.subscribe(topic, lambda topic, payload: None) for topic in ("kept", "left")]
    connack, peer.connack = peer.connack, b""
    peer.cut()
    await eventually(lambda: not connector.stats().connected)
    await left.unsubscribe()
    peer.connack = connack
    peer.cut()
    await eventually(lambda: connector.stats().reconnects == 1)
    await eventually(lambda: [packet.filters for packet in peer.of(wire.SUBSCRIBE)].count(["kept"]) == 2)
    assert kept


async def test_a_subscription_that_ended_while_away_ends_at_the_broker_too(connected, peer):
    peer.connack = PRESENT
    connector = await connected(peer, **STABLE)
    await unsubscribed_while_away(connector, peer)
    await eventually(lambda: [packet.filters for packet in peer.of(wire.UNSUBSCRIBE)] == [["left"]])
    peer.cut()
    await eventually(lambda: connector.stats().reconnects == 2)
    assert await settled(lambda: len(peer.of(wire.UNSUBSCRIBE))) == 1


async def test_a_broker_that_has_forgotten_is_told_nothing(connected, peer):
    peer.connack = ABSENT
    connector = await connected(peer, **STABLE)
    await unsubscribed_while_away(connector, peer)
    assert await settled(lambda: peer.of(wire.UNSUBSCRIBE)) == []


async def test_an_unsubscribe_that_was_not_answered_goes_out_again(connected, peer):
    peer.connack, peer.unsuback = PRESENT, False
    connector = await connected(peer, **STABLE)
    handle = await connector.subscribe("left", lambda topic, payload: None)
    leaving = asyncio.create_task(handle.unsubscribe())
    await eventually(lambda: len(peer.of(wire.UNSUBSCRIBE)) == 1)
    peer.cut()
    await asyncio.wait_for(leaving, 20)
    await eventually(lambda: [packet.filters for packet in peer.of(wire.UNSUBSCRIBE)] == [["left"]] * 2)


async def test_a_subscription_made_again_while_away_stays(connected, peer):
    peer.connack = PRESENT
    connector = await connected(peer, **STABLE)
    handle = await connector.subscribe("again", lambda topic, payload: None)
    peer.connack = b""
    peer.cut()
    await eventually(lambda: not connector.stats().connected)
    await handle.unsubscribe()
    subscribing = asyncio.create_task(connector.subscribe("again", lambda topic, payload: None))
    await asyncio.sleep(0)
    peer.connack = PRESENT
    peer.cut()
    await asyncio.wait_for(subscribing, 20)
    assert await settled(lambda: peer.of(wire.UNSUBSCRIBE)) == []
