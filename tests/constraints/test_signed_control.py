"""Signed control over real brokers: what is obeyed, and what anybody without the key can do about it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.connectors.mqtt import (
    ConstraintController,
    ConstraintManager,
    ConstraintSync,
    KeyFile,
    SigningKey,
)
from waiting import eventually, settled

NEW, OLD = SigningKey.generate("new"), SigningKey.generate("old")


@pytest.fixture
def scope(prefix) -> str:
    return f"task:{prefix}"


@pytest.fixture
def here(scope) -> str:
    return f"cascade/constraints/{scope.replace(':', '/')}"


@pytest.fixture
def keys(tmp_path) -> Path:
    return write(tmp_path / "keys", NEW, OLD)


def write(path: Path, *keys: SigningKey) -> Path:
    path.write_text("".join(f"{key.line}\n" for key in keys))
    path.chmod(0o600)
    return path


@pytest.fixture
async def worker(connected, keys):
    """Makes one that obeys what is signed: a manager and its sync."""
    made: list[ConstraintSync] = []

    async def make(broker: Any, **options: Any) -> tuple[ConstraintManager, ConstraintSync]:
        manager = ConstraintManager(clock=options.pop("clock", None))
        made.append(ConstraintSync(await connected(broker, **options), manager, verify=KeyFile(keys)))
        assert await made[-1].start(timeout=30)
        return manager, made[-1]

    yield make
    for sync in made:
        await sync.stop()


def kinds(manager: ConstraintManager, scope: str) -> set[str]:
    return {one.type for one in manager.in_force() if one.scope == scope}


async def test_a_signed_fleet(connected, broker, worker, new_observer, keys, scope, here, caplog):
    observer = new_observer(broker, f"{here}/#")
    manager, sync = await worker(broker)
    controller = ConstraintController(await connected(broker), sign=KeyFile(keys))
    task = SimpleNamespace(name=scope.removeprefix("task:"))
    with caplog.at_level(logging.DEBUG):
        async with controller.applied() as applied:
            for command, permitted in (
                (lambda: controller.limit(scope, concurrency=2, rate="600/s"), True),
                (lambda: controller.pause(scope, ttl=600), False),
                (lambda: controller.resume(scope), True),
            ):
                change = await command()
                assert len(await applied.wait(change, workers=1, timeout=30)) == 1
                assert manager.check_permission(task) is permitted
    assert kinds(manager, scope) == {"concurrency", "rate_limit"}
    late, _ = await worker(broker)
    assert kinds(late, scope) == {"concurrency", "rate_limit"}
    assert {one.type for one in await controller.in_force() if one.scope == scope} == {"concurrency", "rate_limit"}
    await controller.resume(scope, types=None)
    await eventually(lambda: not kinds(manager, scope) and not kinds(late, scope))
    assert all(message.payload for message in observer.seen), "a signed resume is never empty"
    assert all(message.json["signature"]["key"] == "new" for message in observer.seen)
    assert not {"replayed", "bad_signature", "stale", "unknown_key"} & sync.stats().refused.keys()
    assert not any(key.secret.hex() in caplog.text for key in (NEW, OLD))


async def test_without_the_key_nothing_is_changed(
    connected, own_mosquitto, worker, new_observer, keys, scope, here, caplog
):
    """Unsigned, played again, played to another topic, altered, stale, with an unknown key: each is counted."""
    broker, now = own_mosquitto(), [1_800_000_000.0]
    observer = new_observer(broker, "cascade/constraints/#")
    manager, sync = await worker(broker, clock=lambda: now[0])
    controller = ConstraintController(await connected(broker), sign=KeyFile(keys), clock=lambda: now[0])
    await controller.pause(scope, ttl=60)
    await controller.resume(scope)
    await controller.limit(scope, concurrency=3)
    await eventually(lambda: len(observer.seen) == 6 and kinds(manager, scope) == {"concurrency"})
    pause, limit = observer.seen[0], observer.seen[-1]
    stranger = ConstraintController(await connected(broker), sign=SigningKey.generate("stranger"), clock=lambda: now[0])
    before = list(manager.in_force())
    with caplog.at_level(logging.WARNING):
        observer.publish(here, "", retain=True)
        observer.publish(here, json.dumps({"id": "x", "scope": scope, "type": "pause"}), retain=True)
        observer.publish(pause.topic, pause.payload, retain=True)
        observer.publish("cascade/constraints/global", limit.payload, retain=True)
        observer.publish(limit.topic, limit.payload.replace(b'"limit":3', b'"limit":9'), retain=True)
        await stranger.pause("global")
        now[0] += 120
        observer.publish(pause.topic, pause.payload, retain=True)
        await eventually(lambda: sum(sync.stats().refused.values()) == 8)
    assert sync.stats().refused == {
        "unsigned": 2, "replayed": 1, "foreign_topic": 1, "bad_signature": 1, "unknown_key": 2, "stale": 1,
    }  # fmt: skip
    assert list(manager.in_force()) == before
    assert sum("constraint refused" in record.message for record in caplog.records) == 8
    (listed,) = await controller.in_force()
    assert (listed.scope, listed.type, dict(listed.params)) == (scope, "concurrency", {"limit": 3})


async def test_a_retained_message_that_was_taken_away_lifts_nothing(
    connected, own_mosquitto, worker, new_proxy, new_observer, keys, scope, here
):
    broker = own_mosquitto()
    proxy, observer = new_proxy(broker), new_observer(broker)
    controller = ConstraintController(await connected(broker), sign=KeyFile(keys))
    manager, sync = await worker(proxy)
    await controller.pause(scope)
    await controller.pause("task:other")
    await eventually(lambda: kinds(manager, scope) and kinds(manager, "task:other"))
    before = sync.stats().received
    for topic in (here, f"{here}/@pause"):
        observer.publish(topic, "", retain=True)
    await eventually(lambda: sync.stats().refused == {"unsigned": 2})
    proxy.cut()
    await eventually(lambda: sync.stats().received >= before + 4)
    assert await settled(lambda: kinds(manager, scope)) == {"pause"}
    await controller.resume(scope)
    await eventually(lambda: not kinds(manager, scope))


async def test_keys_are_rotated_while_a_fleet_runs(connected, broker, worker, keys, scope):
    manager, sync = await worker(broker)
    connector = await connected(broker)
    await ConstraintController(connector, sign=OLD).pause(scope)
    await eventually(lambda: kinds(manager, scope) == {"pause"})
    rotating = ConstraintController(connector, sign=KeyFile(keys))
    await rotating.resume(scope)
    await eventually(lambda: not kinds(manager, scope))
    write(keys, NEW)
    await ConstraintController(connector, sign=OLD).pause(scope)
    await eventually(lambda: sync.stats().refused.get("unknown_key", 0) >= 2)
    assert not kinds(manager, scope)
    await rotating.limit(scope, rate="1/s")
    await eventually(lambda: kinds(manager, scope) == {"rate_limit"})
    await rotating.resume(scope, types=None)


async def test_who_does_not_verify_obeys_signed_commands_too(connected, broker, keys, scope):
    manager = ConstraintManager()
    controller = ConstraintController(await connected(broker), sign=KeyFile(keys))
    async with ConstraintSync(await connected(broker), manager):
        await controller.limit(scope, concurrency=1)
        await controller.pause(scope)
        await eventually(lambda: kinds(manager, scope) == {"pause", "concurrency"})
        await controller.resume(scope)
        await eventually(lambda: kinds(manager, scope) == {"concurrency"})
        late = ConstraintManager()
        async with ConstraintSync(await connected(broker), late):
            assert kinds(late, scope) == {"concurrency"}
    await controller.resume(scope, types=None)
