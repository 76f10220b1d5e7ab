"""A process follows what the broker holds: before its first task, through outages, and on odd brokers."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from types import SimpleNamespace
from typing import Any

import pytest

import wire
from cascade.connectors.mqtt import ConstraintController, ConstraintManager, ConstraintSync
from fake_peer import FakePeer
from waiting import eventually, settled


def message(scope: str, kind: str = "pause", params: dict[str, Any] | None = None, **more: Any) -> str:
    fields = {"id": f"{kind}-{scope}", "scope": scope, "type": kind, "params": params or {}, "expires_at": None}
    return json.dumps(fields | more)


def topic(scope: str, kind: str = "") -> str:
    return f"cascade/constraints/{scope.replace(':', '/')}{f'/@{kind}' if kind else ''}"


@pytest.fixture
def scope(prefix) -> str:
    """A scope of this test's own: brokers are shared."""
    return f"task:{prefix}"


@pytest.fixture
def task(prefix) -> Any:
    return SimpleNamespace(name=prefix)


@pytest.fixture
async def new_sync():
    """Makes one that is stopped at the end; ``start`` is the test's."""
    made: list[ConstraintSync] = []

    def make(connector: Any, manager: ConstraintManager, **options: Any) -> ConstraintSync:
        made.append(ConstraintSync(connector, manager, **options))
        return made[-1]

    yield make
    for sync in made:
        await sync.stop()


def kinds(manager: ConstraintManager, scope: str) -> set[str]:
    return {one.type for one in manager.in_force() if one.scope == scope}


async def test_all_types_are_in_force_before_the_first_task(connected, broker, new_observer, new_sync, scope, task):
    speaker = new_observer(broker)
    speaker.publish(topic(scope, "pause"), message(scope), retain=True)
    speaker.publish(topic(scope, "concurrency"), message(scope, "concurrency", {"limit": 2}), retain=True)
    speaker.publish(topic(scope), message(scope, "rate_limit", {"rate": "30/m"}), retain=True)
    manager = ConstraintManager()
    sync = new_sync(await connected(broker), manager)
    assert await sync.start(timeout=30)
    assert kinds(manager, scope) == {"pause", "concurrency", "rate_limit"}
    assert not manager.check_permission(task)
    assert sync.stats().synchronised


async def test_changes_are_followed_and_wake_who_waits(connected, broker, new_observer, new_sync, scope, task):
    speaker, manager, woken = new_observer(broker), ConstraintManager(), []
    sync = new_sync(await connected(broker), manager)
    assert await sync.start(timeout=30)
    manager.set_wakeup_callback(lambda: woken.append(manager.check_permission(task)))
    revision = sync.revision
    speaker.publish(topic(scope), message(scope), retain=True)
    await eventually(lambda: woken == [False])
    speaker.publish(topic(scope), "", retain=True)
    await eventually(lambda: woken == [False, True])
    assert sync.revision == revision + 2


async def test_an_expired_constraint_is_out_of_force_by_the_managers_clock(
    connected, broker, new_observer, new_sync, scope, task
):
    now = [1_000.0]
    speaker, manager = new_observer(broker), ConstraintManager(clock=lambda: now[0])
    sync = new_sync(await connected(broker, source_id=scope), manager)
    await sync.start(timeout=30)
    speaker.publish(topic(scope), message(scope, expires_at=1_060.0), retain=True)
    await eventually(lambda: kinds(manager, scope) == {"pause"})
    now[0] = 1_059.9
    assert not manager.check_permission(task)
    now[0] = 1_060.0
    assert manager.check_permission(task)
    assert sync.stats().in_force == len(manager.in_force())


