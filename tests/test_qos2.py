"""Exactly once: the four-way handshake of QoS 2 in both directions (MQTT 3.1.1 section 4.3.3)."""

from __future__ import annotations

import asyncio
import random

import pytest

import accounts
import wire
from cascade.connectors.mqtt import ConfirmationError, MqttConnector
from fake_peer import FakePeer
from hostile.resident import Resident
from waiting import eventually, settled

ABSENT, PRESENT = b"\x00\x00", b"\x01\x00"
"""CONNACK without and with the session present."""
STABLE = {"clean_session": False, "identifier": "stable"}


def publish_numbers(connector: MqttConnector, topic: str, count: int) -> None:
    for number in range(count):
        assert connector.publish_nowait(topic, {"n": number}, qos=2)


def numbers_of(peer: FakePeer) -> list[int]:
    return [int(packet.payload) for packet in peer.published(qos=2)]


# --- outbound, to real brokers


async def test_each_arrives_once_and_in_order(connected, broker, new_observer, prefix):
    """Arrivals are counted, not acknowledgements: a broker may complete handshakes and deliver nothing."""
    observer = new_observer(broker, f"{prefix}/#", qos=2)
    connector = await connected(broker)
    publish_numbers(connector, f"{prefix}/a", 2_000)
    assert await connector.flush(30) == 0
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.uncertain, stats.in_flight) == (2_000, 0, 0)
    await eventually(lambda: len(observer.seen) >= 2_000)
    assert [message.json["n"] for message in observer.seen] == list(range(2_000))
    assert {message.qos for message in observer.seen} == {2}


@pytest.mark.parametrize(
    ("kind", "from_broker"),
    [(wire.PUBLISH, False), (wire.PUBREC, True), (wire.PUBREL, False), (wire.PUBCOMP, True)],
    ids=["PUBLISH", "PUBREC", "PUBREL", "PUBCOMP"],
)
async def test_cut_at_each_point_of_the_handshake(
    connected, mosquitto_broker, new_proxy, new_observer, prefix, kind, from_broker
):
    observer = new_observer(mosquitto_broker, f"{prefix}/#", qos=2)
    proxy = new_proxy(mosquitto_broker)
    connector = await connected(proxy, clean_session=False, identifier=prefix)
    for cut in range(3):
        proxy.cut_inside(kind, from_broker=from_broker)
        publish_numbers(connector, f"{prefix}/{cut}", 100)
        await eventually(lambda cut=cut: connector.stats().reconnects == cut + 1)
        assert await connector.flush(20) == 0
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.uncertain) == (300, 0)
    await eventually(lambda: len(observer.seen) >= 300)
    assert [message.json["n"] for message in observer.seen] == [*range(100)] * 3
    assert await settled(lambda: len(observer.seen)) == 300


@pytest.mark.parametrize("withheld", [wire.PUBREC, wire.PUBCOMP], ids=["PUBREC", "PUBCOMP"])
async def test_answers_that_do_not_come(connected, mosquitto_broker, new_proxy, new_observer, prefix, withheld):
    observer = new_observer(mosquitto_broker, f"{prefix}/#", qos=2)
    proxy = new_proxy(mosquitto_broker)
    connector = await connected(proxy, clean_session=False, identifier=prefix)
    proxy.withheld.add(withheld)
    publish_numbers(connector, f"{prefix}/a", 50)
    await eventually(lambda: len(proxy.packets(wire.PUBLISH, from_broker=False)) == 20)
    assert accounts.check(connector.stats()).in_flight == 20
    proxy.withheld.clear()
    proxy.cut()
    assert await connector.flush(20) == 0
    await eventually(lambda: len(observer.seen) >= 50)
    assert await settled(lambda: [message.json["n"] for message in observer.seen]) == list(range(50))


# --- outbound, packet by packet


async def test_the_handshake(connected, peer):
    connector = await connected(peer)
    connector.publish_nowait("t", "x", qos=2)
    await eventually(lambda: connector.stats().acknowledged == 1)
    [published], [released] = peer.published(), peer.of(wire.PUBREL)
    assert (published.qos, published.dup) == (2, False)
    assert released.packet_id == published.packet_id
    assert released.flags == 2  # section 3.6.1


