"""Typed events: the envelope, its identity, and what becomes of error texts."""

from __future__ import annotations

import os
import re
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from cascade.connectors.mqtt import LifecycleEvent, MqttConnector, ResourceEvent, TaskStateEvent, TelemetryPublisher
from waiting import eventually

HEADER = ["v", "ts", "run_id", "org_id", "project_id", "source", "epoch", "seq", "body"]


@pytest.fixture
def watched(connected: Any, broker: Any, prefix: str, new_observer: Any) -> Any:
    """``await watched(**options)``: a connector, and a witness of all telemetry of this test's organisation."""

    async def make(**options: Any) -> tuple[MqttConnector, Any]:
        observer = new_observer(broker, f"cascade/telemetry/{prefix}/#")
        return await connected(broker, **options), observer

    return make


async def test_the_envelope(watched, prefix):
    connector, observer = await watched(source_id="worker 1")
    telemetry = TelemetryPublisher(connector, run_id="run-1", org_id=prefix, project_id="p", qos=1)
    assert telemetry.task_state("t-1", "fetch", "COMPLETED", duration_ms=12.5, metadata={"tries": 2})
    await eventually(lambda: observer.seen)
    (seen,) = observer.seen
    assert seen.topic == f"cascade/telemetry/{prefix}/p/run-1/events"
    assert not seen.retain
    event = seen.json
    assert list(event) == HEADER
    assert event["v"] == "1.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", event["ts"])
    assert (event["run_id"], event["org_id"], event["project_id"]) == ("run-1", prefix, "p")
    assert (event["source"], event["epoch"]) == ("worker 1", connector.epoch)
    assert (telemetry.source, telemetry.epoch) == ("worker 1", connector.epoch)
    assert re.fullmatch(r"[0-9a-f]{16}", connector.epoch)
    assert event["seq"] == 0
    assert event["body"] == {
        "type": "TaskStateEvent",
        "task_id": "t-1",
        "task_name": "fetch",
        "state": "COMPLETED",
        "duration_ms": 12.5,
        "error": None,
        "metadata": {"tries": 2},
    }


async def test_each_kind_of_event(watched, prefix):
    connector, observer = await watched()
    telemetry = TelemetryPublisher(connector, org_id=prefix)
    assert telemetry.lifecycle("ENGINE_STARTED")
    assert telemetry.resource("gpu", "ACQUIRE", {"gpu": 1})
    assert telemetry.publish(TaskStateEvent("t", "n", "RUNNING"))
    await eventually(lambda: len(observer.seen) == 3)
    bodies = [message.json["body"] for message in observer.seen]
    assert bodies[:2] == [
        {"type": "LifecycleEvent", "event": "ENGINE_STARTED"},
        {"type": "ResourceEvent", "resource_name": "gpu", "action": "ACQUIRE", "current_usage": {"gpu": 1}},
    ]
    assert bodies[2]["type"] == "TaskStateEvent"
    assert [message.json["seq"] for message in observer.seen] == [0, 1, 2]


