"""``pause``, ``limit``, ``resume`` and ``status`` against a worker that obeys, on each broker; ``watch`` looks on."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.connectors.mqtt import ConstraintManager, ConstraintSync
from commands import in_this_process, running
from waiting import eventually, eventually_blocking

KEY = "ops " + "7f" * 32
OTHER_KEY = "ops " + "11" * 32


@pytest.fixture
def run(backend: str, broker: Any) -> Callable[..., Any]:
    """``await run("pause", …)``: the command with this broker and backend."""

    async def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        options = ("--backend", backend, "--broker", f"{broker.host}:{broker.port}")
        return await asyncio.to_thread(in_this_process, *arguments, *options)

    return command


@pytest.fixture
async def worker(connected: Callable[..., Any], broker: Any, prefix: str) -> AsyncIterator[SimpleNamespace]:
    """One that obeys; its tasks are called as the test."""
    manager = ConstraintManager()
    connector = await connected(broker, source_id=f"{prefix}-worker")
    async with ConstraintSync(connector, manager):
        task = SimpleNamespace(name=f"{prefix}-load")
        yield SimpleNamespace(
            name=f"{prefix}-worker",
            may_start=lambda: manager.denial(task) is None,
            obeys=lambda: {one.type: one for one in manager.in_force() if prefix in one.scope},
        )


@pytest.fixture
async def scope(run: Callable[..., Any], prefix: str) -> AsyncIterator[str]:
    """A scope of this test's own; nothing of it is left behind."""
    yield f"task:{prefix}*"
    assert (await run("resume", f"task:{prefix}*", "--all")).returncode == 0


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


async def test_a_fleet_is_paused_limited_and_resumed(run, worker, scope):
    wait = ("--wait", "1", "--json")
    paused = answer(await run("pause", scope, "--ttl", "1h", *wait))
    assert paused["confirmed_by"] == [worker.name]
    assert list(paused["set"]) == ["pause"]
    assert not worker.may_start()

    limits = ("--concurrency", "2", "--rate", "30/m", "--burst", "3", "--capacity", "gpu=2")
    assert answer(await run("limit", scope, *limits, *wait))["confirmed_by"] == [worker.name]
    obeyed = worker.obeys()
    assert {kind: dict(one.params) for kind, one in obeyed.items()} == {
        "pause": {},
        "concurrency": {"limit": 2},
        "rate_limit": {"rate": "30/m", "capacity": 3},
        "capacity": {"gpu": 2},
    }

    listed = [one for one in answer(await run("status", "--json"))["constraints"] if one["scope"] == scope]
    assert {one["type"]: one["obeyed_by"] for one in listed} == {kind: [worker.name] for kind in obeyed}
    (pause,) = (one for one in listed if one["type"] == "pause")
    assert pause["expires_at"] == pytest.approx(time.time() + 3_600, abs=300)

    resumed = answer(await run("resume", scope, *wait))
    assert (resumed["lifted"], resumed["confirmed_by"]) == (["pause"], [worker.name])
    assert worker.may_start()
    lifted = answer(await run("limit", scope, "--concurrency", "off", *wait))
    assert (lifted["lifted"], lifted["confirmed_by"]) == (["concurrency"], [worker.name])
    assert worker.obeys().keys() == {"rate_limit", "capacity"}
    answer(await run("resume", scope, "--all", *wait))
    assert not worker.obeys()


async def test_it_says_what_is_meant_in_words(run, worker, scope, prefix):
    done = await run("pause", scope, "--ttl", "90s", "--wait", "1")
    assert done.stdout.splitlines() == [
        f"paused: tasks whose name matches {prefix}*, for 90s",
        f"confirmed by {worker.name}",
    ]
    done = await run("limit", scope, "--rate", "30/m", "--concurrency", "1")
    assert done.stdout == f"limited: tasks whose name matches {prefix}*: concurrency 1; rate 30/m\n"
    done = await run("limit", scope, "--capacity", "off", "--ttl", "1m")
    assert done.stdout == f"lifted capacity of {scope}: tasks whose name matches {prefix}*\n"
    await eventually(lambda: len(worker.obeys()) == 3)
    head, *lines = (await run("status")).stdout.splitlines()
    assert head.split() == ["SCOPE", "WHAT", "WHOM", "HOW", "LONG", "OBEYED", "BY"]
    # The columns are as wide as what else is in force here asks for.
    mine = {re.split(r" {2,}", line)[1]: line for line in lines if line.startswith(scope)}
    assert set(mine) == {"paused", "at most 1 at a time in each process", "30/m in each process"}
    assert all(f"tasks whose name matches {prefix}*" in line for line in mine.values())
    assert "(in 1m" in mine["paused"]
    assert (await run("resume", scope)).stdout == f"lifted the pause of {scope}: tasks whose name matches {prefix}*\n"
    who = (await run("workers", "--listen", "0")).stdout
    (line,) = (line for line in who.splitlines() if line.startswith(worker.name))
    assert f"concurrency {scope}" in line


