"""Nothing is lost without being counted, and nothing grows past its cap."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

import accounts
import wire
from waiting import eventually, settled

EVENT = {
    "v": "1.0",
    "ts": "2026-01-02T03:04:05.678901+00:00",
    "run_id": "0123456789abcdef",
    "org_id": "local",
    "project_id": "default",
    "source": "worker-17-4242",
    "body": {"type": "TaskStateEvent", "task_id": "t", "task_name": "parse", "state": "RUNNING", "duration_ms": 0.0},
}
CAP = 1_000_000


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("on_full", ["drop_oldest", "drop_newest", "wait"])
async def test_identities_while_the_peer_is_frozen(connected, peer, on_full, qos):
    connector = await connected(peer, on_full=on_full, max_queued_bytes=CAP)
    peer.freeze()
    results = []
    for number in range(30_000):
        results.append(connector.publish_nowait("t", EVENT | {"seq": number}, qos=qos))
        if number % 3_000 == 0:
            assert accounts.check(connector.stats()).queued_bytes <= CAP
            await asyncio.sleep(0)
    stats = accounts.check(connector.stats())
    assert stats.submitted == 30_000
    assert stats.queued_bytes <= CAP
    assert stats.accepted == sum(results)
    if on_full == "drop_oldest" and qos == 0:
        assert all(results)
    if on_full == "drop_oldest":
        assert stats.dropped["queue_full"] > 1_000
    else:
        assert stats.dropped == {}
        assert stats.rejected["queue_full"] > 1_000

    peer.thaw()
    await eventually(lambda: connector.stats().queued_events + connector.stats().in_flight == 0)
    stats = accounts.check(connector.stats())
    arrived = stats.written if qos == 0 else stats.acknowledged
    await eventually(lambda: len(peer.published()) == arrived)
    got = [int(packet.payload.rpartition(b":")[2][:-1]) for packet in peer.published()]
    assert got == sorted(set(got))
    if on_full == "drop_oldest":
        assert got[-1] == 29_999
    else:
        assert got == [number for number, queued in enumerate(results) if queued]


@pytest.mark.parametrize("on_full", ["drop_oldest", "drop_newest", "wait"])
async def test_max_queued_events(connected, peer, on_full):
    connector = await connected(peer, on_full=on_full, max_queued_events=100, max_inflight_messages=10)
    peer.puback = False
    for number in range(1_000):
        connector.publish_nowait("t", str(number), qos=1)
    stats = accounts.check(connector.stats())
    assert stats.queued_events <= 100
    refused = stats.dropped if on_full == "drop_oldest" else stats.rejected
    assert refused["queue_full"] >= 890


async def test_wait_waits_for_room(connected, peer):
    """The lossless mode: ``await publish`` waits, ``publish_nowait`` returns False."""
    peer.puback = False
    connector = await connected(peer, on_full="wait", max_queued_events=20, max_inflight_messages=10)
    published = 0

    async def produce() -> None:
        nonlocal published
        for number in range(200):
            await connector.publish("t", str(number), qos=1)
            published += 1

    producer = asyncio.create_task(produce())
    assert await settled(lambda: published) <= 30
    assert not producer.done()
    assert connector.publish_nowait("t", "x", qos=1) is False
    peer.puback = True
    peer.cut()
    await asyncio.wait_for(producer, 30)
    await eventually(lambda: connector.stats().acknowledged == 200)
    stats = accounts.check(connector.stats())
    assert stats.dropped == {}
    assert set(packet.payload for packet in peer.published()) == {b"%d" % number for number in range(200)}


async def test_a_waiting_publish_ends_with_disconnect(connected, peer):
    peer.puback = False
    connector = await connected(peer, on_full="wait", max_queued_events=1, max_inflight_messages=1)
    connector.publish_nowait("t", "in flight", qos=1)
    await eventually(lambda: connector.stats().in_flight)
    connector.publish_nowait("t", "queued", qos=1)
    waiting = asyncio.create_task(connector.publish("t", "waits", qos=1))
    await settled(lambda: peer.published())
    await connector.disconnect(timeout=0.2)
    await asyncio.wait_for(waiting, 10)
    accounts.check(connector.stats())


async def test_a_waiting_publish_can_be_cancelled(connected, peer):
    peer.puback = False
    connector = await connected(peer, on_full="wait", max_queued_events=1, max_inflight_messages=1)
    connector.publish_nowait("t", "in flight", qos=1)
    await eventually(lambda: connector.stats().in_flight)
    connector.publish_nowait("t", "queued", qos=1)
    waiting = asyncio.create_task(connector.publish("t", "waits", qos=1))
    await settled(lambda: waiting.done())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    accounts.check(connector.stats())


async def test_a_flood_at_a_frozen_broker_stays_within_the_caps(connected, peer, backend):
    """A million calls: none raises, memory grows by no more than the cap."""
    calls = 1_000_000
    cap = 64 * 1024 * 1024 if backend == "native" else 16 * 1024 * 1024
    connector = await connected(peer, max_queued_bytes=cap)
    peer.freeze()
    for _ in range(1_000):
        connector.publish_nowait("t", EVENT)
    before = _resident_bytes()
    for _ in range(calls):
        connector.publish_nowait("t", EVENT)
    stats = accounts.check(connector.stats())
    assert stats.submitted == calls + 1_000
    assert stats.queued_bytes <= cap
    assert stats.dropped["queue_full"] > 0
    # The allowance is for the allocator and for the test's own objects, not for events.
    assert _resident_bytes() - before <= cap + 16 * 1024 * 1024


async def test_what_disconnect_gives_up_is_counted(connected, peer):
    connector = await connected(peer)
    peer.freeze()
    for _ in range(50_000):
        connector.publish_nowait("t", EVENT)
        connector.publish_nowait("t", EVENT, qos=1)
    await connector.disconnect(timeout=0.2)
    stats = accounts.check(connector.stats())
    assert stats.queued_events == stats.in_flight == 0
    assert stats.dropped["closed"] > 0


async def test_snapshots_are_consistent_under_load(connected, peer):
    connector = await connected(peer)
    done = asyncio.Event()

    def look() -> int:
        looks = 0
        while not done.is_set():
            accounts.check(connector.stats())
            looks += 1
        return looks

    watcher = asyncio.create_task(asyncio.to_thread(look))
    for number in range(20_000):
        connector.publish_nowait("t", EVENT, qos=number % 2)
        if number % 500 == 0:
            await asyncio.sleep(0)
    assert await connector.flush(30) == 0
    done.set()
    assert await watcher > 10


async def test_a_flush_ends_when_all_that_it_waits_for_is_dropped(connected, peer):
    connector = await connected(peer, max_queued_events=10)
    peer.connack = b""
    peer.cut()
    await eventually(lambda: not connector.stats().connected)
    for _ in range(5):
        connector.publish_nowait("t", EVENT)
    flush = asyncio.create_task(connector.flush(60))
    await asyncio.sleep(0)
    for _ in range(20):
        connector.publish_nowait("t", EVENT)
    assert await asyncio.wait_for(flush, 20) == 0
    assert accounts.check(connector.stats()).dropped["queue_full"] >= 15


@pytest.mark.every_loop
async def test_flush_covers_what_was_accepted_before_it(connected, peer):
    connector = await connected(peer)
    assert await connector.flush(1) == 0
    peer.puback = False
    for _ in range(5):
        connector.publish_nowait("t", "x", qos=1)
    assert await connector.flush(0.2) == 5
    flushing = asyncio.create_task(connector.flush(30))
    await eventually(lambda: len(peer.published()) == 5)
    await asyncio.sleep(0)
    connector.publish_nowait("t", "later", qos=1)
    for packet in peer.published()[:5]:
        peer.send(wire.acknowledge(wire.PUBACK, packet.packet_id))
    assert await flushing == 0
    assert connector.stats().in_flight == 1


async def test_the_age_of_the_oldest_event(connected, peer):
    peer.puback = False
    connector = await connected(peer, max_inflight_messages=1)
    assert connector.stats().oldest_queued_s == 0.0
    connector.publish_nowait("t", "sent", qos=1)
    connector.publish_nowait("t", "waits", qos=1)
    await eventually(lambda: connector.stats().oldest_queued_s > 0.05)
    assert connector.stats().oldest_queued_s < 60


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("on_full", ["drop_oldest", "drop_newest", "wait"])
async def test_what_an_empty_queue_could_not_hold_is_too_large(connected, peer, on_full):
    """Refused at once: no wait for room that cannot come, and nothing else dropped for it."""
    connector = await connected(peer, on_full=on_full, max_queued_bytes=50_000, max_message_bytes=1_000_000)
    await connector.publish("a/small", "x")
    await connector.publish("a/large", "x" * 60_000)
    assert accounts.check(connector.stats()).rejected == {"too_large": 1}
    assert not connector.stats().dropped


async def test_an_episode_of_dropping_is_two_lines(connected, peer, caplog):
    """Its beginning, and its end with how many; more of the same is told together: never a line an event."""
    connector = await connected(peer, max_queued_bytes=200_000)
    peer.freeze()
    while connector.stats().dropped.get("queue_full", 0) < 1_000:
        for _ in range(100):
            connector.publish_nowait("a/b", EVENT, qos=1)
        await asyncio.sleep(0)
    peer.thaw()
    assert await connector.flush(20) == 0
    await connector.disconnect()
    lines = [line for line in caplog.messages if "dropped" in line]
    assert lines[0] == "the outbound queue is full: its oldest events are dropped"
    told = [int(match[1]) for line in lines if (match := re.search(r"(\d+) (?:more )?events were dropped", line))]
    assert sum(told) == connector.stats().dropped["queue_full"]
    assert len(lines) <= 3
