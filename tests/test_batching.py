"""Wire batching, outbound: what goes together, when a batch is closed, and that events are what is counted."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accounts
import wire
from batched import MAGIC, array, events
from cascade.connectors.mqtt import BatchOptions, ConfirmationError, MqttConnector, TelemetryPublisher
from fake_peer import FakePeer
from waiting import eventually, eventually_blocking

# Closed by other things than time, unless a test is about it.
PATIENT = 30.0


def batch(**options: Any) -> BatchOptions:
    return BatchOptions(**{"linger": PATIENT, **options})


# --- options


WRONG = [
    ("max_events", 0, ValueError),
    ("max_events", 65_536, ValueError),
    ("max_events", True, TypeError),
    ("max_events", 2.0, TypeError),
    ("max_bytes", 1, ValueError),
    ("max_bytes", 16 * 1024 * 1024 + 1, ValueError),
    ("linger", -0.001, ValueError),
    ("linger", float("nan"), ValueError),
    ("linger", "1", TypeError),
    ("compression", "gzip", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), WRONG)
def test_wrong_options_are_named(name, value, error):
    with pytest.raises(error, match=rf"^batch\.{name} must be"):
        BatchOptions(**{name: value})


def test_what_is_no_batch_options_is_refused(backend):
    for value in (True, 256, {"max_events": 7}):
        with pytest.raises(TypeError, match=r"^batch must be BatchOptions"):
            MqttConnector("127.0.0.1", backend=backend, batch=value)


async def test_an_operator_turns_it_on(connected, peer, monkeypatch):
    monkeypatch.setenv("CASCADE_MQTT_BATCH", "max_events=2,linger=30,compression=zstd")
    connector = await connected(peer)
    for number in range(2):
        connector.publish_nowait("a", {"number": number, "text": "again and again " * 9}, qos=1)
    await eventually(lambda: peer.published())
    (packet,) = peer.published()
    assert packet.payload.startswith(MAGIC)
    assert [event["number"] for event in array(packet.payload)] == [0, 1]


@pytest.mark.parametrize("text", ["often", "max_events=0", "max_events", "linger=soon", "compression=gzip", "size=3"])
def test_a_wrong_variable_is_named(monkeypatch, text):
    monkeypatch.setenv("CASCADE_MQTT_BATCH", text)
    with pytest.raises(ValueError, match="CASCADE_MQTT_BATCH"):
        MqttConnector("127.0.0.1")


@pytest.mark.parametrize("backend", ["python"])
def test_compression_without_the_extra_is_said_at_once(monkeypatch, backend):
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"batch\.compression='zstd'.*cascade-connector-mqtt\[zstd\]"):
        MqttConnector("127.0.0.1", backend=backend, batch=BatchOptions(compression="zstd"))
    MqttConnector("127.0.0.1", backend=backend, batch=BatchOptions())


# --- what goes together


async def test_a_batch_is_the_array_of_what_would_have_been_sent(connected, peer):
    payloads = [{"n": 1, "ü": "日本 🚀"}, [1, 2.5, None], (True,), 7, 2.5, False, {"nested": {"deep": [[]]}}, {}]
    connector = await connected(peer, batch=batch(max_events=len(payloads)))
    for payload in payloads:
        assert connector.publish_nowait("a/b", payload, qos=1)
    await eventually(lambda: connector.stats().acknowledged == len(payloads))
    (packet,) = peer.published()
    assert (packet.topic, packet.qos, packet.retain) == ("a/b/@batch", 1, False)
    joined = ",".join(json.dumps(payload, ensure_ascii=False, separators=(",", ":")) for payload in payloads)
    assert packet.payload == f"[{joined}]".encode()


async def test_it_is_closed_by_count_and_by_bytes(connected, peer):
    connector = await connected(peer, batch=batch(max_events=3, max_bytes=20))
    for payload in (1, 2, 3, 4, "x"):
        connector.publish_nowait("a", payload, qos=1)
    # With two brackets and a comma, 9 and 9 digits are 21 bytes, 9 and 8 are 20.
    for payload in (123_456_789, 223_456_789, 12_345_678, 22_345_678, 10**40, 5, 6):
        connector.publish_nowait("a", payload, qos=1)
    assert await connector.flush(20) == 0
    assert [packet.payload for packet in peer.published()] == [
        b"[1,2,3]",
        b"[4]",
        b"x",
        b"[123456789]",
        b"[223456789,12345678]",
        b"[22345678]",
        b"[%d]" % 10**40,
        b"[5,6]",
    ]


@pytest.mark.parametrize("linger", [0, 0.02])
async def test_it_is_closed_by_time(connected, peer, linger):
    connector = await connected(peer, batch=BatchOptions(linger=linger))
    for number in range(3):
        for qos in (0, 1):
            connector.publish_nowait("a", number, qos=qos)
        await eventually(
            lambda number=number: connector.stats().acknowledged == connector.stats().written == number + 1
        )
    assert sorted((packet.qos, packet.payload) for packet in peer.published()) == [
        (qos, b"[%d]" % number) for qos in (0, 1) for number in range(3)
    ]


CLOSERS = {
    "another topic": ("b", [2], 1, False, "b/@batch", b"[[2]]"),
    "another qos": ("a", 2, 2, False, "a/@batch", b"[2]"),
    "text": ("a", "2", 1, False, "a", b"2"),
    "bytes": ("a", b"2", 1, False, "a", b"2"),
    "an empty payload": ("a", None, 1, False, "a", b""),
    "a retained message": ("a", {"n": 2}, 1, True, "a", b'{"n":2}'),
    "a topic that is one of batches": ("a/@batch", {"n": 2}, 1, False, "a/@batch", b'{"n":2}'),
    "a topic that has no room": ("x" * 65_529, {"n": 2}, 1, False, "x" * 65_529, b'{"n":2}'),
}


@pytest.mark.parametrize("name", CLOSERS)
async def test_what_goes_alone_goes_behind_what_was_open(connected, peer, name):
    topic, payload, qos, retain, sent_to, sent = CLOSERS[name]
    connector = await connected(peer, batch=batch())
    connector.publish_nowait("a", 1, qos=1)
    connector.publish_nowait(topic, payload, qos=qos, retain=retain)
    connector.publish_nowait("a", 3, qos=1)
    assert await connector.flush(20) == 0
    got = [(packet.topic, packet.payload, packet.qos, packet.retain) for packet in peer.published()]
    assert got == [("a/@batch", b"[1]", 1, False), (sent_to, sent, qos, retain), ("a/@batch", b"[3]", 1, False)]


async def test_the_longest_topic_that_has_room_is_batched(connected, peer):
    connector = await connected(peer, batch=batch())
    connector.publish_nowait("x" * 65_528, 1, qos=1)
    assert await connector.flush(20) == 0
    assert [packet.topic for packet in peer.published()] == ["x" * 65_528 + "/@batch"]


async def test_each_lane_has_one_that_is_open(connected, peer):
    """QoS 0 in between does not close a batch of QoS 1: MQTT keeps no order over the two."""
    connector = await connected(peer, batch=batch(max_events=3))
    for number in range(6):
        connector.publish_nowait("a", number, qos=number % 2)
    await eventually(lambda: len(peer.published()) == 2)
    assert sorted((packet.qos, packet.payload) for packet in peer.published()) == [(0, b"[0,2,4]"), (1, b"[1,3,5]")]


async def test_priority_and_confirmation_go_alone(connected, peer):
    connector = await connected(peer, batch=batch())
    telemetry = TelemetryPublisher(connector, run_id="r", qos=1)
    telemetry.task_state("t", "t", "RUNNING")
    telemetry.task_state("t", "t", "FAILED")
    telemetry.task_state("u", "u", "RUNNING")
    connector.publish_nowait("a", 1, qos=1)
    await connector.publish_confirmed("a", 2)
    connector.publish_nowait("a", 3, qos=1)
    await connector.disconnect()
    assert accounts.check(connector.stats()).acknowledged == 6
    packets = peer.published()
    assert [packet.topic.endswith("/@batch") for packet in packets] == [True, False, True, True, False, True]
    assert [array(packet.payload) for packet in packets[3::2]] == [[1], [3]]


async def test_what_the_connector_says_of_itself_goes_alone(connected, peer):
    """Presence is retained; heartbeats have readers of their own."""
    await connected(peer, presence=True, heartbeat=0.02, source_id="me", batch=batch())
    await eventually(lambda: len(peer.published()) >= 3)
    said = {packet.topic: packet.payload for packet in peer.published()}
    assert said.keys() == {"cascade/status/me", "cascade/stats/me"}
    assert json.loads(said["cascade/stats/me"])["source"] == "me"


async def test_disconnect_does_not_wait_for_more(connected, peer):
    connector = await connected(peer, batch=batch())
    for qos in (0, 1):
        connector.publish_nowait("a", qos, qos=qos)
    await connector.disconnect(timeout=20)
    stats = accounts.check(connector.stats())
    assert (stats.written, stats.acknowledged) == (1, 1)
    await eventually(lambda: sorted(packet.payload for packet in peer.published()) == [b"[0]", b"[1]"])


EXITS = """
import asyncio
from cascade.connectors.mqtt import BatchOptions, MqttConnector