async def test_at_most_20_on_their_way(connected, peer):
    """An identifier is in use until PUBCOMP."""
    peer.pubrec = False
    connector = await connected(peer)
    for number in range(50):
        connector.publish_nowait("t", str(number), qos=2)
    await eventually(lambda: len(peer.published()) == 20)
    assert await settled(lambda: len(peer.published())) == 20
    peer.pubrec, peer.pubcomp = True, False
    for packet in peer.published():
        peer.send(wire.acknowledge(wire.PUBREC, packet.packet_id))
    await eventually(lambda: len(peer.of(wire.PUBREL)) == 20)
    assert await settled(lambda: len(peer.published())) == 20
    stats = accounts.check(connector.stats())
    assert (stats.in_flight, stats.queued_events, stats.acknowledged) == (20, 30, 0)
    peer.pubcomp = True
    peer.send(wire.acknowledge(wire.PUBCOMP, peer.published()[0].packet_id))
    await eventually(lambda: len(peer.published()) > 20)
    for packet in peer.published()[1:20]:
        peer.send(wire.acknowledge(wire.PUBCOMP, packet.packet_id))
    await eventually(lambda: connector.stats().acknowledged == 50)
    assert numbers_of(peer) == list(range(50))


async def test_the_window_is_an_option(connected, peer):
    peer.pubrec = False
    connector = await connected(peer, max_inflight_qos2=3)
    for number in range(10):
        connector.publish_nowait("t", str(number), qos=2)
    await eventually(lambda: len(peer.published()) == 3)
    assert await settled(lambda: len(peer.published())) == 3


async def test_qos_1_and_2_keep_their_order(connected, peer):
    """They share a lane: what waits for the window of QoS 2 holds back what comes behind it."""
    peer.pubrec = False
    connector = await connected(peer, max_inflight_qos2=1)
    for number, qos in enumerate([1, 2, 2, 1]):
        connector.publish_nowait("t", str(number), qos=qos)
    await eventually(lambda: len(peer.published()) == 2)
    assert await settled(lambda: len(peer.published())) == 2
    peer.pubrec = True
    peer.send(wire.acknowledge(wire.PUBREC, peer.published(qos=2)[0].packet_id))
    await eventually(lambda: connector.stats().acknowledged == 4)
    assert [packet.payload for packet in peer.published()] == [b"0", b"1", b"2", b"3"]


async def test_pubrec_gives_the_memory_back(connected, peer):
    peer.pubrec = peer.pubcomp = False
    connector = await connected(peer)
    for _ in range(20):
        connector.publish_nowait("t", bytes(100_000), qos=2)
    await eventually(lambda: len(peer.published()) == 20)
    assert connector.stats().queued_bytes >= 2_000_000
    for packet in peer.published():
        peer.send(wire.acknowledge(wire.PUBREC, packet.packet_id))
    await eventually(lambda: connector.stats().queued_bytes < 50_000)
    assert accounts.check(connector.stats()).in_flight == 20


async def test_what_is_not_known_is_answered_and_counts_once(connected, peer):
    connector = await connected(peer)
    connector.publish_nowait("t", "x", qos=2)
    await eventually(lambda: connector.stats().acknowledged == 1)
    packet_id = peer.published()[0].packet_id
    peer.pubcomp = False
    for kind in (wire.PUBREC, wire.PUBCOMP):
        peer.send(wire.acknowledge(kind, packet_id) + wire.acknowledge(kind, 4_321))
    await eventually(lambda: [packet.packet_id for packet in peer.of(wire.PUBREL)] == [packet_id, packet_id, 4_321])
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.in_flight, stats.reconnects) == (1, 0, 0)


@pytest.mark.parametrize(("qos", "answer"), [(2, wire.PUBACK), (1, wire.PUBREC)])
async def test_the_answer_of_another_qos_ends_the_connection(connected, peer, qos, answer):
    peer.puback = peer.pubrec = False
    connector = await connected(peer)
    connector.publish_nowait("t", "x", qos=qos)
    await eventually(lambda: peer.published())
    peer.puback = peer.pubrec = True
    peer.send(wire.acknowledge(answer, peer.published()[0].packet_id))
    await eventually(lambda: connector.stats().acknowledged == 1)
    stats = accounts.check(connector.stats())
    assert stats.reconnects == 1
    assert f"of a QoS {qos} message" in str(stats.last_error)


# --- outbound, over a cut


async def test_before_pubrec_with_a_session_it_is_sent_again_as_it_was(connected, peer):
    peer.pubrec = False
    connector = await connected(peer, **STABLE)
    for number in range(3):
        connector.publish_nowait("t", str(number), qos=2)
    await eventually(lambda: len(peer.published()) == 3)
    peer.connack, peer.pubrec = PRESENT, True
    peer.cut()
    await eventually(lambda: connector.stats().acknowledged == 3)
    first, again = peer.published()[:3], peer.published()[3:]
    assert [packet.packet_id for packet in again] == [packet.packet_id for packet in first]
    assert [packet.payload for packet in again] == [b"0", b"1", b"2"]
    assert all(packet.dup for packet in again)


