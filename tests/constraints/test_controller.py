"""The controller: what it publishes in which order, who obeys, and what becomes of a fleet of both forms."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import wire
from cascade.connectors.mqtt import (
    Change,
    ConfirmationError,
    ConstraintController,
    ConstraintError,
    ConstraintManager,
    ConstraintSync,
    SubscribeError,
)
from cascade.connectors.mqtt.constraints.applied import applied_topic
from waiting import eventually


class OldEngine:
    """Reads as the engine before this package: see ``simulated_fleet.OldReader``, here behind a real broker."""

    def __init__(self, observer: Any) -> None:
        self._observer = observer

    def in_force(self, scope: str) -> dict[str, Any]:
        state: dict[tuple[str, str], Any] = {}
        for message in list(self._observer.seen):
            if message.payload:
                state[message.json["scope"], message.json["type"]] = message.json["params"]
            else:
                lifted = ":".join(message.topic.split("/")[2:])
                state = {key: params for key, params in state.items() if key[0] != lifted}
        return {kind: params for (of, kind), params in state.items() if of == scope}


@pytest.fixture
def scope(prefix) -> str:
    return f"task:{prefix}"


@pytest.fixture
async def worker(connected):
    """Makes one that is synchronised: ``(manager, sync)``."""
    made: list[ConstraintSync] = []

    async def make(broker: Any, source_id: str, **options: Any) -> tuple[ConstraintManager, ConstraintSync]:
        manager = ConstraintManager(source_id=source_id)
        made.append(ConstraintSync(await connected(broker, source_id=source_id), manager, **options))
        assert await made[-1].start(timeout=30)
        return manager, made[-1]

    yield make
    for sync in made:
        await sync.stop()


def in_force(manager: ConstraintManager, scope: str) -> dict[str, Any]:
    return {one.type: dict(one.params) for one in manager.in_force() if one.scope == scope}


async def test_a_resume_is_published_in_this_order(connected, broker, new_observer, scope):
    """Empty on the type's topic, empty on the scope's, then what remains on the scope's again."""
    controller = ConstraintController(await connected(broker))
    observer = new_observer(broker, f"cascade/constraints/{scope.replace(':', '/')}/#")
    await controller.limit(scope, concurrency=2)
    await controller.pause(scope)
    await controller.resume(scope)
    here = f"cascade/constraints/{scope.replace(':', '/')}"
    await eventually(lambda: len(observer.seen) >= 7)
    told = [(message.topic, message.payload and message.json["type"]) for message in observer.seen]
    assert told == [
        (f"{here}/@concurrency", "concurrency"),
        (here, "concurrency"),
        (f"{here}/@pause", "pause"),
        (here, "pause"),
        (f"{here}/@pause", b""),
        (here, b""),
        (here, "concurrency"),
    ]
    limit, again = observer.seen[0].json, observer.seen[-1].json
    assert {name: limit[name] for name in ("id", "scope", "params", "expires_at")} == {
        "id": f"concurrency-{scope}", "scope": scope, "params": {"limit": 2}, "expires_at": None,
    }  # fmt: skip
    assert limit["revision"] != again["revision"], "each publication is told from all others"
    assert all(message.qos == 1 for message in observer.seen)
    late = new_observer(broker, f"{here}/#")
    await eventually(lambda: len(late.seen) == 2)
    assert {(message.topic, message.retain) for message in late.seen} == {(here, True), (f"{here}/@concurrency", True)}
    await controller.resume(scope, types=None)
    assert [one for one in await controller.in_force() if one.scope == scope] == []


