"""The demo against an account that a second, independent subscriber keeps of the same run."""

from __future__ import annotations

import ast
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

import batched
from cascade.connectors.mqtt.cli.demo.effects import Ask, Effects, Phase
from cascade.connectors.mqtt.cli.demo.ledger import Ledger
from cascade.connectors.mqtt.cli.demo.messages import Identity
from cascade.connectors.mqtt.cli.demo.workflow import library_files, library_root, plan
from commands import cascade_mqtt, running
from observer import Observer
from waiting import eventually_blocking

EVENTS = "cascade/telemetry/+/demo/+/events"
GLOBAL = "cascade/constraints/global"
FIGURES = [
    "backend",
    "tasks",
    "failed_tasks",
    "events_published",
    "events_received",
    "events_lost",
    "duplicates",
    "publish_call_us_p50",
    "publish_call_us_p99",
    "control_latency_ms_p50",
    "paused_s",
    "duration_s",
    "steering",
]
ENDS = ("COMPLETED", "FAILED", "SKIPPED")
MODULES = 120


@pytest.fixture
def on_this_broker(embedded_broker: Any) -> list[str]:
    return ["demo", "--limit", str(MODULES), "--broker", f"{embedded_broker.host}:{embedded_broker.port}"]


def when(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["ts"]).timestamp()


@pytest.mark.parametrize(("qos", "how"), [(0, []), (1, []), (1, ["--batch"])])
def test_its_figures_are_what_an_independent_observer_counts(
    backend, on_this_broker, embedded_broker, new_observer, qos, how
):
    observer: Observer = new_observer(embedded_broker, f"{EVENTS}/#")
    control: Observer = new_observer(embedded_broker, "cascade/constraints/#")
    done = cascade_mqtt(*on_this_broker, "--json", "--backend", backend, "--qos", qos, *how)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    figures = json.loads(done.stdout)
    assert list(figures) == FIGURES
    eventually_blocking(lambda: len(batched.events(observer.seen)) >= figures["events_published"])
    payloads = [event.payload for event in batched.events(observer.seen)]
    events = [json.loads(payload) if type(payload) is bytes else payload for payload in payloads]
    assert any(topic.endswith("/@batch") for topic in observer.topics) == bool(how)

    # The transport: every event once, numbered without a gap by each of four publishers.
    assert figures["backend"] == backend
    seqs: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    for event in events:
        seqs[event["source"], event["epoch"], event["run_id"]].append(event["seq"])
    assert len(seqs) == 4
    assert all(sorted(each) == list(range(len(each))) for each in seqs.values())
    assert figures["events_received"] == figures["events_published"] == len(events)
    assert figures["events_lost"] == figures["duplicates"] == 0

    # The work: what failed is what does not parse.
    bodies = [event["body"] for event in events if event["body"]["type"] == "TaskStateEvent"]
    ended = {body["task_id"]: body["state"] for body in bodies if body["state"] in ENDS}
    root = library_root()
    files = library_files(root, MODULES)
    failed = {f"parse:{file}" for file in files if not parses((root / file).read_bytes())}
    assert failed
    assert {task for task, state in ended.items() if state == "FAILED"} == failed
    assert figures["failed_tasks"] == len(failed)
    assert figures["tasks"] == len(ended) == len(plan(files))
    assert Counter(ended.values())["SKIPPED"] == 2 * len(failed)

    # The control, as the events show it: what each process was asked for is what it did.
    steering = {phase["asked"]: phase for phase in figures["steering"]}
    assert list(steering) == ["rate_limit", "pause", "concurrency", "resume"]
    assert steering["rate_limit"]["starts_per_s_max"] <= steering["rate_limit"]["limit"] + 1
    assert (
        0 < steering["rate_limit"]["starts"] <= 4 * (1 + steering["rate_limit"]["limit"] * 1.5 * figures["duration_s"])
    )
    assert steering["pause"]["starts"] == 0
    assert steering["pause"]["seconds"] == figures["paused_s"] >= 1.0
    assert steering["concurrency"]["concurrency_max"] == steering["concurrency"]["limit"]
    starts = sorted(when(event) for event in events if event["body"].get("state") == "RUNNING")
    assert max(later - earlier for earlier, later in pairwise(starts)) >= 1.0
    assert len(starts) >= sum(phase["starts"] for phase in figures["steering"])
    # It steers its own run, no other one, and leaves nothing behind. Other tests may have left other scopes here.
    (run_id,) = {event["run_id"] for event in events}
    scope = f"cascade/constraints/run/{run_id}"
    assert {message.topic for message in control.seen if "/run/" in message.topic} == {
        scope, f"{scope}/@pause", f"{scope}/@rate_limit", f"{scope}/@concurrency",
    }  # fmt: skip
    late: Observer = new_observer(embedded_broker, f"{scope}/#")
    probe = f"{scope}/probe"
    late.publish(probe)
    eventually_blocking(lambda: late.topics == [probe])