async def test_before_pubrec_without_a_session_it_is_sent_again_as_new(connected, peer):
    peer.pubrec = False
    connector = await connected(peer)
    for number in range(3):
        connector.publish_nowait("t", str(number), qos=2)
    await eventually(lambda: len(peer.published()) == 3)
    peer.pubrec = True
    peer.cut()
    connector.publish_nowait("t", "3", qos=2)
    await eventually(lambda: connector.stats().acknowledged == 4)
    again = peer.published()[3:]
    assert [packet.payload for packet in again] == [b"0", b"1", b"2", b"3"]
    assert not any(packet.dup for packet in again)
    assert connector.stats().uncertain == 0


async def test_before_pubcomp_with_a_session_it_is_pubrel_before_anything_new(connected, peer):
    peer.pubcomp = False
    connector = await connected(peer, **STABLE)
    for number in range(3):
        connector.publish_nowait("t", str(number), qos=2)
    await eventually(lambda: len(peer.of(wire.PUBREL)) == 3)
    peer.connack, peer.pubcomp = PRESENT, True
    peer.cut()
    connector.publish_nowait("t", "new", qos=2)
    await eventually(lambda: connector.stats().acknowledged == 4)
    ids = [packet.packet_id for packet in peer.published()[:3]]
    assert [packet.packet_id for packet in peer.of(wire.PUBREL)[3:6]] == ids
    assert [packet.payload for packet in peer.published()] == [b"0", b"1", b"2", b"new"]
    place = [packet.kind for packet in peer.packets].index(wire.CONNECT, 1)
    assert [packet.kind for packet in peer.packets[place + 1 : place + 5]] == [wire.PUBREL] * 3 + [wire.PUBLISH]
    assert accounts.check(connector.stats()).uncertain == 0


async def test_before_pubcomp_without_a_session_it_is_uncertain(connected, peer):
    """The broker had it, and may or may not have passed it on: to send it again could be twice."""
    peer.pubcomp = False
    connector = await connected(peer)
    call = asyncio.create_task(connector.publish_confirmed("t", "x", qos=2, timeout=60))
    await eventually(lambda: len(peer.of(wire.PUBREL)) == 1)
    peer.cut()
    await asyncio.wait_for(call, 20)
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.uncertain, stats.in_flight) == (1, 1, 0)
    assert await settled(lambda: len(peer.published())) == 1


# --- publish_confirmed


async def test_confirmed(connected, broker, new_observer, prefix):
    observer = new_observer(broker, f"{prefix}/#", qos=2)
    connector = await connected(broker)
    await connector.publish_confirmed(f"{prefix}/a", {"n": 1}, qos=2)
    assert connector.stats().acknowledged == 1
    await eventually(lambda: observer.payloads == [b'{"n":1}'])


async def test_confirmed_in_flight_may_still_arrive(connected, peer):
    peer.pubcomp = False
    connector = await connected(peer)
    with pytest.raises(ConfirmationError) as failure:
        await connector.publish_confirmed("t", "x", qos=2, timeout=0.3)
    assert failure.value.may_arrive
    peer.send(wire.acknowledge(wire.PUBCOMP, peer.published()[0].packet_id))
    await eventually(lambda: connector.stats().acknowledged == 1)
    accounts.check(connector.stats())


# --- inbound


async def test_inbound_arrives_once_and_in_order(connected, broker, new_observer, prefix):
    connector = await connected(broker)
    async with connector.messages(f"{prefix}/#", qos=2) as messages:
        speaker = new_observer(broker)
        for number in range(300):
            speaker.publish(f"{prefix}/a", str(number), qos=2)
        got = [await asyncio.wait_for(anext(messages), 20) for _ in range(300)]
    assert [message.payload for message in got] == list(range(300))
    assert {message.qos for message in got} == {2}


async def test_inbound_cut_at_each_point_of_the_handshake(connected, mosquitto_broker, new_proxy, new_observer, prefix):
    proxy, got = new_proxy(mosquitto_broker), []
    connector = await connected(proxy, clean_session=False, identifier=prefix)
    await connector.subscribe(f"{prefix}/#", lambda topic, payload: got.append(payload), qos=2)
    speaker = new_observer(mosquitto_broker)
    points = [(wire.PUBLISH, True), (wire.PUBREC, False), (wire.PUBREL, True), (wire.PUBCOMP, False)]
    for cut, (kind, from_broker) in enumerate(points):
        proxy.cut_inside(kind, from_broker=from_broker)
        for number in range(50):
            # One after another: mosquitto loses messages of a speaker that has more than 20 on their way.
            speaker.publish(f"{prefix}/a", str(50 * cut + number), qos=2)
        await eventually(lambda cut=cut: connector.stats().reconnects == cut + 1)
        await eventually(lambda cut=cut: len(got) >= 50 * (cut + 1))
    assert await settled(lambda: sorted(got)) == list(range(200))


