"""Wire batching, inbound: single events out of batches, through brokers and between the backends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import wire
from batched import SUFFIX, array, zstd
from cascade.connectors.mqtt import BatchOptions, Message
from fake_peer import FakePeer
from waiting import eventually, settled

EVENTS = 600
# How what is published differs: QoS, compression.
WAYS = [(0, None), (1, "zstd"), (2, None)]


@pytest.mark.parametrize(("qos", "compression"), WAYS)
async def test_from_one_process_to_another(new_connector, broker, backend, reader, prefix, qos, compression):
    """Whichever backend is at either end: the events of a dict a call, and what goes alone in between."""
    got: list[Any] = []
    options = BatchOptions(max_events=50, compression=compression)
    publisher, subscriber = new_connector(broker, batch=options), new_connector(broker, backend=reader)
    await asyncio.gather(publisher.connect(), subscriber.connect())
    topic = f"{prefix}/a/events"
    await subscriber.subscribe(
        f"{prefix}/+/events", lambda topic, payload: got.append((topic, payload)), qos=qos, batches=True
    )
    for number in range(EVENTS):
        assert publisher.publish_nowait(topic, {"number": number, "text": "ü" * (number % 7)}, qos)
        if number % 100 == 42:
            assert publisher.publish_nowait(topic, str(number), qos)
    assert await publisher.flush(30) == 0
    await eventually(lambda: len(got) == EVENTS + 6)
    together = [payload for _, payload in got if type(payload) is dict]
    assert together == [{"number": number, "text": "ü" * (number % 7)} for number in range(EVENTS)]
    alone = [payload for _, payload in got if type(payload) is int]
    assert alone == [42, 142, 242, 342, 442, 542]
    assert {topic for topic, _ in got} == {topic}
    assert subscriber.stats().received == EVENTS + 6
    assert not subscriber.stats().inbox_dropped


async def test_in_order_with_what_goes_alone(connected, mosquitto_broker, prefix):
    """Where the broker keeps the order over a topic and that of its batches."""
    got: list[Any] = []
    connector = await connected(mosquitto_broker, batch=BatchOptions(max_events=7))
    await connector.subscribe(f"{prefix}/a", lambda topic, payload: got.append(payload), batches=True)
    for number in range(500):
        connector.publish_nowait(f"{prefix}/a", str(number) if number % 10 == 3 else number, qos=1)
        if number % 100 == 50:
            await connector.publish_confirmed(f"{prefix}/a", -number)
    await eventually(lambda: len(got) == 505)
    wanted = [[number, -number] if number % 100 == 50 else [number] for number in range(500)]
    assert got == [number for some in wanted for number in some]


async def test_who_does_not_ask_sees_none(connected, broker, prefix):
    """An exact filter does not match a batch, and # gets it as it is."""
    exact: list[Any] = []
    everything: list[Any] = []
    connector = await connected(broker, batch=BatchOptions(max_events=3, linger=30))
    await connector.subscribe(f"{prefix}/a", lambda topic, payload: exact.append(payload))
    await connector.subscribe(f"{prefix}/b/#", lambda topic, payload: everything.append((topic, payload)))
    for name in "ab":
        for number in range(3):
            connector.publish_nowait(f"{prefix}/{name}", number, qos=1)
    await eventually(lambda: everything)
    assert everything == [(f"{prefix}/b/@batch", [0, 1, 2])]
    assert exact == []


async def test_the_iterator(connected, broker, prefix):
    connector = await connected(broker, batch=BatchOptions(max_events=3, compression="zstd"))
    async with connector.messages(f"{prefix}/#", qos=1, batches=True) as messages:
        for number in range(6):
            connector.publish_nowait(f"{prefix}/a", number, qos=1)
        connector.publish_nowait(f"{prefix}/b", "text", qos=1)
        got = [await anext(messages) for _ in range(6)]
    assert got == [Message(f"{prefix}/a", number, 1, False) for number in range(6)]


# --- what is subscribed to