async def test_what_was_lifted_while_away_is_lifted_here(
    connected, mosquitto_broker, new_proxy, new_observer, new_sync, scope
):
    proxy, speaker, manager = new_proxy(mosquitto_broker), new_observer(mosquitto_broker), ConstraintManager()
    connector = await connected(proxy)
    sync = new_sync(connector, manager)
    await sync.start(timeout=30)
    other = f"{scope}-other"
    for one in (scope, other):
        speaker.publish(topic(one, "pause"), message(one), retain=True)
        speaker.publish(topic(one), message(one), retain=True)
    await eventually(lambda: kinds(manager, scope) and kinds(manager, other))
    proxy.closing = True
    proxy.cut()
    await eventually(lambda: not connector.connected)
    for one in (topic(scope, "pause"), topic(scope)):
        speaker.publish(one, "", retain=True)
    speaker.publish(topic(other), message(other, "concurrency", {"limit": 1}), retain=True)
    assert kinds(manager, scope) == {"pause"}, "an outage lifts nothing"
    proxy.closing = False
    await eventually(lambda: not kinds(manager, scope) and kinds(manager, other) == {"pause", "concurrency"})


async def test_an_outage_lifts_nothing_that_the_broker_still_holds(
    connected, mosquitto_broker, new_proxy, new_observer, new_sync, scope
):
    """A pause that an older controller overwrote with a limit is in force where both were seen, cut off or not."""
    proxy, speaker, manager = new_proxy(mosquitto_broker), new_observer(mosquitto_broker), ConstraintManager()
    connector = await connected(proxy)
    sync = new_sync(connector, manager)
    await sync.start(timeout=30)
    speaker.publish(topic(scope), message(scope), retain=True)
    speaker.publish(topic(scope), message(scope, "concurrency", {"limit": 1}), retain=True)
    await eventually(lambda: kinds(manager, scope) == {"pause", "concurrency"})
    for cuts in range(1, 4):
        before = sync.stats().received
        proxy.cut()
        await eventually(lambda cuts=cuts: connector.stats().reconnects >= cuts)
        await eventually(lambda before=before: sync.stats().received > before)
        assert await settled(lambda: kinds(manager, scope)) == {"pause", "concurrency"}


async def test_brokers_that_give_no_retained_messages_to_wildcards(connected, peer, new_sync):
    """This one sends what is retained only where a filter names its topic."""
    peer.retained = {
        topic("source:me", "pause"): message("source:me").encode(),
        topic("source:me"): message("source:me", "concurrency", {"limit": 3}).encode(),
        topic("project:mine"): message("project:mine").encode(),
        topic("task:unnamed"): message("task:unnamed").encode(),
    }
    manager = ConstraintManager(project_id="mine", source_id="me")
    sync = new_sync(await connected(peer, source_id="me"), manager, scopes=["source:me", "project:mine"])
    assert await sync.start(timeout=30)
    assert kinds(manager, "source:me") == {"pause", "concurrency"}
    assert kinds(manager, "project:mine") == {"pause"}
    assert kinds(manager, "task:unnamed") == set()


async def test_its_own_scopes_are_named_by_default(connected, peer, new_sync, monkeypatch):
    monkeypatch.setenv("CASCADE_PROJECT_ID", "nightly")
    sync = new_sync(await connected(peer), ConstraintManager(source_id="me"))
    assert await sync.start(timeout=30)
    filters = {one for packet in peer.of(wire.SUBSCRIBE) for one in packet.filters}
    assert {topic(one) for one in ("#", "global", "project:nightly", "source:me")} <= filters
    assert {topic(one, "pause") for one in ("global", "project:nightly", "source:me")} <= filters


async def test_run_goes_on_without_knowing_and_catches_up(connected, peer, new_sync, caplog):
    peer.suback = False
    manager = ConstraintManager()
    sync = new_sync(await connected(peer), manager, scopes=[])
    with caplog.at_level(logging.WARNING):
        assert await sync.start(timeout=0.1) is False
    assert "tasks run without them" in caplog.text
    assert not sync.stats().synchronised
    peer.suback = True
    peer.cut()
    await eventually(lambda: sync.stats().synchronised)