async def test_a_repeated_publish_is_answered_and_not_delivered_again(connected, peer):
    got: list[object] = []
    connector = await connected(peer)
    await connector.subscribe("in", lambda topic, payload: got.append(payload), qos=2)
    peer.pubcomp = False
    message = wire.publish("in", b"1", qos=2, packet_id=7)
    peer.send(message + wire.publish("in", b"1", qos=2, dup=True, packet_id=7))
    await eventually(lambda: [packet.packet_id for packet in peer.of(wire.PUBREC)] == [7, 7])
    peer.send(wire.acknowledge(wire.PUBREL, 7))
    await eventually(lambda: [packet.packet_id for packet in peer.of(wire.PUBCOMP)] == [7])
    peer.send(wire.publish("in", b"2", qos=2, packet_id=7))
    await eventually(lambda: got == [1, 2])


async def test_an_unknown_pubrel_is_answered(connected, peer):
    connector = await connected(peer)
    peer.send(wire.acknowledge(wire.PUBREL, 99))
    await eventually(lambda: [packet.packet_id for packet in peer.of(wire.PUBCOMP)] == [99])
    assert connector.stats().reconnects == 0


@pytest.mark.parametrize(("connack", "delivered"), [(PRESENT, [1]), (ABSENT, [1, 1])], ids=["present", "absent"])
async def test_what_was_handed_over_is_remembered_with_the_session(connected, peer, connack, delivered):
    got: list[object] = []
    connector = await connected(peer, **STABLE)
    await connector.subscribe("in", lambda topic, payload: got.append(payload), qos=2)
    peer.send(wire.publish("in", b"1", qos=2, packet_id=7))
    await eventually(lambda: len(peer.of(wire.PUBREC)) == 1)
    peer.connack = connack
    # Right behind CONNACK, as brokers do that resume a session.
    peer.greeting = wire.publish("in", b"1", qos=2, dup=True, packet_id=7)
    peer.cut()
    await eventually(lambda: len(peer.of(wire.PUBREC)) == 2)
    await eventually(lambda: connector.stats().reconnects == 1)
    assert await settled(lambda: got) == delivered


async def test_pubrec_waits_for_a_stuck_consumer(connected, peer):
    release, got = asyncio.Event(), []

    async def stuck(topic: str, payload: bytes) -> None:
        got.append(payload)
        await release.wait()

    connector = await connected(peer, max_inbox_bytes=20_000)
    await connector.subscribe("in", stuck, qos=2, decode="bytes")
    for packet_id in range(1, 31):
        peer.send(wire.publish("in", bytes(1_000), qos=2, packet_id=packet_id))
    # Reading goes on, for the sake of others.
    connector.publish_nowait("t", "x", qos=1)
    await eventually(lambda: connector.stats().acknowledged == 1)
    answered = await settled(lambda: [packet.packet_id for packet in peer.of(wire.PUBREC)])
    assert 0 < len(answered) < 30
    release.set()
    await eventually(lambda: [packet.packet_id for packet in peer.of(wire.PUBREC)] == list(range(1, 31)))
    await eventually(lambda: len(got) == 30)


async def test_65535_open_deliveries_cost_their_ids_alone(connected, peer):
    """Method B of section 4.3.3: a message is handed over at once, and its identifier remembered."""
    count = 0

    def tally(topic: str, payload: bytes) -> None:
        nonlocal count
        count += 1

    connector = await connected(peer)
    await connector.subscribe("in", tally, qos=2, decode="bytes")
    payload, resident = bytes(2_000), Resident()
    for first in range(1, 65_536, 3_855):
        ids = range(first, first + 3_855)
        peer.send(b"".join(wire.publish("in", payload, qos=2, packet_id=packet_id) for packet_id in ids))
        await eventually(lambda first=first: count == first + 3_854)
    await eventually(lambda: len(peer.of(wire.PUBREC)) == 65_535, 30)
    # The messages were 131 MB; most of what is left is the peer's notes of 65,535 PUBRECs.
    assert resident.grown_at_most() < 60_000_000
    peer.send(wire.publish("in", payload, qos=2, dup=True, packet_id=40_000) + wire.publish("in", b"last"))
    await eventually(lambda: count == 65_536)
    peer.send(b"".join(wire.acknowledge(wire.PUBREL, packet_id) for packet_id in range(1, 65_536)))
    await eventually(lambda: len(peer.of(wire.PUBCOMP)) == 65_535, 30)
    assert count == 65_536