@pytest.mark.parametrize(
    "make",
    [
        lambda: TaskStateEvent("t", "n", "DONE"),
        lambda: LifecycleEvent("ENGINE_PAUSED"),
        lambda: ResourceEvent("r", "GRAB", {}),
    ],
)
def test_unknown_states_and_actions_are_mistakes(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        make()


async def test_ids_are_one_level_each_whatever_they_hold(watched, prefix):
    connector, observer = await watched()
    TelemetryPublisher(connector, run_id="a/b+c#%", org_id=prefix, project_id="@p\n").lifecycle("ENGINE_STARTED")
    await eventually(lambda: observer.seen)
    assert observer.topics == [f"cascade/telemetry/{prefix}/%40p%0A/a%2Fb%2Bc%23%25/events"]
    assert observer.seen[0].json["run_id"] == "a/b+c#%"


async def test_organisation_and_project_come_from_the_environment(new_connector, peer, monkeypatch):
    monkeypatch.setenv("CASCADE_ORG_ID", "acme")
    monkeypatch.setenv("CASCADE_PROJECT_ID", "rocket")
    telemetry = TelemetryPublisher(new_connector(peer))
    assert re.fullmatch(r"cascade/telemetry/acme/rocket/[0-9a-f]{32}/events", telemetry.topic)
    monkeypatch.delenv("CASCADE_ORG_ID")
    monkeypatch.delenv("CASCADE_PROJECT_ID")
    assert TelemetryPublisher(new_connector(peer)).topic.startswith("cascade/telemetry/local/default/")


async def test_the_default_source_is_this_process(new_connector, peer, monkeypatch):
    monkeypatch.delenv("CASCADE_SOURCE_ID", raising=False)
    assert TelemetryPublisher(new_connector(peer)).source == f"{os.uname().nodename}-{os.getpid()}"
    monkeypatch.setenv("CASCADE_SOURCE_ID", "from outside")
    assert TelemetryPublisher(new_connector(peer)).source == "from outside"
    assert TelemetryPublisher(new_connector(peer), source_id="mine").source == "mine"


async def test_seq_has_no_gap_and_no_double_under_threads(watched, prefix):
    connector, observer = await watched()
    run = uuid.uuid4().hex
    # Two publishers of one run share its numbers: an identity is (source, epoch, run, seq).
    publishers = [TelemetryPublisher(connector, run_id=run, org_id=prefix, qos=1) for _ in range(2)]

    def work(telemetry: TelemetryPublisher) -> None:
        for _ in range(200):
            telemetry.task_state("t", "n", "RUNNING")

    threads = [threading.Thread(target=work, args=(publishers[number % 2],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await eventually(lambda: len(observer.seen) == 800)
    assert sorted(message.json["seq"] for message in observer.seen) == list(range(800))
    assert len({message.json["epoch"] for message in observer.seen}) == 1


async def test_each_run_and_each_connector_counts_from_0(watched, prefix):
    connector, observer = await watched()
    other, _ = await watched()
    assert connector.epoch != other.epoch
    TelemetryPublisher(connector, run_id="one", org_id=prefix).lifecycle("ENGINE_STARTED")
    TelemetryPublisher(connector, run_id="two", org_id=prefix).lifecycle("ENGINE_STARTED")
    TelemetryPublisher(other, run_id="one", org_id=prefix).lifecycle("ENGINE_STARTED")
    await eventually(lambda: len(observer.seen) == 3)
    assert [message.json["seq"] for message in observer.seen] == [0, 0, 0]


async def test_a_publisher_of_another_run_is_the_same_in_all_else(watched, prefix):
    class Counting(TelemetryPublisher):
        states: tuple[str, ...] = ()

        def task_state(self, task_id: str, task_name: str, state: str, **more: Any) -> bool:
            self.states += (state,)
            return super().task_state(task_id, task_name, state, **more)

    connector, observer = await watched()
    one = Counting(connector, run_id="r1", org_id=prefix, project_id="p", source_id="s", qos=1, redact=lambda text: "?")
    other = one.for_run("r2")
    assert one.for_run("r1") is one
    for telemetry in (one, other, other):
        telemetry.task_state("t", "t", "FAILED", error="secret")
    assert (one.states, other.states) == (("FAILED",), ("FAILED", "FAILED"))
    await eventually(lambda: len(observer.seen) == 3)
    assert [seen.topic for seen in observer.seen] == [
        f"cascade/telemetry/{prefix}/p/{run}/events" for run in ("r1", "r2", "r2")
    ]
    for seen, (run, seq) in zip(observer.seen, (("r1", 0), ("r2", 0), ("r2", 1)), strict=True):
        assert (seen.json["run_id"], seen.json["seq"], seen.json["source"]) == (run, seq, "s")
        assert (seen.json["body"]["error"], seen.qos) == ("?", 1)


async def test_the_epoch_outlives_a_reconnect(new_connector, broker):
    connector = new_connector(broker)
    epoch = connector.epoch
    for _ in range(2):
        await connector.connect()
        assert connector.epoch == epoch
        await connector.disconnect()


@pytest.mark.parametrize("text", ["x" * 5_000, "é" * 3_000, "a" + "漢" * 2_000, "😀" * 1_000])
async def test_error_texts_are_cut_to_2_kib(watched, prefix, text):
    connector, observer = await watched()
    telemetry = TelemetryPublisher(connector, org_id=prefix)
    telemetry.task_state("t", "n", "FAILED", error=text)
    telemetry.task_state("t", "n", "FAILED", error="x" * 2_048)
    await eventually(lambda: len(observer.seen) == 2)
    cut, whole = (message.json["body"]["error"] for message in observer.seen)
    assert 2_040 < len(cut.encode()) <= 2_048
    assert cut.endswith("…")
    assert text.startswith(cut[:-1])
    assert whole == "x" * 2_048


class _Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


async def test_an_error_may_be_the_exception_itself(watched, prefix):
    connector, observer = await watched()
    telemetry = TelemetryPublisher(connector, org_id=prefix)
    for error in (ValueError("wrong"), _Mute()):
        assert telemetry.task_state("t", "t", "FAILED", error=error)
    await eventually(lambda: len(observer.seen) == 2)
    assert [message.json["body"]["error"] for message in observer.seen] == ["wrong", "[_Mute without a text]"]


async def test_errors_are_redacted_before_they_are_cut(watched, prefix):
    connector, observer = await watched()
    telemetry = TelemetryPublisher(connector, org_id=prefix, redact=lambda text: text.replace("s3cr3t", "***"))
    telemetry.task_state("t", "n", "FAILED", error="x" * 2_040 + "s3cr3t" * 10)
    telemetry.task_state("t", "n", "COMPLETED")
    await eventually(lambda: len(observer.seen) == 2)
    errors = [message.json["body"]["error"] for message in observer.seen]
    assert "s3" not in errors[0]
    assert errors[0].startswith("x" * 2_040 + "***")
    assert errors[1] is None


def _raises(text: str) -> str:
    raise LookupError(text)


@pytest.mark.parametrize("hook", [_raises, lambda text: None, lambda text: 7])
async def test_a_redaction_that_fails_hides_the_text(watched, prefix, hook):
    connector, observer = await watched()
    telemetry = TelemetryPublisher(connector, org_id=prefix, redact=hook)
    assert telemetry.task_state("t", "n", "FAILED", error="s3cr3t")
    await eventually(lambda: observer.seen)
    assert observer.seen[0].json["body"]["error"] == "[redaction failed]"


async def test_before_connect_nothing_is_queued_and_seq_shows_it(new_connector, broker, new_observer, prefix):
    observer = new_observer(broker, f"cascade/telemetry/{prefix}/#")
    connector = new_connector(broker)
    telemetry = TelemetryPublisher(connector, org_id=prefix)
    assert telemetry.lifecycle("ENGINE_STARTED") is False
    await connector.connect()
    assert telemetry.lifecycle("ENGINE_STARTED") is True
    await eventually(lambda: observer.seen)
    assert [message.json["seq"] for message in observer.seen] == [1]


async def test_lifecycle_and_failures_may_use_the_reserve_of_a_full_queue(new_connector, peer):
    connector = new_connector(peer, max_queued_bytes=1_000_000, on_full="drop_newest")
    await connector.connect()
    peer.freeze()
    telemetry = TelemetryPublisher(connector)
    filler = {"x": "x" * 10_000}
    for _ in range(3_000):
        telemetry.task_state("t", "n", "RUNNING", metadata=filler)
    assert not telemetry.task_state("t", "n", "RUNNING", metadata=filler)
    assert telemetry.task_state("t", "n", "FAILED", error="why")
    assert telemetry.lifecycle("ENGINE_STOPPED")