async def test_commands_and_what_is_in_force(connected, broker, worker, prefix, scope):
    now = [1_000.0]
    manager, _ = await worker(broker, prefix)
    controller = ConstraintController(await connected(broker), clock=lambda: now[0])
    await controller.limit(scope, concurrency=2, rate="10/m", rate_capacity=3, capacity={"gpu": 1})
    await controller.pause(f"{scope}:a/b+#%")
    await eventually(lambda: len(in_force(manager, scope)) == 3 and in_force(manager, f"{scope}:a/b+#%"))
    assert in_force(manager, scope) == {
        "concurrency": {"limit": 2},
        "rate_limit": {"rate": "10/m", "capacity": 3},
        "capacity": {"gpu": 1},
    }
    await controller.resume(scope, types=["rate_limit", "capacity"])
    await controller.resume(f"{scope}:a/b+#%")
    await eventually(lambda: in_force(manager, scope) == {"concurrency": {"limit": 2}})
    await eventually(lambda: not in_force(manager, f"{scope}:a/b+#%"))
    await controller.limit(scope, concurrency=1, ttl=60)
    (listed,) = [one for one in await controller.in_force() if one.scope == scope]
    assert (listed.params, listed.expires_at) == ({"limit": 1}, 1_060.0)
    now[0] = 1_060.0
    assert [one for one in await controller.in_force() if one.scope == scope] == []
    await controller.resume(scope, types=None)


async def test_workers_confirm(connected, broker, worker, prefix, scope):
    connector = await connected(broker)
    controller = ConstraintController(connector)
    names = {f"{prefix}-{number}" for number in range(3)}
    for name in names:
        await worker(broker, name)
    # One that has crashed, and left a report that would do for a resume.
    gone = {"v": "1.0", "source": f"{prefix}-gone", "revision": 0, "constraints": [], "more": 0}
    await connector.publish_confirmed(applied_topic(f"{prefix}-gone"), gone, retain=True)
    async with controller.applied() as applied:
        change = await controller.pause(scope)
        assert await applied.wait(change, workers=3, timeout=30) == names
        change = await controller.limit(scope, rate="5/s", concurrency=4)
        assert await applied.wait(change, workers=3, timeout=30) == names
        for types in (["pause"], ["pause"], None):
            change = await controller.resume(scope, types=types)
            assert await applied.wait(change, workers=3, timeout=30) == names
        change = await controller.pause(scope)
        assert await applied.wait(change, workers=4, timeout=0.5) == names
        assert await applied.wait(change, workers=0, timeout=30) == frozenset()
    await controller.resume(scope)
    await connector.publish_confirmed(applied_topic(f"{prefix}-gone"), None, retain=True)


@pytest.mark.parametrize(
    "report",
    [
        "no report",
        {"constraints": "none"},
        {
            "constraints": [
                7,
                {"scope": "global", "type": ["pause"]},
                {"scope": "global", "type": "pause", "revision": 1},
            ]
        },
        {
            "constraints": [
                {"scope": "global", "type": "pause", "revision": "1"},
                {"scope": "global", "type": "capacity"},
            ]
        },
        {"constraints": [{"scope": "global", "type": "pause", "revision": "1"}], "more": 1},
    ],
)
def test_what_does_not_say_so_confirms_nothing(report):
    change = Change(scope="global", set={"pause": "1"}, lifted=("capacity",))
    assert not change.is_in(report)
    assert change.is_in({"constraints": [{"scope": "global", "type": "pause", "revision": "1"}], "more": 0})


async def test_waiting_for_workers_ends_with_the_connector(connected, peer):
    connector = await connected(peer)
    controller = ConstraintController(connector)
    async with controller.applied() as applied:
        waiting = asyncio.create_task(applied.wait(await controller.pause(), workers=1, timeout=100))
        await asyncio.sleep(0)
        await connector.disconnect()
        assert await asyncio.wait_for(waiting, 30) == frozenset()


async def test_a_worker_that_refuses_does_not_confirm(connected, broker, worker, prefix, scope):
    """It obeys what is signed, and the command is not."""
    _, sync = await worker(broker, prefix, verify=lambda key_id: None)
    controller = ConstraintController(await connected(broker))
    async with controller.applied() as applied:
        change = await controller.pause(scope)
        assert await applied.wait(change, workers=1, timeout=0.5) == frozenset()
    await eventually(lambda: sync.stats().refused.get("unsigned", 0) >= 2)
    await controller.resume(scope)