async def test_hold_waits_until_constraints_are_known(new_connector, peer, new_sync, caplog):
    peer.suback = False
    connector = new_connector(peer)
    await connector.connect()
    sync = new_sync(connector, ConstraintManager(), on_timeout="hold")
    with caplog.at_level(logging.WARNING):
        starting = asyncio.create_task(sync.start(timeout=0.05))
        await eventually(lambda: "holding until they are" in caplog.text)
    assert not starting.done()
    peer.suback = True
    peer.cut()
    assert await asyncio.wait_for(starting, 30)


async def test_a_start_that_is_cancelled_leaves_nothing(connected, peer, new_sync):
    peer.suback = False
    sync = new_sync(await connected(peer), ConstraintManager(), on_timeout="hold", scopes=[])
    starting = asyncio.create_task(sync.start())
    await eventually(lambda: peer.of(wire.SUBSCRIBE))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await eventually(lambda: [packet.filters for packet in peer.of(wire.UNSUBSCRIBE)] == [["cascade/constraints/#"]])


async def test_it_may_start_before_the_connection(new_connector, broker, new_observer, new_sync, scope):
    new_observer(broker).publish(topic(scope), message(scope), retain=True)
    manager, connector = ConstraintManager(), new_connector(broker)
    sync = new_sync(connector, manager, on_timeout="hold")
    starting = asyncio.create_task(sync.start())
    await connector.connect()
    assert await asyncio.wait_for(starting, 30)
    assert kinds(manager, scope) == {"pause"}


def test_a_policy_that_does_not_exist_is_named(new_connector, peer):
    with pytest.raises(ValueError, match="on_timeout"):
        ConstraintSync(new_connector(peer), ConstraintManager(), on_timeout="hope")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ('{"scope": "%s", "type": "pause", "params": {}}', "unreadable"),
        ("[1]", "unreadable"),
        ('{"id": "x", "scope": "%s", "type": "concurrency", "params": {"limit": -1}}', "unreadable"),
        ('{"id": "x", "scope": "%s", "type": "rate_limit", "params": {"rate": "fast"}}', "unreadable"),
        ('{"id": "x", "scope": "%s", "type": "concurrency", "params": {"limit": 1' + 400 * "0" + "}}", "unreadable"),
        ('{"id": "x", "scope": "%s", "type": "pause", "expires_at": 1' + 400 * "0" + "}", "unreadable"),
        ('{"id": "x", "scope": "%s", "type": "resume", "params": {}}', "unreadable"),
        ('{"id": "x", "scope": "%s", "type": "pause", "params": {"x": "' + 10_000 * "x" + '"}}', "too_large"),
        ('{"id": "x", "scope": "%s", "type": "pause", "more": [' + 5_000 * "[]," + "[]]}", "too_large"),
        ('{"id": "x", "scope": "global", "type": "pause", "params": {}}', "foreign_topic"),
        ('{"id": "x", "scope": "%s-not", "type": "pause", "params": {}}', "foreign_topic"),
    ],
    ids=lambda value: value[:60],
)
async def test_what_cannot_be_obeyed_is_counted_and_what_is_in_force_stays(
    connected, mosquitto_broker, new_observer, new_sync, scope, caplog, payload, reason
):
    speaker, manager = new_observer(mosquitto_broker), ConstraintManager()
    sync = new_sync(await connected(mosquitto_broker), manager)
    await sync.start(timeout=30)
    speaker.publish(topic(scope), message(scope, "rate_limit", {"rate": "10/m"}), retain=True)
    await eventually(lambda: kinds(manager, scope))
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            speaker.publish(topic(scope), payload.replace("%s", scope))
        await eventually(lambda: sync.stats().refused == {reason: 5})
    assert [dict(one.params) for one in manager.in_force() if one.scope == scope] == [{"rate": "10/m"}]
    assert sum("constraint refused" in record.message for record in caplog.records) == 3, "at 1, 2 and 4"