def test_tasks_start_when_what_they_need_has_ended(mosquitto_broker, new_observer):
    observer: Observer = new_observer(mosquitto_broker, EVENTS)
    broker = f"{mosquitto_broker.host}:{mosquitto_broker.port}"
    figures = json.loads(cascade_mqtt("demo", "--limit", MODULES, "--broker", broker, "--json").stdout)
    eventually_blocking(lambda: len(observer.seen) >= figures["events_published"])
    started, ended = {}, {}
    for event in (message.json for message in observer.seen):
        body = event["body"]
        if body.get("state") == "RUNNING":
            assert body["task_id"] not in started
            started[body["task_id"]] = when(event)
        elif body.get("state") in ENDS:
            assert body["task_id"] not in ended
            ended[body["task_id"]] = when(event)
    tasks = plan(library_files(library_root(), MODULES))
    assert set(ended) == {task.id for task in tasks}
    for task in tasks:
        assert all(ended[need] <= started.get(task.id, ended[task.id]) for need in task.needs)


def test_the_whole_demo_has_thousands_of_tasks():
    assert len(plan(library_files(library_root()))) >= 2_000


def test_it_brings_its_own_broker_and_reports_in_plain_lines(tmp_path):
    picture = tmp_path / "demo.svg"
    with running("demo", "--limit", MODULES, "--svg", picture) as demo:
        assert demo.end() == (0, "")  # and leaves no process behind
    text = "".join(demo.lines)
    assert "\x1b" not in text
    assert all(phase in text for phase in ("20 starts/s", "paused", "2 at a time", "resumed"))
    assert "files that do not parse" in text
    assert "lib2to3/tests/data/bom.py" in text or "tokenizedata/bad_coding.py" in text
    assert " 0 lost, 0 twice" in demo.lines[-1]
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize("how", ["ctrl_c", "terminate"])
def test_stopped_in_the_pause_it_lifts_it_and_leaves_no_process(how, on_this_broker, embedded_broker, new_observer):
    control: Observer = new_observer(embedded_broker, "cascade/constraints/run/#")
    with running(*on_this_broker) as demo:
        eventually_blocking(lambda: any(topic.endswith("/@pause") for topic in control.topics))
        code, errors = getattr(demo, how)()
    assert code == 1
    assert errors == "cascade-mqtt: stopped before the end\n"
    # The last word on each topic is that nothing is in force.
    eventually_blocking(lambda: not any({message.topic: message.payload for message in control.seen}.values()))


def test_a_constraint_of_somebody_else_is_left_alone(on_this_broker, embedded_broker, new_observer):
    operator: Observer = new_observer(embedded_broker)
    operator.publish(GLOBAL, '{"id":"night","scope":"global","type":"pause"}', retain=True)
    done = cascade_mqtt(*on_this_broker, "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "pause on global" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    late: Observer = new_observer(embedded_broker, GLOBAL)
    eventually_blocking(lambda: late.seen)
    operator.publish(GLOBAL, b"", retain=True)


def test_the_account_names_what_is_lost_by_publisher_and_seq():
    ledger = Ledger()
    whole, holed = Identity("a", "e1", "r"), Identity("b", "e2", "r")
    for who, seqs in ((whole, [0, 1, 2]), (holed, [0, 2, 2, 4])):
        for seq in seqs:
            ledger.note({**who._asdict(), "seq": seq})
    assert (ledger.received, ledger.missing, ledger.duplicates) == (7, 2, 1)
    expected = {whole: 3, holed: 6}
    assert not ledger.complete(expected)
    tally = ledger.close(expected)
    assert tally.lost == {holed: [1, 3, 5]}
    assert (tally.received, tally.duplicates) == (7, 1)


@pytest.mark.parametrize(
    ("ask", "holds"),
    [
        (Ask("pause"), False),
        (Ask("concurrency", 2), True),
        (Ask("concurrency", 1), False),
        (Ask("rate_limit", 1), True),  # a token was there, two came
        (Ask("rate_limit", 0), False),
        (Ask("resume"), True),
    ],
)
def test_a_constraint_without_its_effect_is_seen(ask, holds):
    """Two seconds in which one process starts three tasks, two of them at a time, and another one does nothing."""
    effects = Effects()
    for second, state in enumerate(["RUNNING", "COMPLETED", "RUNNING", "RUNNING", "COMPLETED", "FAILED", "RUNNING"]):
        at = datetime.fromtimestamp(100 + second / 2, UTC).isoformat()
        effects.note({"source": "a", "ts": at, "body": {"type": "TaskStateEvent", "state": state}})
    (effect,) = effects.of([Phase(ask, 100.0, 102.0)])
    assert (effect.starts, effect.concurrency_max, effect.starts_per_s_max) == (3, 2, 1.5)
    assert effect.holds == holds


def parses(source: bytes) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True