@pytest.mark.parametrize(
    ("topic_filter", "filters"),
    [
        ("a/b", {"a/b", "a/b/@batch"}),
        ("a/+", {"a/+", "a/+/@batch"}),
        ("$share/g/a", {"$share/g/a", "$share/g/a/@batch"}),
        ("a/#", {"a/#"}),
        ("#", {"#"}),
        ("a/@batch", {"a/@batch"}),
    ],
)
async def test_the_filter_of_the_batches_is_subscribed_to(connected, peer, topic_filter, filters):
    """By a SUBSCRIBE of its own, on each connection; both end with the subscription."""
    connector = await connected(peer)
    handle = await connector.subscribe(topic_filter, print, batches=True)
    for connection in (1, 2):
        asked = [packet.filters for packet in peer.of(wire.SUBSCRIBE)]
        assert sorted(asked) == sorted([topic_filter] for topic_filter in filters for _ in range(connection))
        if connection == 1:
            peer.cut()
            await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 2 * len(filters))
    await eventually(lambda: connector.stats().connected)
    await asyncio.wait_for(handle.unsubscribe(), 10)
    assert {packet.filters[0] for packet in peer.of(wire.UNSUBSCRIBE)} == filters


async def test_a_filter_lives_as_long_as_somebody_wants_it(connected, peer):
    connector = await connected(peer)
    both = await connector.subscribe("a", print, batches=True)
    plain = await connector.subscribe("a", print)
    await both.unsubscribe()
    assert [packet.filters for packet in peer.of(wire.UNSUBSCRIBE)] == [["a/@batch"]]
    await plain.unsubscribe()
    assert [packet.filters for packet in peer.of(wire.UNSUBSCRIBE)] == [["a/@batch"], ["a"]]


class WithoutBatches(FakePeer):
    """Refuses what ends in /@batch."""

    def answer(self, packet: wire.Packet) -> bytes:
        if packet.kind == wire.SUBSCRIBE and packet.filters[0].endswith(SUFFIX):
            return wire.acknowledge(wire.SUBACK, packet.packet_id, b"\x80")
        return super().answer(packet)


@pytest.fixture
def without_batches() -> Iterator[FakePeer]:
    with WithoutBatches() as peer:
        yield peer


async def test_batches_refused_alone_leave_the_rest(connected, without_batches, caplog):
    """An access list that does not know of them: said once, and what goes alone still comes."""
    peer = without_batches
    got: list[Any] = []
    connector = await connected(peer, strict=True)
    handle = await connector.subscribe("a", lambda topic, payload: got.append(payload), batches=True)
    peer.send(wire.publish("a", b"1"))
    await eventually(lambda: got == [1])
    peer.cut()
    await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 4)
    await eventually(lambda: connector.stats().connected)
    peer.send(wire.publish("a", b"2"))
    await eventually(lambda: got == [1, 2])
    lines = [line for line in caplog.messages if "refused" in line]
    assert len(lines) == 1
    assert "a/@batch" in lines[0]
    await asyncio.wait_for(handle.unsubscribe(), 10)


# --- what comes


def batch_of(*events: bytes) -> bytes:
    return b"[" + b",".join(events) + b"]"


async def test_a_batch_goes_where_its_events_would(connected, peer):
    """``a/+`` matches the topic ``a/@batch``, whose events are those of ``a``, which it does not match."""
    got: list[tuple[str, str, Any]] = []
    connector = await connected(peer)
    for topic_filter in ("a", "a/+", "a/#", "+/@batch"):
        for batches in (True, False):
            name = f"{topic_filter} {batches}"
            await connector.subscribe(topic_filter, lambda *what, name=name: got.append((name, *what)), batches=batches)
    peer.send(wire.publish("a/@batch", batch_of(b"1", b"2")) + wire.publish("a", b'"end"'))
    ends = [(f"{topic_filter} {batches}", "a", "end") for topic_filter in ("a", "a/#") for batches in (True, False)]
    single = [(name, "a", number) for name in ("a True", "a/# True", "+/@batch True") for number in (1, 2)]
    whole = [(name, "a/@batch", [1, 2]) for name in ("a/+ False", "a/# False", "+/@batch False")]
    await eventually(lambda: len(got) >= len([*ends, *single, *whole]))
    assert sorted(got, key=str) == sorted([*ends, *single, *whole], key=str)


async def test_a_retained_batch_is_through_when_subscribe_returns(connected, peer):
    peer.retained = {"a": b"0", "a/@batch": batch_of(b"1", b"2", b"3")}
    got: list[Any] = []

    async def slow(topic: str, payload: int) -> None:
        await asyncio.sleep(0)
        got.append(payload)

    connector = await connected(peer)
    await connector.subscribe("a", slow, batches=True)
    assert sorted(got) == [0, 1, 2, 3]