async def test_an_unreadable_limit_leaves_the_one_before_it_in_force_over_a_reconnect(
    connected, own_mosquitto, new_proxy, new_observer, new_sync, scope
):
    broker = own_mosquitto()
    proxy, speaker, manager = new_proxy(broker), new_observer(broker), ConstraintManager()
    sync = new_sync(await connected(proxy), manager)
    await sync.start(timeout=30)
    for params in ({"rate": "10/m"}, {"rate": "fast"}):
        speaker.publish(topic(scope), message(scope, "rate_limit", params), retain=True)
    await eventually(lambda: sync.stats().refused == {"unreadable": 1})
    before = sync.stats().received
    proxy.cut()
    await eventually(lambda: sync.stats().received > before)
    assert await settled(lambda: [dict(one.params) for one in manager.in_force()]) == [{"rate": "10/m"}]


class Careless:
    """A handler of somebody's own, with the five methods; it forgets that params may lack what it looks for."""

    def handles_type(self) -> str:
        return "curfew"

    def on_constraint_add(self, constraint: Any, manager: Any) -> None:
        constraint.params["hour"]

    def on_constraint_remove(self, constraint: Any, manager: Any) -> None:
        raise OSError

    def check_permission(self, task: Any, constraint: Any, manager: Any) -> bool:
        return True

    def append_requirements(self, task: Any, constraint: Any, requirements: dict[str, Any], manager: Any) -> None:
        pass


async def test_a_handler_that_fails_keeps_nothing_else_from_being_obeyed(connected, peer, new_sync, caplog):
    manager = ConstraintManager()
    manager.register_handler(Careless())
    sync = new_sync(await connected(peer), manager)
    await sync.start(timeout=30)
    for kind, params in (("curfew", {"hour": 22}), ("curfew", {}), ("pause", {})):
        peer.send(wire.publish(topic("global", kind), message("global", kind, params).encode()))
    await eventually(lambda: sync.stats().refused == {"unreadable": 1} and sync.stats().in_force == 2)
    assert [(one.type, dict(one.params)) for one in manager.in_force()] == [("curfew", {"hour": 22}), ("pause", {})]
    peer.send(wire.publish(topic("global"), b""))
    await eventually(lambda: sync.stats().in_force == 0)
    assert manager.in_force() == ()
    assert "callback" not in caplog.text


async def test_a_flood_of_refusals_is_a_few_lines_and_reports(connected, own_mosquitto, new_observer, new_sync, caplog):
    broker = own_mosquitto()
    observer = new_observer(broker, "cascade/applied/me")
    sync = new_sync(await connected(broker, source_id="me"), ConstraintManager())
    await sync.start(timeout=30)
    with caplog.at_level(logging.WARNING):
        for _ in range(2_000):
            observer.publish_soon("cascade/constraints/global", '{"no": "constraint"}', qos=1)
        await eventually(lambda: sync.stats().refused == {"unreadable": 2_000})
    assert len(caplog.records) < 15
    await eventually(lambda: observer.seen[-1].json["refused"] == {"unreadable": 2_000})
    assert len(observer.seen) < 1_000


async def test_what_a_worker_obeys_is_reported_and_taken_back(connected, broker, new_observer, new_sync, prefix, scope):
    observer = new_observer(broker, f"cascade/applied/{prefix}%2F1")
    connector = await connected(broker, source_id=f"{prefix}/1")
    sync = new_sync(connector, ConstraintManager())
    await sync.start(timeout=30)
    observer.publish(
        topic(scope), message(scope, revision="00ff00ff00ff00ff", expires_at=time.time() + 600), retain=True
    )

    def listed() -> list[Any]:
        return [one for one in observer.seen[-1].json["constraints"] if one["scope"] == scope] if observer.seen else []

    await eventually(listed)
    (one,) = listed()
    assert (one["type"], one["id"], one["revision"]) == ("pause", f"pause-{scope}", "00ff00ff00ff00ff")
    report = observer.seen[-1].json
    assert (report["v"], report["source"], report["epoch"]) == ("1.0", f"{prefix}/1", connector.epoch)
    assert report["revision"] == sync.revision
    assert report["refused"] == {}
    observer.publish(topic(scope), "", retain=True)
    await eventually(lambda: not listed())
    await sync.stop()
    await eventually(lambda: observer.payloads[-1] == b"")