async def main():
    connector = MqttConnector("127.0.0.1", {port}, backend={backend!r}, batch=BatchOptions(linger=60))
    await connector.connect()
    for qos in (0, 1):
        connector.publish_nowait("a", qos, qos=qos)

asyncio.run(main())
"""


def test_an_exit_sends_what_is_open(backend, peer):
    subprocess.run([sys.executable, "-c", EXITS.format(port=peer.port, backend=backend)], check=True, timeout=60)
    eventually_blocking(lambda: sorted(packet.payload for packet in peer.published()) == [b"[0]", b"[1]"])


async def test_four_threads_fill_the_same_batches(connected, peer):
    connector = await connected(peer, on_full="wait", batch=BatchOptions(max_events=30, linger=0.001))

    def publish(thread: int) -> None:
        for number in range(1_000):
            assert connector.publish_nowait("a", [thread, number], qos=number % 2)

    await asyncio.gather(*(asyncio.to_thread(publish, thread) for thread in range(4)))
    assert await connector.flush(30) == 0
    stats = accounts.check(connector.stats())
    assert (stats.written, stats.acknowledged) == (2_000, 2_000)
    await eventually(lambda: len(events(peer.published())) == 4_000)
    for qos in (0, 1):
        found = [tuple(event.payload) for event in events(peer.published(qos=qos))]
        for thread in range(4):
            assert [number for of, number in found if of == thread] == list(range(qos, 1_000, 2))


# --- compression


@pytest.mark.parametrize("qos", [0, 1])
async def test_compressed_it_is_much_smaller_and_counts_what_it_takes(connected, peer, qos):
    peer.puback = False
    connector = await connected(peer, batch=batch(compression="zstd", max_events=200))
    telemetry = TelemetryPublisher(connector, run_id="r", qos=qos)
    for number in range(200):
        telemetry.task_state(f"task-{number}", "extract", "RUNNING")
    await eventually(lambda: peer.published())
    (packet,) = peer.published()
    plain = json.dumps(array(packet.payload), ensure_ascii=False, separators=(",", ":")).encode()
    assert len(array(packet.payload)) == 200
    assert len(packet.payload) < 0.15 * len(plain)
    if qos:
        assert connector.stats().in_flight == 200
        assert connector.stats().queued_bytes < 0.5 * len(plain)


# --- one event is one event


async def test_replayed_as_it_was(connected, peer):
    """The same bytes, DUP 1, before anything new; in flight are events, bounded are messages (section 4.4)."""
    peer.puback = False
    options = {"compression": "zstd", "max_events": 50}
    connector = await connected(
        peer, clean_session=False, identifier="stable", max_inflight_messages=2, batch=batch(**options)
    )
    for number in range(150):
        connector.publish_nowait("a", {"number": number, "text": "x" * 50}, qos=1)
    await eventually(lambda: len(peer.published()) == 2)
    stats = accounts.check(connector.stats())
    assert (stats.in_flight, stats.queued_events) == (100, 50)
    peer.connack = b"\x01\x00"
    peer.puback = True
    peer.cut()
    await eventually(lambda: connector.stats().acknowledged == 150)
    first, again, new = peer.published()[:2], peer.published()[2:4], peer.published()[4:]
    assert [packet.body for packet in again] == [packet.body for packet in first]
    assert [packet.dup for packet in again] == [True, True]
    assert [event.payload["number"] for event in events([*first, *new])] == list(range(150))
    accounts.check(connector.stats())


@pytest.fixture
async def offline(new_connector, peer) -> Any:
    """Makes connectors whose peer does not answer CONNECT, until ``answered``."""
    peer.connack = b""

    async def make(**options: Any) -> MqttConnector:
        connector = new_connector(peer, first_connect="background", connect_timeout=0.2, **options)
        await connector.connect()
        return connector

    return make


def answered(peer: FakePeer) -> None:
    # In this order: a connection that is made in between goes on for its time-out, and is not cut when it has sent.
    peer.cut()
    peer.connack = b"\x00\x00"


async def test_the_oldest_batch_gives_way_whole(offline, peer):
    connector = await offline(max_queued_events=100, batch=batch(max_events=20))
    for number in range(150):
        assert connector.publish_nowait("a", number, qos=1)
    stats = accounts.check(connector.stats())
    dropped = stats.dropped["queue_full"]
    assert dropped % 20 == 0
    assert 50 <= dropped <= 80
    assert stats.queued_events == 150 - dropped
    answered(peer)
    assert await connector.flush(20) == 0
    assert [event.payload for event in events(peer.published())] == list(range(dropped, 150))


@pytest.mark.parametrize("on_full", ["drop_newest", "wait"])
async def test_what_is_over_the_cap_is_refused_one_by_one(offline, peer, on_full):
    connector = await offline(max_queued_events=100, on_full=on_full, batch=batch(max_events=20))
    queued = [connector.publish_nowait("a", number, qos=1) for number in range(150)]
    stats = accounts.check(connector.stats())
    assert queued == [True] * 95 + [False] * 55, "the last twentieth is for what matters most"
    assert (stats.accepted, stats.rejected) == (95, {"queue_full": 55})
    answered(peer)
    assert await connector.flush(20) == 0
    assert [event.payload for event in events(peer.published())] == list(range(95))


async def test_waiting_loses_nothing(offline, peer):
    connector = await offline(max_queued_events=40, on_full="wait", batch=BatchOptions(max_events=16))

    async def publish_all() -> None:
        for number in range(400):
            await connector.publish("a", number, qos=1)

    publishing = asyncio.create_task(publish_all())
    await eventually(lambda: connector.stats().queued_events == 38)
    answered(peer)
    await asyncio.wait_for(publishing, 60)
    assert await connector.flush(20) == 0
    stats = accounts.check(connector.stats())
    assert (stats.submitted, stats.acknowledged) == (400, 400)
    assert [event.payload for event in events(peer.published())] == list(range(400))


async def test_memory_is_bounded(offline, peer):
    cap = 200_000
    connector = await offline(max_queued_bytes=cap, batch=batch())
    for number in range(5_000):
        connector.publish_nowait("a", {"number": number, "text": "x" * 200}, qos=number % 2)
        if number % 100 == 0:
            assert accounts.check(connector.stats()).queued_bytes <= cap
    assert connector.stats().dropped["queue_full"] > 3_000
    answered(peer)
    assert await connector.flush(20) == 0
    stats = accounts.check(connector.stats())
    for qos, arrived in ((0, stats.written), (1, stats.acknowledged)):
        numbers = [event.payload["number"] for event in events(peer.published(qos=qos))]
        assert len(numbers) == arrived
        assert numbers == sorted(set(numbers))


async def test_a_gap_counts_events(offline, peer):
    connector = await offline(max_queued_events=50, batch=batch(max_events=10))
    telemetry = TelemetryPublisher(connector, run_id="r")
    for number in range(100):
        telemetry.task_state(f"t{number}", "t", "RUNNING")
    dropped = connector.stats().dropped["queue_full"]
    answered(peer)
    await eventually(lambda: any(b"GapEvent" in packet.payload for packet in peer.published()))
    (gap,) = [json.loads(packet.payload) for packet in peer.published() if b"GapEvent" in packet.payload]
    assert gap["body"]["lost"] == {"queue_full": dropped}


async def test_a_flush_covers_the_open_batch_and_counts_its_events(connected, peer):
    peer.puback = False
    connector = await connected(peer, batch=batch())
    for number in range(7):
        connector.publish_nowait("a", number, qos=1)
    assert await connector.flush(0.3) == 7
    flushing = asyncio.create_task(connector.flush(20))
    await asyncio.sleep(0)
    connector.publish_nowait("a", 7, qos=1)
    peer.send(wire.acknowledge(wire.PUBACK, peer.published()[0].packet_id))
    assert await flushing == 0
    assert connector.stats().acknowledged == 7


async def test_what_is_not_sent_in_time_is_counted_as_its_events(offline):
    connector = await offline(batch=batch(max_events=4))
    for number in range(10):
        connector.publish_nowait("a", number, qos=number % 2)
    with pytest.raises(ConfirmationError):
        await connector.publish_confirmed("a", 10, timeout=0.1)
    await connector.disconnect(timeout=0.1)
    stats = accounts.check(connector.stats())
    assert stats.dropped == {"closed": 10, "expired": 1}
    assert (stats.queued_events, stats.in_flight, stats.queued_bytes) == (0, 0, 0)


async def test_the_age_of_the_oldest_event_counts_the_open_batch(connected, peer):
    connector = await connected(peer, batch=batch())
    connector.publish_nowait("a", 1)
    await eventually(lambda: connector.stats().oldest_queued_s > 0.05)
    assert connector.stats().queued_events == 1
    assert peer.published() == []


KINDS = st.sampled_from(["batched", "text", "retained"])
EVENTS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), KINDS, st.integers(0, 40)), max_size=60)
LIMITS = {
    "max_events": st.integers(1, 9),
    "max_bytes": st.sampled_from([20, 100, 65_536]),
    "linger": st.sampled_from([0, PATIENT]),
    "compression": st.sampled_from([None, "zstd"]),
}


@pytest.mark.parametrize("backend", ["native", "python"])
@settings(max_examples=30)
@given(
    before=EVENTS,
    after=EVENTS,
    limits=st.fixed_dictionaries(LIMITS),
    cap=st.one_of(st.none(), st.integers(10, 50)),
    on_full=st.sampled_from(["drop_oldest", "drop_newest", "wait"]),
)
def test_the_account_holds_for_each_event(backend, before, after, limits, cap, on_full):
    """Published without a connection and with one: each event is in one place, and arrives once, in order."""
    options = {"batch": BatchOptions(**limits), "max_queued_events": cap, "on_full": on_full}
    with FakePeer() as peer:
        peer.connack = b""
        connector = MqttConnector(
            peer.host,
            peer.port,
            backend=backend,
            first_connect="background",
            connect_timeout=0.2,
            reconnect_max_delay=0.1,
            **options,
        )
        connector.open(timeout=0)
        accepted: list[tuple[str, int, int]] = []
        for number, (topic, qos, kind, size) in enumerate([*before, *after]):
            if number == len(before):
                answered(peer)
            event = {"n": number, "x": "x" * size}
            payload = json.dumps(event) if kind == "text" else event
            if connector.publish_nowait(topic, payload, qos, kind == "retained"):
                accepted.append((topic, qos, number))
            stats = accounts.check(connector.stats())
            assert cap is None or stats.queued_events <= cap
        if not peer.connack:
            answered(peer)
        assert connector.flush(20) == 0
        stats = accounts.check(connector.stats())
        connector.close()
        assert (stats.submitted, stats.accepted) == (len(before) + len(after), len(accepted))
        arrived = [(topic, qos, _number(payload)) for topic, payload, qos in events(peer.published())]
        assert stats.written + stats.acknowledged == len(arrived) == len(set(arrived))
        assert sum(stats.dropped.values()) == len(accepted) - len(arrived)
        for lane in {one[:2] for one in accepted}:
            found = [number for *where, number in arrived if tuple(where) == lane]
            assert found == [number for *where, number in accepted if tuple(where) == lane and number in set(found)]


def _number(payload: Any) -> int:
    return int((json.loads(payload) if isinstance(payload, bytes) else payload)["n"])