# --- both ways at once


@pytest.mark.parametrize("seed", range(2))
async def test_cut_anywhere_while_both_ways_are_busy(
    connected, mosquitto_broker, new_proxy, new_observer, prefix, seed
):
    chance = random.Random(seed)
    observer = new_observer(mosquitto_broker, f"{prefix}/out", qos=2)
    speaker, proxy, got = new_observer(mosquitto_broker), new_proxy(mosquitto_broker), []
    connector = await connected(proxy, clean_session=False, identifier=prefix)
    await connector.subscribe(f"{prefix}/in", lambda topic, payload: got.append(payload), qos=2)
    handshake = [wire.PUBLISH, wire.PUBREC, wire.PUBREL, wire.PUBCOMP]
    for cut in range(8):
        proxy.cut_inside(chance.choice(handshake), from_broker=chance.random() < 0.5)
        for number in range(40 * cut, 40 * cut + 40):
            connector.publish_nowait(f"{prefix}/out", {"n": number}, qos=2)
            speaker.publish(f"{prefix}/in", str(number), qos=2)
        await eventually(lambda cut=cut: connector.stats().reconnects > cut)
        # Whatever is alone on its way at every cut would be taken for their cause.
        assert await connector.flush(20) == 0
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.uncertain) == (320, 0)
    await eventually(lambda: len(observer.seen) >= 320)
    await eventually(lambda: len(got) >= 320)
    assert await settled(lambda: [message.json["n"] for message in observer.seen]) == list(range(320))
    assert await settled(lambda: got) == list(range(320))


# --- MQTT 5, by the fallback


@pytest.fixture
def connected_5(connected, peer):
    """``await connected_5(receive_maximum)``: MQTT 5 to the fake peer."""

    async def make(receive_maximum: int = 65_535) -> MqttConnector:
        # CONNACK with Receive Maximum (MQTT 5.0 section 3.2.2.3.3).
        peer.connack = b"\x00\x00\x03\x21" + receive_maximum.to_bytes(2, "big")
        connector: MqttConnector = await connected(peer, protocol="5", backend="python")
        return connector

    return make


async def test_a_refusal_in_pubrec_ends_the_handshake(connected_5, peer):
    peer.pubrec = False
    connector = await connected_5()
    for _ in range(2):
        connector.publish_nowait("t", "x", qos=2)
    await eventually(lambda: len(peer.published()) == 2)
    first, second = (packet.packet_id for packet in peer.published())
    # 0x97, quota exceeded; 0x10, no matching subscribers, is a success (MQTT 5.0 section 3.5.2.1).
    peer.send(wire.acknowledge(wire.PUBREC, first, b"\x97\x00") + wire.acknowledge(wire.PUBREC, second, b"\x10\x00"))
    await eventually(lambda: connector.stats().in_flight == 0)
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, dict(stats.dropped)) == (1, {"rejected_by_peer": 1})
    assert [packet.packet_id for packet in peer.of(wire.PUBREL)] == [second]


async def test_a_broker_without_qos_2_is_not_sent_any(connected, peer):
    """Maximum QoS in CONNACK (MQTT 5.0 section 3.2.2.3.4)."""
    peer.connack = b"\x00\x00\x02\x24\x01"
    connector = await connected(peer, protocol="5", backend="python")
    for qos in (2, 1):
        connector.publish_nowait("t", "x", qos=qos)
    await eventually(lambda: connector.stats().acknowledged == 1)
    assert [packet.qos for packet in peer.published()] == [1]
    assert dict(accounts.check(connector.stats()).dropped) == {"rejected_by_peer": 1}


async def test_receive_maximum_counts_qos_1_and_2_alike(connected_5, peer):
    peer.puback = peer.pubrec = False
    connector = await connected_5(5)
    for number in range(20):
        connector.publish_nowait("t", str(number), qos=1 + number % 2)
    await eventually(lambda: len(peer.published()) == 5)
    assert await settled(lambda: len(peer.published())) == 5
    peer.puback = peer.pubrec = True
    for packet in peer.published():
        peer.send(wire.acknowledge(wire.PUBACK if packet.qos == 1 else wire.PUBREC, packet.packet_id))
    await eventually(lambda: connector.stats().acknowledged == 20)
    accounts.check(connector.stats())