class NoReports(FakePeer):
    """Ends the connection of who publishes a report, as mosquitto 2.0.11 does without the right to."""

    def answer(self, packet: wire.Packet) -> bytes:
        if packet.kind == wire.PUBLISH and packet.topic.startswith("cascade/applied/"):
            raise OSError
        return super().answer(packet)


async def test_a_broker_that_ends_the_connection_over_reports_gets_no_more(new_connector, new_sync, caplog):
    with NoReports() as peer, caplog.at_level(logging.WARNING):
        connector = new_connector(peer, source_id="me")
        await connector.connect()
        sync = new_sync(connector, ConstraintManager())
        assert await sync.start(timeout=30)
        await eventually(lambda: "may it publish there?" in caplog.text)
        peer.send(wire.publish(topic("global"), message("global").encode()))
        await eventually(lambda: sync.stats().in_force == 1)
        assert await settled(lambda: peer.connections) == 3


async def test_a_stopped_sync_follows_no_more_and_can_be_started_again(
    connected, broker, new_observer, new_sync, scope
):
    speaker, manager = new_observer(broker), ConstraintManager()
    sync = new_sync(await connected(broker), manager)
    await sync.start(timeout=30)
    speaker.publish(topic(scope), message(scope), retain=True)
    await eventually(lambda: kinds(manager, scope))
    await sync.stop()
    await sync.stop()
    speaker.publish(topic(scope), "", retain=True)
    assert await settled(lambda: kinds(manager, scope)) == {"pause"}, "what is in force stays so"
    assert await sync.start(timeout=30)
    await eventually(lambda: not kinds(manager, scope))


async def test_a_connector_that_is_closed_and_opened_again(connected, broker, new_observer, new_sync, scope):
    speaker, manager, connector = new_observer(broker), ConstraintManager(), await connected(broker)
    sync = new_sync(connector, manager)
    await sync.start(timeout=30)
    speaker.publish(topic(scope), message(scope), retain=True)
    await eventually(lambda: kinds(manager, scope))
    await connector.disconnect()
    speaker.publish(topic(scope), "", retain=True)
    assert kinds(manager, scope) == {"pause"}
    await connector.connect()
    await eventually(lambda: not kinds(manager, scope))


async def test_cuts_at_any_moment_of_commands(connected, mosquitto_broker, new_proxy, new_sync, scope):
    """Whatever was missed, in the end what is in force here is what the broker holds."""
    chance = random.Random(7)
    proxy, manager = new_proxy(mosquitto_broker), ConstraintManager()
    controller = ConstraintController(await connected(mosquitto_broker))
    connector = await connected(proxy)
    sync = new_sync(connector, manager, scopes=[scope])
    await sync.start(timeout=30)
    pauses = [
        lambda: controller.pause(scope),
        lambda: controller.resume(scope),
        lambda: controller.limit(scope, concurrency=chance.randrange(5)),
        lambda: controller.limit(scope, rate=chance.randrange(1, 5), concurrency=3),
        lambda: controller.resume(scope, types=["rate_limit", "concurrency"]),
    ]
    for number in range(12):
        commands = [asyncio.create_task(chance.choice(pauses)()) for _ in range(3)]
        if number % 6 == 5:  # three within ten seconds would count as being kicked out
            seen = sync.stats().received
            await eventually(lambda seen=seen: sync.stats().received > seen)
            proxy.cut()
        await asyncio.gather(*commands)
    wanted = {one.type: dict(one.params) for one in await controller.in_force() if one.scope == scope}

    def here() -> dict[str, Any]:
        return {one.type: dict(one.params) for one in manager.in_force() if one.scope == scope}

    await eventually(lambda: connector.connected and here() == wanted)
    assert await settled(here) == wanted
    await controller.resume(scope, types=None)
    await eventually(lambda: not here())
