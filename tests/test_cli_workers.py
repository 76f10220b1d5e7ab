"""``cascade-mqtt workers`` against real workers, and the wills of some that have crashed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cascade.connectors.mqtt import MqttConnector, TelemetryPublisher
from cascade.connectors.mqtt.cli.durations import duration
from cascade.connectors.mqtt.cli.roster import Roster
from commands import in_this_process
from waiting import eventually


@asynccontextmanager
async def publishing(connector: MqttConnector) -> AsyncIterator[None]:
    """Tell of a task again and again, as a worker does."""

    async def tell() -> None:
        telemetry = TelemetryPublisher(connector)
        while True:
            telemetry.task_state("t-1", "build", "RUNNING")
            await asyncio.sleep(0.01)

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()


@pytest.fixture
def crash(broker: Any, prefix: str, new_observer: Callable[..., Any]) -> Any:
    """Leaves the retained will of a worker that has crashed; returns its topic."""
    observer = new_observer(broker)
    left: list[str] = []

    def leave(name: str, **will: Any) -> str:
        left.append(f"cascade/status/{prefix}-{name}")
        observer.publish(left[-1], json.dumps({"status": "offline", **will}), retain=True)
        return left[-1]

    yield leave
    for topic in left:
        observer.publish(topic, b"", retain=True)


async def look(backend: str, broker: Any, *arguments: object) -> Any:
    options = ("--backend", backend, "--broker", f"{broker.host}:{broker.port}", *arguments)
    return await asyncio.to_thread(in_this_process, "workers", *options)


async def test_it_shows_what_each_worker_says_of_itself(backend, broker, prefix, connected, crash):
    crash("crashed", since=time.time() - 7_200)
    there = await connected(broker, source_id=f"{prefix}-there", presence=True, heartbeat=0.05, max_message_bytes=1_000)
    shy = await connected(broker, source_id=f"{prefix}-shy")
    for _ in range(3):
        there.publish_nowait("t", "x" * 1_001)
    async with publishing(there), publishing(shy):
        done = await look(backend, broker, "--json", "--listen", "1s")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["presence_seen"]
    assert found["pruned"] == []
    workers = {
        worker["source_id"].removeprefix(f"{prefix}-"): worker
        for worker in found["workers"]
        if worker["source_id"].startswith(prefix)
    }
    assert {name: worker["presence"] for name, worker in workers.items()} == {
        "there": "online", "shy": None, "crashed": "offline",
    }  # fmt: skip
    assert workers["crashed"]["since"] == pytest.approx(time.time() - 7_200, abs=300)
    assert workers["crashed"]["events_per_s"] == 0
    for name in ("there", "shy"):
        assert workers[name]["events_per_s"] > 0
        assert workers[name]["last_event"]["task_id"] == "t-1"
    assert workers["there"]["lost"] == {"too_large": 3}
    assert workers["shy"]["lost"] is None


async def test_as_lines_for_a_reader(backend, broker, prefix, connected, crash):
    crash("crashed", since=time.time() - 7_200)
    there = await connected(broker, source_id=f"{prefix}-\x1b[31m", presence=True)
    async with publishing(there):
        done = await look(backend, broker, "--listen", "1s")
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["WORKER", "PRESENCE", "LAST", "EVENT", "EVENTS/S", "LOST", "OBEYS"]
    (crashed,) = (line for line in lines if f"{prefix}-crashed" in line)
    assert "offline 2h00m" in crashed
    (online,) = (line for line in lines if f"{prefix}-\\x1b[31m" in line)
    assert "online" in online
    assert "RUNNING build" in online


async def test_prune_takes_the_wills_of_workers_that_are_gone_and_old(
    backend, broker, prefix, connected, crash, new_observer
):
    crash("young", since=time.time() - 60)
    old = crash("old", since=time.time() - 7_200)
    undated = crash("undated")
    there = await connected(broker, source_id=f"{prefix}-there", presence=True)
    watching = new_observer(broker, "cascade/status/+")

    def of_this_test(found: list[str]) -> list[str]:
        return [name for name in found if name.startswith(prefix)]

    done = await look(backend, broker, "--json", "--listen", "0", "--prune")
    assert of_this_test(json.loads(done.stdout)["pruned"]) == [f"{prefix}-old"]
    await eventually(lambda: watching.seen and (watching.seen[-1].topic, watching.seen[-1].payload) == (old, b""))
    done = await look(backend, broker, "--listen", "0", "--prune", "--older-than", "0")
    assert f"pruned {prefix}-undated" in done.stdout
    assert f"pruned {prefix}-young" in done.stdout
    assert f"pruned {prefix}-there" not in done.stdout
    late = new_observer(broker, "cascade/status/+")
    await eventually(lambda: f"cascade/status/{prefix}-there" in late.topics)
    assert undated not in late.topics
    assert there.connected


def test_with_nobody_announced_it_says_how_to_turn_that_on(backend, peer):
    done = in_this_process("workers", "--listen", "0", "--backend", backend, "--broker", f"{peer.host}:{peer.port}")
    assert (done.returncode, done.stdout) == (0, "")
    assert "CASCADE_MQTT_PRESENCE" in done.stderr


def test_what_has_ended_since_the_report_is_not_obeyed_any_more():
    roster = Roster()
    lasting, ended = (
        {"scope": "global", "type": kind, "expires_at": end} for kind, end in (("pause", None), ("x", 50))
    )
    roster.note_applied("cascade/applied/w", {"constraints": [lasting, ended]})
    assert roster.workers["w"].obeys(49) == [lasting, ended]
    assert roster.workers["w"].obeys(50) == [lasting]


@pytest.mark.parametrize(
    "junk",
    [
        None,
        "text",
        7,
        [],
        {"status": 1},
        {"source": 1, "stats": {}},
        {"source": "s", "stats": {"dropped": [], "rejected": 0}},
        {"source": "s", "body": "text"},
        {"constraints": "all"},
        {"constraints": ["pause", 1, None], "ts": "yesterday"},
    ],
)
def test_what_is_no_message_of_a_worker_makes_none_up(junk):
    roster = Roster()
    for note in (roster.note_status, roster.note_applied, roster.note_heartbeat, roster.note_event):
        note("cascade/x/s", junk)
    assert not any(
        worker.presence or worker.events or worker.lost or worker.applied for worker in roster.workers.values()
    )


@pytest.mark.parametrize(
    ("typed", "seconds"), [("90", 90), ("1.5s", 1.5), ("250ms", 0.25), ("15m", 900), ("2h", 7_200), ("7 d", 604_800)]
)
def test_durations_as_they_are_typed(typed, seconds):
    assert duration(typed, "--ttl") == seconds