async def test_a_fleet_of_both_forms_agrees(connected, broker, worker, new_observer, prefix, scope):
    """Old controllers and ours steer, old engines and ours obey, and who comes late or back sees the same."""
    here = f"cascade/constraints/{scope.replace(':', '/')}"
    new, old = ConstraintController(await connected(broker)), new_observer(broker)
    engine = OldEngine(new_observer(broker, f"{here}/#"))
    manager, _ = await worker(broker, prefix)

    def put(kind: str, params: dict[str, Any]) -> None:
        fields = {"id": f"{kind}-{scope}", "scope": scope, "type": kind, "params": params, "expires_at": None}
        old.publish(here, json.dumps(fields), retain=True)

    async def agree_on(wanted: dict[str, Any]) -> None:
        await eventually(lambda: in_force(manager, scope) == wanted and engine.in_force(scope) == wanted)
        late, sync = await worker(broker, f"{prefix}-late")
        await eventually(lambda: in_force(late, scope) == wanted)
        await sync.stop()

    put("pause", {})
    await agree_on({"pause": {}})
    await new.limit(scope, concurrency=2)
    await agree_on({"pause": {}, "concurrency": {"limit": 2}})
    put("concurrency", {"limit": 5})
    await agree_on({"pause": {}, "concurrency": {"limit": 5}})
    await new.resume(scope)
    await agree_on({"concurrency": {"limit": 5}})
    await new.pause(scope)
    old.publish(here, "", retain=True)
    await agree_on({})
    put("rate_limit", {"rate": "5/s"})
    await new.resume(scope, types=["pause", "concurrency"])
    await eventually(lambda: engine.in_force(scope) == in_force(manager, scope))
    await new.resume(scope, types=None)
    await agree_on({})


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (lambda c: c.pause("tsk:x"), "scope"),
        (lambda c: c.pause("global", ttl=0), "ttl"),
        (lambda c: c.pause("global", ttl=float("nan")), "ttl"),
        (lambda c: c.limit("global"), "params"),
        (lambda c: c.limit("global", concurrency=-1), "params.limit"),
        (lambda c: c.limit("global", rate="10 per minute"), "params.rate"),
        (lambda c: c.limit("global", rate_capacity=2), "rate_capacity"),
        (lambda c: c.limit("global", capacity={"gpu": True}), "params.gpu"),
        (lambda c: c.resume("everything"), "scope"),
        (lambda c: c.resume("global", types="pause"), "types"),
    ],
)
async def test_what_makes_no_sense_is_named_and_not_published(connected, peer, command, field):
    controller = ConstraintController(await connected(peer))
    with pytest.raises(ConstraintError) as raised:
        await command(controller)
    assert raised.value.field.startswith(field)
    assert peer.published() == []
    assert peer.of(wire.SUBSCRIBE) == []


async def test_a_broker_that_does_not_answer_ends_a_command(connected, peer):
    connector = await connected(peer, timeout=0.2)
    controller = ConstraintController(connector)
    peer.suback = False
    with pytest.raises(ConfirmationError, match="does not say what it retains"):
        await controller.pause()
    peer.suback, peer.puback = True, False
    with pytest.raises(ConfirmationError, match="no acknowledgement"):
        await controller.pause()
    peer.puback = True
    peer.cut()
    await eventually(lambda: connector.connected)
    await controller.pause()
    peer.granted = 0x80
    with pytest.raises(SubscribeError, match="does not let this controller read"):
        await controller.pause()


async def test_a_command_that_is_cancelled_leaves_no_subscription(connected, peer):
    controller = ConstraintController(await connected(peer))
    peer.suback = False
    pausing = asyncio.create_task(controller.pause())
    await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 6)
    pausing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pausing
    await eventually(lambda: len(peer.of(wire.UNSUBSCRIBE)) == 6)
    peer.suback = True
    await controller.pause()


async def test_commands_of_one_controller_follow_each_other(connected, broker, scope):
    """Begun at once, they do not read what the other is about to change."""
    controller = ConstraintController(await connected(broker))
    await asyncio.gather(
        controller.pause(scope), controller.limit(scope, concurrency=2), controller.limit(scope, rate="1/s")
    )
    assert {one.type for one in await controller.in_force() if one.scope == scope} == {
        "pause", "concurrency", "rate_limit",
    }  # fmt: skip
    await controller.resume(scope, types=None)
