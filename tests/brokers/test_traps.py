"""What brokers do that clients trip over, imitated where no broker at hand does it; docs/brokers.md lists them all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import accounts
import wire
from cascade.connectors.mqtt import MqttConnector
from fake_peer import FakePeer
from waiting import eventually, settled
from wire import Packet

CLOSE = b""


class Imitation(FakePeer):
    """Answers as the test's function says: bytes, ``CLOSE``, or None for what a fake peer answers otherwise."""

    def __init__(self, answer: Callable[[Packet], bytes | None]) -> None:
        self._way = answer
        super().__init__()

    def answer(self, packet: Packet) -> bytes:
        answer = self._way(packet)
        if answer == CLOSE:
            raise ConnectionAbortedError
        return super().answer(packet) if answer is None else answer


@pytest.fixture
def imitation() -> Iterator[Callable[..., Imitation]]:
    made: list[Imitation] = []

    def make(answer: Callable[[Packet], bytes | None]) -> Imitation:
        made.append(Imitation(answer))
        return made[-1]

    yield make
    for peer in made:
        peer.stop()


@pytest.fixture
async def by_the_fallback() -> AsyncIterator[Callable[..., Any]]:
    """``await by_the_fallback(peer, protocol=...)``: MQTT 5 is its alone."""
    made: list[MqttConnector] = []

    async def make(peer: FakePeer, **options: Any) -> MqttConnector:
        made.append(MqttConnector(peer.host, peer.port, backend="python", reconnect_max_delay=0.3, **options))
        await made[-1].connect()
        return made[-1]

    yield make
    for connector in made:
        await connector.disconnect(timeout=0.2)


# --- MQTT 5


