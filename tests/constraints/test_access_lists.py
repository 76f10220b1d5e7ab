"""The access list of docs/security.md, in front of a real mosquitto: who may do what."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade.connectors.mqtt import ConstraintController, ConstraintManager, ConstraintSync, TelemetryPublisher
from observer import Observer
from waiting import eventually

SECURITY = (Path(__file__).parents[2] / "docs" / "security.md").read_text("utf-8")
USERS = ("worker-1", "worker-2", "controller", "observer", "operator")


@pytest.fixture
def guarded(own_mosquitto: Callable[..., Any], tmp_path: Path) -> Any:
    """A mosquitto with the list as it stands in the document, and a password for each user: its name."""
    rules, passwords = tmp_path / "rules", tmp_path / "passwords"
    (written,) = re.findall(r"### mosquitto\n.*?```\n(.*?)```", SECURITY, re.DOTALL)
    rules.write_text(written)
    passwords.write_text("".join(f"{user}:{user}\n" for user in USERS))
    subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
    for path in (rules, passwords):
        path.chmod(0o600)
    return own_mosquitto("allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}")


@pytest.fixture
def log_in(connected: Callable[..., Any], guarded: Any) -> Callable[..., Any]:
    async def log_in(user: str, **options: Any) -> Any:
        return await connected(guarded, username=user, password=user, source_id=user, **options)

    return log_in


@pytest.fixture
def try_to_publish(new_connector: Callable[..., Any], guarded: Any) -> Callable[..., Any]:
    """On a connection of its own, which mosquitto may end over it."""

    async def publish(user: str, topic: str, payload: Any, **options: Any) -> None:
        connector = new_connector(guarded, username=user, password=user, source_id=user)
        await connector.connect()
        await connector.publish_confirmed(topic, payload, **options)
        await connector.disconnect(timeout=0.2)

    return publish


@pytest.fixture
def watch(guarded: Any, new_observer: Callable[..., Observer]) -> Callable[[str, str], Observer]:
    return lambda user, topic_filter: new_observer(guarded, topic_filter, login=(user, user))


async def test_a_fleet_works_under_the_list(log_in, watch):
    seen = watch("observer", "cascade/#")
    worker, controller = await log_in("worker-1", presence=True, heartbeat=0.2), await log_in("controller")
    manager = ConstraintManager()
    sync = ConstraintSync(worker, manager)
    assert await sync.start(timeout=30)
    commands = ConstraintController(controller)
    async with commands.applied() as applied:
        for command in (commands.pause(), commands.limit("task:a", concurrency=2), commands.resume()):
            assert await applied.wait(await command, workers=1, timeout=30) == {"worker-1"}
    assert [one.scope for one in manager.in_force()] == ["task:a"]
    assert [one.scope for one in await commands.in_force()] == ["task:a"]
    TelemetryPublisher(worker, run_id="r").lifecycle("ENGINE_STARTED")
    wanted = {
        "cascade/telemetry/local/default/r/events", "cascade/status/worker-1", "cascade/stats/worker-1",
        "cascade/applied/worker-1", "cascade/constraints/task/a", "cascade/constraints/task/a/@concurrency",
    }  # fmt: skip
    await eventually(lambda: wanted <= set(seen.topics))
    await sync.stop()


async def test_nobody_else_writes_constraints(log_in, try_to_publish, watch):
    seen = watch("observer", "cascade/#")
    worker, controller = await log_in("worker-2"), ConstraintController(await log_in("controller"))
    manager = ConstraintManager()
    sync = ConstraintSync(worker, manager)
    await sync.start(timeout=30)
    await controller.pause("task:a")
    await eventually(lambda: manager.in_force())
    received = sync.stats().received
    for user in ("worker-1", "observer", "operator"):
        await try_to_publish(user, "cascade/constraints/task/a", None, retain=True)
        await try_to_publish(user, "cascade/constraints/global", {"id": "x", "scope": "global", "type": "pause"})
    await controller.limit("task:a", concurrency=1)
    await eventually(lambda: len(manager.in_force()) == 2)
    assert sync.stats().received == received + 2
    assert {one.scope for one in manager.in_force()} == {"task:a"}
    assert b"" not in [message.payload for message in seen.seen if "constraints" in message.topic]
    await sync.stop()


async def test_a_worker_speaks_for_itself_alone(try_to_publish, watch):
    seen = watch("observer", "cascade/+/+")
    for kind in ("status", "stats", "applied"):
        for name in ("worker-2", "worker-1"):
            await try_to_publish("worker-1", f"cascade/{kind}/{name}", f"by worker-1 for {name}")
    await eventually(lambda: [message.payload for message in seen.seen].count(b"by worker-1 for worker-1") == 3)
    assert b"by worker-1 for worker-2" not in seen.payloads


async def test_a_worker_reads_constraints_alone(log_in):
    worker, other = await log_in("worker-1"), await log_in("worker-2")
    got: list[str] = []
    for topic_filter in ("cascade/#", "#"):
        await worker.subscribe(topic_filter, lambda topic, payload: got.append(topic), decode="text")
    await other.publish_confirmed("cascade/telemetry/local/default/r/events", "secret")
    await other.publish_confirmed("cascade/status/worker-2", "secret")
    await ConstraintController(await log_in("controller")).pause("task:a")
    await eventually(lambda: len(got) >= 2)
    assert {topic.split("/")[1] for topic in got} == {"constraints"}


async def test_an_operator_clears_what_a_crashed_worker_has_left(log_in, watch):
    worker, operator = await log_in("worker-1"), await log_in("operator")
    for kind in ("status", "applied"):
        await worker.publish_confirmed(f"cascade/{kind}/worker-1", "left", retain=True)
    for kind in ("status", "applied"):
        await operator.publish_confirmed(f"cascade/{kind}/worker-1", None, retain=True)
    await worker.publish_confirmed("cascade/stats/worker-1", "the end", retain=True)
    late = watch("observer", "cascade/#")
    await eventually(lambda: late.payloads == [b"the end"])