async def test_fewer_workers_than_asked_for_is_a_failure_that_says_so(run, worker, scope):
    done = await run("pause", scope, "--wait", "2", "--timeout", "1", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["confirmed_by"] == [worker.name]
    assert len(done.stderr.splitlines()) == 1
    assert "only 1 of 2 workers" in done.stderr
    assert not worker.may_start()


async def test_signed_orders_are_obeyed_and_others_are_not(run, connected, broker, scope, prefix, tmp_path):
    right, wrong = tmp_path / "keys", tmp_path / "other-keys"
    for file, key in ((right, KEY), (wrong, OTHER_KEY)):
        file.write_text(f"# for tests\n{key}\n")
        file.chmod(0o600)
    manager = ConstraintManager()
    connector = await connected(broker, source_id=f"{prefix}-worker")
    async with ConstraintSync(connector, manager, verify=lambda name: bytes.fromhex(KEY.split()[1])) as sync:
        assert (await run("pause", scope, "--sign-key-file", wrong)).returncode == 0
        await eventually(lambda: sync.stats().refused)
        assert not manager.in_force()
        signed = answer(await run("pause", scope, "--sign-key-file", right, "--wait", "1", "--json"))
        assert signed["confirmed_by"] == [f"{prefix}-worker"]
        listed = answer(await run("status", "--json", "--sign-key-file", right))["constraints"]
        assert scope in [one["scope"] for one in listed]
        assert (await run("resume", scope)).returncode == 0  # unsigned
        assert (await run("status", "--json")).returncode == 0
        assert manager.in_force()
        await run("resume", scope, "--all", "--sign-key-file", right, "--wait", "1")
        assert not manager.in_force()


def test_watch_tells_of_constraints_as_they_come_and_go(backend, broker, prefix, new_observer):
    options = ("--backend", backend, "--broker", f"{broker.host}:{broker.port}")
    with running("watch", prefix, "--json", *options) as as_json, running("watch", prefix, *options) as watch:
        assert in_this_process("limit", f"task:{prefix}", "--concurrency", "2", *options).returncode == 0
        eventually_blocking(lambda: any(prefix in line for line in watch.lines))
        eventually_blocking(lambda: any(prefix in line for line in as_json.lines))
        assert in_this_process("resume", f"task:{prefix}", "--all", *options).returncode == 0
        eventually_blocking(lambda: any("no longer" in line for line in watch.lines if prefix in line))
        eventually_blocking(lambda: any('"in_force": false' in line for line in as_json.lines if prefix in line))
        event = {"source": "w", "body": {"type": "TaskStateEvent", "task_id": f"last of {prefix}", "state": "RUNNING"}}
        new_observer(broker).publish(f"cascade/telemetry/local/{prefix}/r/events", json.dumps(event))
        eventually_blocking(lambda: any("last of" in line for line in watch.lines))
        eventually_blocking(lambda: any("last of" in line for line in as_json.lines))
        assert (watch.ctrl_c()[0], as_json.ctrl_c()[0]) == (0, 0)
    assert watch.lines.pop().endswith(f"w  RUNNING    last of {prefix}\n")
    assert json.loads(as_json.lines.pop()) == event
    came, went = (line.split("  ", 1)[1] for line in watch.lines if prefix in line)
    assert came.startswith(
        f"concurrency of task:{prefix}: tasks named {prefix} at most 2 at a time in each process, until"
    )
    assert went == f"concurrency of task:{prefix}: no longer\n"
    told = [json.loads(line) for line in as_json.lines if prefix in line]
    assert [(one["constraint"]["params"], one["in_force"]) for one in told] == [
        ({"limit": 2}, True),
        ({"limit": 2}, False),
    ]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["pause", "etl"], "project:<id>"),
        (["pause", "--ttl", "0"], "--ttl"),
        (["pause", "--ttl", "tomorrow"], "tomorrow"),
        (["pause", "--wait", "-1"], "--wait"),
        (["resume", "task:"], "task:<pattern>"),
        (["limit"], "--concurrency"),
        (["limit", "--concurrency", "few"], "few"),
        (["limit", "--concurrency", "-1"], "limit"),
        (["limit", "--rate", "10/fortnight"], "10/fortnight"),
        (["limit", "--concurrency", "off", "--rate", "5/s"], "another one lifts"),
        (["limit", "--rate", "5/s", "--capacity", "gpu=nan"], "gpu"),
        (["limit", "--burst", "5"], "--rate"),
        (["limit", "--rate", "5/s", "--burst", "0.5"], "--burst"),
        (["limit", "--capacity", "gpu"], "NAME=AMOUNT"),
        (["limit", "--capacity", "=2"], "NAME=AMOUNT"),
        (["pause", "--sign-key-file", "/no/such/file"], "/no/such/file"),
        (["pause", "--sign-key-file", __file__], "line 1"),
    ],
)
def test_orders_that_make_no_sense_exit_2_and_say_why(arguments, named, peer):
    done = in_this_process(*arguments, "--broker", f"{peer.host}:{peer.port}")
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert peer.connections == 0