REFUSALS = {
    "return-code-1": wire.encode(wire.CONNACK, 0, b"\x00\x01"),
    "3-bytes": wire.encode(wire.CONNACK, 0, b"\x00\x84\x00"),
    "3-bytes-and-code-1": wire.encode(wire.CONNACK, 0, b"\x00\x01\x00"),
    "2-bytes": wire.encode(wire.CONNACK, 0, b"\x00\x84"),
    "accepted-as-3.1.1": wire.encode(wire.CONNACK, 0, b"\x00\x00"),
    "closed": CLOSE,
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_mqtt_5_is_refused_in_many_ways(by_the_fallback, imitation, refusal):
    """``auto`` goes on with 3.1.1, at once, and stays with it."""
    peer = imitation(lambda packet: refusal if _version(packet) == 5 else None)
    connector = await by_the_fallback(peer, protocol="auto")
    assert connector.stats().protocol == "3.1.1"
    await connector.publish_confirmed("t", "x")
    peer.cut()
    await eventually(lambda: connector.stats().reconnects == 1)
    assert [_version(packet) for packet in peer.of(wire.CONNECT)] == [5, 4, 4]


async def test_a_broker_that_is_not_there_is_no_reason_for_another_version(by_the_fallback, imitation):
    """What refuses the credentials, or is busy, knows MQTT 5."""
    codes = [0x88, 0x00]
    peer = imitation(
        lambda packet: wire.encode(wire.CONNACK, 0, bytes([0, codes.pop(0), 0])) if _version(packet) == 5 else None
    )
    connector = await by_the_fallback(peer, protocol="auto")
    assert connector.stats().protocol == "5"


async def test_a_maximum_packet_size_above_what_mqtt_can_say(by_the_fallback, imitation):
    """268,435,456, one more than the largest remaining length (MQTT 5.0 section 2.1.4), is announced and harmless."""
    connack = wire.encode(wire.CONNACK, 0, b"\x00\x00\x05\x27" + (268_435_456).to_bytes(4, "big"))
    peer = imitation(lambda packet: connack if packet.kind == wire.CONNECT else None)
    connector = await by_the_fallback(peer, protocol="5")
    await connector.publish_confirmed("t", bytes(500_000))
    assert len(peer.published()) == 1


async def test_a_receive_maximum_that_is_enforced(by_the_fallback, imitation):
    """11 messages under way end the connection (MQTT 5.0 section 4.9); acknowledgements come when 10 are."""
    under_way: list[int] = []

    def strict(packet: Packet) -> bytes | None:
        if packet.kind == wire.CONNECT:
            return wire.encode(wire.CONNACK, 0, b"\x00\x00\x03\x21\x00\x0a")
        if packet.kind != wire.PUBLISH:
            return None
        under_way.append(packet.packet_id)
        if len(under_way) > 10:
            return CLOSE
        if len(under_way) < 10:
            return wire.encode(wire.PINGRESP)
        answer = b"".join(wire.acknowledge(wire.PUBACK, packet_id) for packet_id in under_way)
        under_way.clear()
        return answer

    peer = imitation(strict)
    connector = await by_the_fallback(peer, protocol="5")
    for number in range(100):
        connector.publish_nowait("t", str(number), qos=1)
    assert await connector.flush(20) == 0
    # In MQTT 5 properties precede the payload: none, one byte.
    assert [packet.payload[1:] for packet in peer.published()] == [b"%d" % number for number in range(100)]
    assert accounts.check(connector.stats()).reconnects == 0


async def test_nobody_subscribed_is_a_success(by_the_fallback, imitation):
    """PUBACK 0x10 (MQTT 5.0 section 3.4.2.1)."""
    answers = {wire.CONNECT: wire.encode(wire.CONNACK, 0, b"\x00\x00\x00")}
    peer = imitation(
        lambda packet: (
            wire.acknowledge(wire.PUBACK, packet.packet_id, b"\x10")
            if packet.kind == wire.PUBLISH
            else answers.get(packet.kind)
        )
    )
    connector = await by_the_fallback(peer, protocol="5")
    await connector.publish_confirmed("t", "x")
    assert accounts.check(connector.stats()).acknowledged == 1


# --- 3.1.1


async def test_disconnect_in_3_1_1(connected, peer):
    """No broker may send it (section 3.14); at a takeover some do, and it is not called a malformed packet."""
    connector = await connected(peer)
    peer.send(wire.encode(wire.DISCONNECT))
    await eventually(lambda: connector.stats().reconnects == 1)
    assert "another client uses this identifier" in str(connector.stats().last_error)


async def test_nothing_is_sent_before_connack(new_connector, peer):
    """Section 3.1.4 allows it; brokers drop it."""
    peer.connack = b""
    got: list[Any] = []
    connector = new_connector(peer)
    await connector.subscribe("in", lambda topic, payload: got.append(payload))
    attempt = asyncio.create_task(connector.connect())
    await eventually(lambda: peer.of(wire.CONNECT))
    for qos in (0, 1, 2):
        assert connector.publish_nowait("out", "x", qos=qos)
    assert await settled(lambda: [packet.kind for packet in peer.packets]) == [wire.CONNECT]
    peer.send(wire.encode(wire.CONNACK, 0, b"\x00\x00"))
    await attempt
    await eventually(lambda: len(peer.published()) == 3 and peer.of(wire.SUBSCRIBE))


@pytest.mark.parametrize("identifier", [None, ""])
async def test_the_identifier_is_never_empty(connected, peer, identifier):
    """Section 3.1.3.1 allows an empty one; brokers refuse it."""
    await connected(peer, identifier=identifier)
    (packet,) = peer.of(wire.CONNECT)
    assert int.from_bytes(packet.body[10:12], "big") > 0


async def test_qos_2_granted_as_1(connected, peer):
    """Section 3.8.4 lets a broker grant less: messages then come at QoS 1, at least once."""
    peer.granted = 1
    got: list[Any] = []
    connector = await connected(peer)
    await connector.subscribe("t", lambda topic, payload: got.append(payload), qos=2)
    peer.send(wire.publish("t", b"1", qos=1, packet_id=7))
    await eventually(lambda: got == [1])
    await eventually(lambda: [packet.packet_id for packet in peer.of(wire.PUBACK)] == [7])


async def test_a_shared_subscription_that_never_delivers(connected, peer):
    """A broker that takes ``$share/g/t`` for a plain filter: granted, and nothing matches it."""
    connector = await connected(peer)
    got: list[Any] = []
    await asyncio.wait_for(connector.subscribe("$share/g/t", lambda topic, payload: got.append(payload)), 10)
    assert peer.of(wire.SUBSCRIBE)[0].filters == ["$share/g/t"]
    assert connector.stats().connected


async def test_the_retained_flag_is_lost(connected, imitation):
    """The message is delivered all the same, once, before subscribe() returns."""

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == wire.SUBSCRIBE:
            return wire.acknowledge(wire.SUBACK, packet.packet_id, b"\x01") + wire.publish("kept", b"1")
        return None

    got: list[Any] = []
    connector = await connected(imitation(answer))
    await connector.subscribe("kept", lambda topic, payload: got.append(payload))
    assert await settled(lambda: got) == [1]


@pytest.mark.parametrize("pingresp", [True, False])
async def test_retained_messages_do_not_match_wildcards(connected, peer, pingresp):
    """Nothing comes: subscribe() returns when PINGRESP does, or after its bound."""
    peer.retained = {"kept/a": b"1"}
    peer.pingresp = pingresp
    connector = await connected(peer, retained_timeout=0.3)
    got: list[Any] = []
    await asyncio.wait_for(connector.subscribe("kept/+", lambda topic, payload: got.append(payload)), 10)
    assert got == []


async def test_what_comes_out_of_order_is_handed_on_as_it_comes(connected, peer):
    """The queue of a session, shuffled: all of it, acknowledged in the order of arrival (section 4.6)."""
    peer.connack = b"\x01\x00"
    got: list[Any] = []
    connector = await connected(peer, clean_session=False, identifier="stable")
    await connector.subscribe("t", lambda topic, payload: got.append(payload))
    order = [3, 1, 2]
    peer.send(b"".join(wire.publish("t", b"%d" % number, qos=1, packet_id=number) for number in order))
    await eventually(lambda: got == order)
    await eventually(lambda: [packet.packet_id for packet in peer.of(wire.PUBACK)] == order)


async def test_redelivered_without_dup(connected, peer):
    """QoS 1 is at least once: it is handed over again, as with DUP. QoS 2 is told by its identifier, not by DUP."""
    peer.connack = b"\x01\x00"
    got: list[Any] = []
    connector = await connected(peer, clean_session=False, identifier="stable")
    await connector.subscribe("t", lambda topic, payload: got.append(payload), qos=2)
    both = wire.publish("t", b"1", qos=1, packet_id=1) + wire.publish("t", b"2", qos=2, packet_id=2)
    for times in (1, 2):
        peer.send(both)
        await eventually(lambda times=times: len(peer.of(wire.PUBREC)) == times)
        peer.cut()
        await eventually(lambda times=times: connector.stats().reconnects == times)
    assert await settled(lambda: got) == [1, 2, 1]


def _version(packet: Packet) -> int:
    """The protocol level of a CONNECT (section 3.1.2.2); 0 of others."""
    return packet.body[6] if packet.kind == wire.CONNECT else 0