async def test_the_decoding_that_was_asked_for(connected, peer):
    got: dict[str, list[Any]] = {"json": [], "text": [], "bytes": []}
    connector = await connected(peer)
    for decode, into in got.items():
        await connector.subscribe(
            "a", lambda topic, payload, into=into: into.append(payload), decode=decode, batches=True
        )
    peer.send(wire.publish("a/@batch", batch_of(b'"\xc3\xbc"', b'"\xff"', b'{"n": 1}')))
    await eventually(lambda: len(got["bytes"]) == 3)
    await eventually(lambda: connector.stats().inbox_dropped == {"not_utf8": 2})
    await eventually(lambda: len(got["json"]) == len(got["text"]) == 2)
    assert got == {
        "json": ["ü", {"n": 1}],
        "text": ['"ü"', '{"n": 1}'],
        "bytes": [b'"\xc3\xbc"', b'"\xff"', b'{"n": 1}'],
    }


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_stuck_consumer_and_batches(connected, peer, qos):
    """Its queue takes a batch whole or not at all; what is dropped counts as its events, and the rest goes on."""
    release, got = asyncio.Event(), []

    async def stuck(topic: str, payload: int) -> None:
        await release.wait()
        got.append(payload)

    connector = await connected(peer, max_inbox_messages=100)
    await connector.subscribe("a", stuck, batches=True)
    for number in range(100):
        events = [b"%d" % (10 * number + place) for place in range(10)]
        peer.send(wire.publish("a/@batch", batch_of(*events), qos=qos, packet_id=number + 1))
    connector.publish_nowait("t", "x", qos=1)
    await eventually(lambda: connector.stats().acknowledged == 1)
    release.set()
    await eventually(lambda: len(got) + connector.stats().inbox_dropped.get("inbox_full", 0) == 1_000)
    assert connector.stats().received == len(got)
    assert got == sorted(got)
    assert len(got) % 10 == 0
    if qos:
        assert len(got) == 1_000
        await eventually(lambda: len(peer.of(wire.PUBACK)) == 100)


async def test_the_next_one_waits_for_a_slow_callback(connected, peer):
    """Batches of thousands, and a queue of fewer: reading is held up, nothing is lost."""
    count = 0

    async def slow(topic: str, payload: int) -> None:
        nonlocal count
        assert payload == count
        count += 1
        if count % 500 == 0:
            await asyncio.sleep(0.001)

    connector = await connected(peer, max_inbox_messages=1_000)
    await connector.subscribe("a", slow, batches=True)
    for number in range(10):
        events = [b"%d" % (3_000 * number + place) for place in range(3_000)]
        peer.send(wire.publish("a/@batch", zstd.compress(batch_of(*events))))
    await eventually(lambda: count == 30_000)
    assert not connector.stats().inbox_dropped


# --- MQTT 5, which the fallback alone speaks


@pytest.mark.parametrize("backend", ["python"])
@pytest.mark.parametrize("compression", [None, "zstd"])
async def test_mqtt_5_says_what_it_is(connected, mosquitto_broker, prefix, compression, backend):
    import paho.mqtt.client as paho

    seen: list[Any] = []
    options = {"max_events": 200, "linger": 30.0, "compression": compression}
    connector = await connected(mosquitto_broker, protocol="5", batch=BatchOptions(**options))
    observer = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    observer.on_message = lambda _client, _data, message: seen.append(message)
    ready: list[int] = []
    observer.on_subscribe = lambda *_: ready.append(1)
    observer.on_connect = lambda *_: observer.subscribe(f"{prefix}/#", 1)
    observer.connect(mosquitto_broker.host, mosquitto_broker.port)
    observer.loop_start()
    try:
        await eventually(lambda: ready)
        got: list[Any] = []
        await connector.subscribe(f"{prefix}/a", lambda topic, payload: got.append(payload), batches=True)
        for number in range(200):
            connector.publish_nowait(f"{prefix}/a", {"number": number}, qos=1)
        await eventually(lambda: seen)
        assert seen[0].properties.ContentType == f"application/{compression or 'json'}"
        assert [event["number"] for event in array(seen[0].payload)] == list(range(200))
        await eventually(lambda: [event["number"] for event in got] == list(range(200)))
    finally:
        observer.disconnect()
        observer.loop_stop()


async def test_nothing_of_it_costs_who_does_not_use_it(connected, peer):
    """Without the option, and without ``batches``, the wire is as it was."""
    connector = await connected(peer)
    await connector.subscribe("a", print)
    connector.publish_nowait("a", {"n": 1}, qos=1)
    await eventually(lambda: connector.stats().acknowledged == 1)
    await settled(lambda: len(peer.packets))
    assert [packet.filters for packet in peer.of(wire.SUBSCRIBE)] == [["a"]]
    assert [(packet.topic, packet.payload) for packet in peer.published()] == [("a", b'{"n":1}')]
