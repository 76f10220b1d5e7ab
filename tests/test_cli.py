"""The command line: what it prints, how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

import wire
from cascade.connectors.mqtt.cli.watch import line
from commands import cascade_mqtt, running
from mosquitto import free_port
from waiting import eventually, eventually_blocking

COMMANDS = ["demo", "broker", "watch", "workers", "status", "pause", "resume", "limit", "publish"]
EVENT = {
    "v": "1.0",
    "ts": "2025-11-03T12:00:01.250000+00:00",
    "run_id": "r1",
    "org_id": "local",
    "project_id": "nightly",
    "source": "node-1",
    "body": {
        "type": "TaskStateEvent",
        "task_id": "build:wheel",
        "task_name": "build",
        "state": "FAILED",
        "duration_ms": 12.5,
        "error": "no \x1b[31mspace\nleft",
        "metadata": {},
    },
}


def one_line(stderr: str) -> str:
    """What went wrong, in one line without a traceback."""
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("cascade-mqtt: ")
    return lines[0]


def test_help_names_every_command():
    done = cascade_mqtt("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_teaches_by_example(command):
    done = cascade_mqtt(command, "--help")
    assert done.returncode == 0
    assert f"cascade-mqtt {command}" in done.stdout.partition("Examples")[2]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["fly"], "fly"),
        (["publish", "only/a/topic"], "payload"),
        (["publish", "a", "b", "--qos", "3"], "--qos"),
        (["publish", "a", "b", "--broker", "host:port"], "host:port"),
        (["publish", "a", "b", "--broker", "host:99999"], "port"),
        (["publish", "a", "b", "--password", "secret"], "--password"),
        (["watch", "--password-file", "/no/such/file"], "/no/such/file"),
        (["watch", "--backend", "carrier-pigeon"], "carrier-pigeon"),
        (["demo", "--limit", "0"], "--limit"),
        (["broker", "--port", "70000"], "--port"),
        (["workers", "--listen", "soon"], "soon"),
        (["workers", "--prune", "--older-than", "1y"], "1y"),
    ],
)
def test_wrong_usage_exits_2_and_names_what(arguments, named):
    done = cascade_mqtt(*arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["watch"],
        ["workers"],
        ["status"],
        ["pause"],
        ["publish", "a", "b"],
        ["publish", "a", "b", "--qos", "0"],
        ["demo"],
    ],
)
def test_a_broker_that_is_down_is_one_line(arguments, backend):
    port = free_port()
    options = ("--backend", backend, "--broker", f"127.0.0.1:{port}")
    done = cascade_mqtt(*arguments, *options, CASCADE_MQTT_CONNECT_TIMEOUT="0.5")
    assert done.returncode == 1
    assert str(port) in one_line(done.stderr)


@pytest.mark.parametrize("arguments", [["watch"], ["publish", "a", "b"], ["demo", "--json"]])
def test_a_refused_login_is_one_line(arguments, backend, peer):
    peer.connack = b"\x00\x05"
    done = cascade_mqtt(*arguments, "--backend", backend, "--broker", f"{peer.host}:{peer.port}", "--username", "eve")
    assert done.returncode == 1
    assert "auth" in one_line(done.stderr)


def test_the_password_comes_from_a_file_or_the_environment(backend, peer, tmp_path):
    file = tmp_path / "password"
    file.write_text("from a file\n")
    command = ["publish", "a", "b", "--backend", backend, "--broker", f"{peer.host}:{peer.port}", "--username", "ann"]
    assert cascade_mqtt(*command, "--password-file", file).returncode == 0
    assert cascade_mqtt(*command, CASCADE_MQTT_PASSWORD="from the environment").returncode == 0
    bodies = [packet.body for packet in peer.of(wire.CONNECT)]
    assert bodies[0].endswith(b"\x00\x03ann\x00\x0bfrom a file")
    assert bodies[1].endswith(b"\x00\x03ann\x00\x14from the environment")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_which(missing):
    code = f"import sys; sys.modules['{missing}'] = None; from cascade.connectors.mqtt.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    said = one_line(done.stderr)
    assert "pip install 'cascade-connector-mqtt[cli]'" in said
    assert "pip install '.[cli]'" in said  # it is not on PyPI


@pytest.mark.parametrize("command", ["broker", "demo"])
def test_without_the_broker_it_says_which(command):
    code = (
        "import sys; sys.modules['iotcore'] = None; from cascade.connectors.mqtt.cli import main\n"
        f"sys.argv = ['cascade-mqtt', '{command}']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    said = one_line(done.stderr)
    assert "pip install 'cascade-connector-mqtt[broker]'" in said
    assert "pip install '.[broker]'" in said  # it is not on PyPI


def address(broker: Any) -> str:
    return f"{broker.host}:{broker.port}"


@pytest.mark.parametrize(("qos", "kind"), [(0, "embedded"), (1, "mosquitto"), (2, "embedded")])
async def test_publish(backend, prefix, new_observer, qos, kind, request):
    broker = request.getfixturevalue(f"{kind}_broker")
    observer = new_observer(broker, f"{prefix}/#")
    options = ["--qos", qos, "--backend", backend, "--broker", address(broker)]
    assert cascade_mqtt("publish", f"{prefix}/a", "grüße", *options).returncode == 0
    assert cascade_mqtt("publish", f"{prefix}/b", "-", *options, text="from stdin").returncode == 0
    assert cascade_mqtt("publish", f"{prefix}/c", "kept", "--retain", *options).returncode == 0
    await eventually(lambda: len(observer.seen) == 3)
    assert observer.payloads == ["grüße".encode(), b"from stdin", b"kept"]
    late = new_observer(broker, f"{prefix}/c")
    await eventually(lambda: late.payloads == [b"kept"])
    assert cascade_mqtt("publish", f"{prefix}/c", "", "--retain", *options).returncode == 0


def test_publish_to_what_is_no_topic_is_one_line(embedded_broker):
    for qos in (0, 1):
        done = cascade_mqtt("publish", "a/+", "b", "--qos", qos, "--broker", address(embedded_broker))
        assert done.returncode == 1
        assert "wildcard" in one_line(done.stderr)


@pytest.fixture
def kept_event(embedded_broker, prefix, new_observer):
    """An event that whoever watches the project gets, however late it comes."""
    topic = f"cascade/telemetry/local/{prefix}/r1/events"
    observer = new_observer(embedded_broker)
    observer.publish(topic, json.dumps(EVENT), retain=True)
    yield EVENT
    observer.publish(topic, b"", retain=True)


def events(watch: Any) -> list[str]:
    """Without what it tells of constraints: other tests leave some on the same broker."""
    return [line for line in watch.lines if "node-1" in line]


def test_watch_as_lines_for_a_reader(backend, embedded_broker, prefix, kept_event):
    with running("watch", prefix, "--backend", backend, "--broker", address(embedded_broker)) as watch:
        eventually_blocking(lambda: events(watch))
        code, _ = watch.ctrl_c()
    assert code == 0
    clock = datetime.fromisoformat(kept_event["ts"]).astimezone().strftime("%H:%M:%S.250")
    # Nothing that somebody publishes reaches the terminal as a control character.
    assert events(watch) == [f"{clock}  node-1  FAILED     build:wheel  12.5 ms  no \\x1b[31mspace\\x0aleft\n"]


def test_watch_as_json_prints_events_alone(backend, embedded_broker, prefix, kept_event, new_observer):
    """Those of a batch one by one."""
    options = ["--json", "--backend", backend, "--broker", address(embedded_broker)]
    batch = [kept_event | {"seq": seq} for seq in (8, 9)]
    with running("watch", *options, CASCADE_PROJECT_ID=prefix) as watch:
        eventually_blocking(lambda: events(watch))
        new_observer(embedded_broker).publish(f"cascade/telemetry/local/{prefix}/r1/events/@batch", json.dumps(batch))
        eventually_blocking(lambda: len(events(watch)) >= 3)
        code, _ = watch.ctrl_c()
    assert code == 0
    assert [json.loads(line) for line in events(watch)] == [kept_event, *batch]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"type": "TaskStateEvent", "task_id": "t-1", "state": "RUNNING"}, "RUNNING    t-1"),
        ({"type": "TaskStateEvent", "task_id": "7f", "task_name": "build", "state": "RUNNING"}, "RUNNING    build 7f"),
        (
            {"type": "TaskStateEvent", "task_id": "t-1", "state": "BLOCKED", "metadata": {"reason": "pause global"}},
            "BLOCKED    t-1  pause global",
        ),
        ({"type": "LifecycleEvent", "event": "ENGINE_STARTED"}, "ENGINE_STARTED"),
        (
            {"type": "ResourceEvent", "resource_name": "gpu", "action": "ACQUIRE", "current_usage": 2},
            "ACQUIRE  gpu  in use 2",
        ),
        ({"type": "GapEvent", "lost": {"queue_full": 7}}, "LOST       7 queue_full"),
        ({"type": "Unheard", "of": 1}, '{"type": "Unheard", "of": 1}'),
    ],
)
def test_watch_says_each_kind_of_event_in_words(body, shown):
    plain = re.sub(r"\x1b\[\d*m", "", line({**EVENT, "body": body}))
    assert plain.endswith(f"node-1  {shown}")


def test_watch_ends_quietly_when_its_reader_has_left(embedded_broker, prefix, kept_event):
    with running("watch", prefix, "--broker", address(embedded_broker), reader=False) as watch:
        assert watch.end() == (0, "cascade-mqtt: connected\n")


def test_broker_serves_until_ctrl_c(new_observer):
    with running("broker", "--port", 0) as broker:
        eventually_blocking(lambda: broker.lines)
        port = int(broker.lines[0].split(":")[1].split(";")[0])
        assert cascade_mqtt("publish", "a", "b", "--broker", f"127.0.0.1:{port}").returncode == 0
        assert broker.ctrl_c() == (0, "")


def test_broker_warns_where_others_can_reach_it():
    with running("broker", "--port", 0, "--host", "0.0.0.0") as broker:
        eventually_blocking(lambda: broker.lines)
        code, errors = broker.ctrl_c()
    assert code == 0
    assert "warning" in one_line(errors)


def test_broker_on_a_port_in_use_is_one_line(embedded_broker):
    done = cascade_mqtt("broker", "--port", embedded_broker.port)
    assert done.returncode == 1
    assert str(embedded_broker.port) in one_line(done.stderr)
