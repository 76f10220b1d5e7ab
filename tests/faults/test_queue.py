"""What an outage does to a bounded queue: which events survive, and how the loss of the others is told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

import accounts
from cascade.connectors.mqtt import TelemetryPublisher
from waiting import eventually, settled

CAP, ROOM = 1_000, 950
"""``max_queued_events``, and what of it is for ordinary events."""
FLOOD = 3_000


@pytest.fixture
def proxy(mosquitto_broker, new_proxy):
    return new_proxy(mosquitto_broker)


@pytest.fixture
def away(connected, proxy):
    """``await away(**options)``: a connector of a small queue, whose broker is out of reach."""

    async def make(**options: Any) -> Any:
        connector = await connected(proxy, **{"max_queued_events": CAP} | options)
        proxy.closing = True
        proxy.cut()
        await eventually(lambda: not connector.stats().connected)
        return connector

    return make


async def back(connector: Any, proxy: Any) -> None:
    proxy.closing = False
    assert await connector.flush(30) == 0


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize(
    ("on_full", "survivors"), [("drop_oldest", range(FLOOD - ROOM, FLOOD)), ("drop_newest", range(ROOM))]
)
async def test_what_survives(away, proxy, mosquitto_broker, new_observer, prefix, on_full, survivors, qos):
    """The newest, or the oldest; in order, and every other one counted."""
    observer = new_observer(mosquitto_broker, f"{prefix}/#")
    connector = await away(on_full=on_full)
    queued = [connector.publish_nowait(f"{prefix}/a", str(number), qos=qos) for number in range(FLOOD)]
    stats = accounts.check(connector.stats())
    assert stats.queued_events == ROOM
    if on_full == "drop_oldest":
        assert all(queued)
        assert (stats.rejected, stats.dropped) == ({}, {"queue_full": FLOOD - ROOM})
    else:
        assert [number for number, done in enumerate(queued) if done] == list(survivors)
        assert (stats.rejected, stats.dropped) == ({"queue_full": FLOOD - ROOM}, {})
    await back(connector, proxy)
    await eventually(lambda: len(observer.seen) == ROOM)
    assert [int(payload) for payload in observer.payloads] == list(survivors)
    accounts.check(connector.stats())


@pytest.mark.parametrize("qos", [0, 1])
async def test_the_lossless_mode(away, proxy, mosquitto_broker, new_observer, prefix, qos):
    """``on_full="wait"``: ``await publish`` waits the outage out, ``publish_nowait`` says False."""
    observer = new_observer(mosquitto_broker, f"{prefix}/#")
    connector = await away(on_full="wait")
    published = 0

    async def produce() -> None:
        nonlocal published
        for number in range(FLOOD):
            await connector.publish(f"{prefix}/a", str(number), qos=qos)
            published += 1

    producer = asyncio.create_task(produce())
    await eventually(lambda: published == ROOM)
    assert await settled(lambda: published) == ROOM
    assert connector.publish_nowait(f"{prefix}/a", "refused", qos=qos) is False
    proxy.closing = False
    await asyncio.wait_for(producer, 30)
    assert await connector.flush(30) == 0
    await eventually(lambda: len(observer.seen) == FLOOD)
    assert [int(payload) for payload in observer.payloads] == list(range(FLOOD))
    stats = accounts.check(connector.stats())
    assert (stats.rejected, stats.dropped) == ({"queue_full": 1}, {})


@pytest.mark.parametrize("on_full", ["drop_oldest", "drop_newest"])
async def test_what_matters_most_survives(away, proxy, mosquitto_broker, new_observer, prefix, on_full):
    """Retained messages, lifecycle and FAILED events, and what is to be confirmed, before and after all others."""
    observer = new_observer(mosquitto_broker, f"{prefix}/#")
    telemetry_seen = new_observer(mosquitto_broker, f"cascade/telemetry/{prefix}/#")
    connector = await away(on_full=on_full, gap_events=False)
    telemetry = TelemetryPublisher(connector, org_id=prefix)

    def flood() -> None:
        for number in range(FLOOD):
            connector.publish_nowait(f"{prefix}/flood", str(number))

    def matter(number: int) -> asyncio.Task[None]:
        assert connector.publish_nowait(f"{prefix}/retained/{number}", "x", retain=True)
        assert telemetry.lifecycle("ENGINE_STARTED")
        assert telemetry.task_state("t", "n", "FAILED")
        return asyncio.create_task(connector.publish_confirmed(f"{prefix}/confirmed/{number}", "x", timeout=60))

    confirmations = []
    for number in range(10):
        confirmations.append(matter(number))
        await asyncio.sleep(0)
        flood()
    assert accounts.check(connector.stats()).queued_events <= CAP
    await back(connector, proxy)
    await asyncio.gather(*confirmations)
    await eventually(lambda: len(telemetry_seen.seen) == 20)

    def kinds() -> Counter[str]:
        return Counter(topic.split("/")[1] for topic in list(observer.topics))

    await eventually(lambda: (kinds()["retained"], kinds()["confirmed"]) == (10, 10))
    bodies = Counter(message.json["body"]["type"] for message in telemetry_seen.seen)
    assert bodies == {"LifecycleEvent": 10, "TaskStateEvent": 10}
    for number in range(10):
        observer.publish(f"{prefix}/retained/{number}", b"", retain=True)


async def test_identities_over_reconnects(connected, proxy, mosquitto_broker, new_observer, prefix):
    """One epoch, no number twice for two events: what comes twice is the same event, byte for byte."""
    observer = new_observer(mosquitto_broker, f"cascade/telemetry/{prefix}/#")
    connector = await connected(proxy)
    telemetry = TelemetryPublisher(connector, run_id="run", org_id=prefix, qos=1)
    total = 0
    for cuts in range(1, 4):
        for _ in range(500):
            assert telemetry.task_state(f"t-{total}", "n", "RUNNING")
            total += 1
            if total % 20 == 0:
                await asyncio.sleep(0)
        proxy.cut()
        await eventually(lambda cuts=cuts: connector.stats().reconnects == cuts)
    assert await connector.flush(30) == 0
    await eventually(lambda: len(set(observer.payloads)) == total)
    events = [message.json for message in observer.seen]
    assert {(event["source"], event["epoch"]) for event in events} == {(connector.source_id, connector.epoch)}
    assert list(dict.fromkeys(event["seq"] for event in events)) == list(range(total))
    assert all(event["body"]["task_id"] == f"t-{event['seq']}" for event in events)


# --- gap events


class Runs:
    """Two runs of one connector, and what a witness has seen of them."""

    def __init__(self, connector: Any, observer: Any, prefix: str) -> None:
        self._observer = observer
        self.publishers = {
            run: TelemetryPublisher(connector, run_id=run, org_id=prefix, qos=1) for run in ("one", "two")
        }

    def flood(self, events: dict[str, int]) -> None:
        for number in range(max(events.values())):
            for run, count in events.items():
                if number < count:
                    self.publishers[run].task_state("t", "n", "RUNNING")

    def gaps(self) -> list[Any]:
        return [message for message in self._observer.seen if message.json["body"]["type"] == "GapEvent"]

    def lost(self, run: str) -> int:
        """How many numbers of a run are missing below the highest."""
        numbers = {message.json["seq"] for message in self._observer.seen if message.json["run_id"] == run}
        return max(numbers) + 1 - len(numbers)


@pytest.fixture
def watched_runs(away, mosquitto_broker, new_observer, prefix):
    async def make(**options: Any) -> tuple[Any, Runs]:
        observer = new_observer(mosquitto_broker, f"cascade/telemetry/{prefix}/#")
        connector = await away(**options)
        return connector, Runs(connector, observer, prefix)

    return make


@pytest.mark.parametrize("on_full", ["drop_oldest", "drop_newest"])
async def test_one_gap_event_for_each_run_that_lost_events(watched_runs, proxy, prefix, on_full):
    began = time.time()
    connector, runs = await watched_runs(on_full=on_full)
    runs.flood({"one": 2_000, "two": 1_000})
    # Counted, but on a topic of no run.
    for number in range(FLOOD):
        connector.publish_nowait(f"{prefix}/other", str(number), qos=1)
    await back(connector, proxy)
    await eventually(lambda: len(runs.gaps()) == 2)
    assert await settled(lambda: len(runs.gaps()), still_s=1.5) == 2
    # The highest number of each run is that of its gap event: nothing is missing behind it.
    for gap in runs.gaps():
        run, body = gap.json["run_id"], gap.json["body"]
        assert gap.topic == f"cascade/telemetry/{prefix}/default/{run}/events"
        assert (gap.json["source"], gap.json["epoch"]) == (connector.source_id, connector.epoch)
        assert body["lost"] == {"queue_full": runs.lost(run)}
        since, until = (datetime.fromisoformat(body[name]).timestamp() for name in ("since", "until"))
        assert began <= since <= until <= time.time()
    assert {gap.json["run_id"] for gap in runs.gaps()} == {"one", "two"}


async def test_no_gap_event_without_a_loss(watched_runs, proxy):
    connector, runs = await watched_runs()
    runs.flood({"one": 400, "two": 400})
    await back(connector, proxy)
    await eventually(lambda: runs.lost("one") == runs.lost("two") == 0)
    assert await settled(runs.gaps, still_s=1) == []


async def test_no_gap_events_where_they_are_not_wanted(watched_runs, proxy):
    connector, runs = await watched_runs(gap_events=False)
    runs.flood({"one": 2_000})
    assert connector.stats().dropped == {"queue_full": 2_000 - ROOM}
    await back(connector, proxy)
    assert await settled(runs.gaps, still_s=1) == []


async def test_what_the_engine_publishes_itself_is_counted_too(away, proxy, mosquitto_broker, new_observer, prefix):
    """By topic, whoever published there. What is remembered of runs is bounded: 1,000 are told of."""
    observer = new_observer(mosquitto_broker, f"cascade/telemetry/{prefix}/+/+/events")
    connector = await away(max_queued_events=None, max_queued_bytes=4_000_000, on_full="drop_newest")
    while connector.publish_nowait(f"{prefix}/other", "." * 4_000):
        pass
    for number in range(1_200):
        for _ in range(2):
            assert not connector.publish_nowait(f"cascade/telemetry/{prefix}/p/run-{number}/events", {"n": "." * 4_000})
    await back(connector, proxy)
    await eventually(lambda: len(observer.seen) >= 1_000)
    assert await settled(lambda: len(observer.seen), still_s=1.5) == 1_000
    assert len(set(observer.topics)) == 1_000
    assert all(message.json["body"]["lost"] == {"queue_full": 2} for message in observer.seen)


async def test_an_event_that_the_broker_does_not_take_is_told_of(connected, own_mosquitto, new_observer, prefix):
    """A broker that closes on it: the event is dropped, and its run hears of it."""
    broker = own_mosquitto("max_packet_size 2000")
    observer = new_observer(broker, f"cascade/telemetry/{prefix}/#")
    connector = await connected(broker)
    runs = Runs(connector, observer, prefix)
    runs.flood({"one": 20, "two": 20})
    runs.publishers["one"].task_state("t", "n", "RUNNING", metadata={"large": "." * 3_000})
    runs.flood({"one": 20, "two": 20})
    assert await connector.flush(30) == 0
    await eventually(runs.gaps)
    (gap,) = runs.gaps()
    assert (gap.json["run_id"], gap.json["body"]["lost"]) == ("one", {"rejected_by_peer": 1})
    await eventually(lambda: (runs.lost("one"), runs.lost("two")) == (1, 0))
    assert accounts.check(connector.stats()).dropped == {"rejected_by_peer": 1}
