"""What is in force, and whom it lets start: by the manager alone, on a clock that the tests move."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
from given_constraints import Clock, constraint, put, task
from virtual_time import run

from cascade.connectors.mqtt import ConstraintError, ConstraintManager, GlobalConstraint, ResourceManager
from cascade.connectors.mqtt.constraints import ConstraintHandler, Scope, check_params


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def manager(clock) -> ConstraintManager:
    return ConstraintManager(ResourceManager(), clock=clock, project_id="mill", source_id="worker-7")


def starts(manager: ConstraintManager, clock: Clock, seconds: float, step: float = 0.25) -> list[float]:
    """When a task that asks every ``step`` seconds may start, in seconds from now."""
    begin, allowed = clock.now, []
    for number in range(int(seconds / step) + 1):
        clock.now = begin + number * step
        while manager.check_permission(task()):
            allowed.append(number * step)
            assert len(allowed) < 1000, "unlimited"
    return allowed


# --- the model


def test_a_constraint_keeps_what_it_does_not_know():
    message = {"id": "a", "scope": "global", "type": "pause", "params": {}, "expires_at": 5, "revision": "x", "v": [1]}
    read = GlobalConstraint.parse(message)
    assert read.extra == {"revision": "x", "v": [1]}
    assert read.payload() == message


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": None}, "id"),
        ({"id": ""}, "id"),
        ({"scope": 7}, "scope"),
        ({"type": []}, "type"),
        ({"params": [1]}, "params"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": True}, "expires_at"),
        ({"expires_at": float("nan")}, "expires_at"),
        ({"expires_at": 10**400}, "expires_at"),
    ],
)
def test_a_constraint_that_cannot_be_read_says_which_field(change, field):
    with pytest.raises(ConstraintError, match=field) as caught:
        GlobalConstraint.parse({"id": "a", "scope": "global", "type": "pause", "params": {}} | change)
    assert caught.value.field == field
    with pytest.raises(ConstraintError, match="JSON object"):
        GlobalConstraint.parse([change])


@pytest.mark.parametrize(
    ("kind", "params", "field"),
    [
        ("rate_limit", {}, "params.rate"),
        *(
            ("rate_limit", {"rate": rate}, "params.rate")
            for rate in ("x", "1/w", "-1", "nan/s", "inf", True, -1, [], 10**400)
        ),
        *(("rate_limit", {"rate": 1, "capacity": n}, "params.capacity") for n in (0, 0.5, -1, "2", True, 10**400)),
        *(
            ("concurrency", {"limit": limit}, "params.limit")
            for limit in (None, -1, 1.5, "2", True, float("inf"), 10**400)
        ),
        *(("capacity", {"gpu": amount}, "params.gpu") for amount in (-1, "2", None, float("nan"), 10**400)),
        ("capacity", {}, "params"),
    ],
)
def test_params_that_cannot_be_read_are_refused_and_what_was_in_force_stays(manager, kind, params, field):
    good = {"rate_limit": {"rate": "2/m"}, "concurrency": {"limit": 3}, "capacity": {"gpu": 1}}[kind]
    put(manager, kind, **good)
    before = manager.get_extra_requirements(task()), dict(manager._constraints)
    bad = GlobalConstraint(id="bad", scope="global", type=kind, params=params)
    for refuse in (manager.update_constraint, check_params):
        with pytest.raises(ConstraintError) as caught:
            refuse(bad)
        assert caught.value.field == field
    assert (manager.get_extra_requirements(task()), manager._constraints) == before


def test_what_a_person_types_as_a_scope_is_checked_and_what_a_message_says_is_not(manager, caplog):
    for good in ("global", "project:x", "task:a*", "source:*", "run:1"):
        assert Scope.parse(good).known
    for bad in ("", "globl", "task:", "task", "org:x"):
        with pytest.raises(ConstraintError, match="scope must be"):
            Scope.parse(bad)
    put(manager, "pause", "org:x")
    put(manager, "pause", "org:x")
    assert manager.check_permission(task())
    assert [record.levelname for record in caplog.records] == ["WARNING"]


# --- scopes


@pytest.mark.parametrize(
    ("scope", "who", "matches"),
    [
        ("global", {}, True),
        ("task:fetch", {}, True),
        ("task:f[a-f]tch*", {}, True),
        ("task:fe*", {}, True),
        ("task:*", {}, True),
        ("task:F*", {}, False),
        ("task:*etch", {}, True),
        ("task:Fetch", {}, False),
        ("task:etch", {}, False),
        ("project:mill", {}, True),
        ("project:mil*", {}, False),
        ("project:mill", {"project_id": "other"}, False),
        ("source:worker-*", {}, True),
        ("source:worker-8", {"source_id": "worker-8"}, True),
        ("run:nightly", {"run_id": "nightly"}, True),
        ("run:nightly", {}, False),
    ],
)
def test_whom_a_scope_concerns(manager, scope, who, matches):
    put(manager, "pause", scope)
    assert manager.check_permission(task(**who)) is not matches


def test_a_project_is_compared_with_the_variable(monkeypatch):
    monkeypatch.setenv("CASCADE_PROJECT_ID", "quarry")
    monkeypatch.setenv("CASCADE_SOURCE_ID", "host-1")
    manager = ConstraintManager(ResourceManager())
    for scope in ("project:quarry", "source:host-?"):
        put(manager, "pause", scope)
        assert not manager.check_permission(task())
        manager.remove_constraints_by_scope(scope)
        assert manager.check_permission(task())
    put(manager, "pause", "project:default")
    assert manager.check_permission(task())


def test_a_forked_child_is_another_source():
    program = """
import os
from types import SimpleNamespace
from cascade.connectors.mqtt import ConstraintManager, GlobalConstraint

manager = ConstraintManager()
manager.update_constraint(GlobalConstraint(id="p", scope=f"source:*-{os.getpid()}", type="pause", params={}))
task = SimpleNamespace(name="t")
assert not manager.check_permission(task)
child = os.fork()
if not child:
    os._exit(0 if manager.check_permission(SimpleNamespace(name="t")) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert not manager.check_permission(task)
"""
    environ = {name: value for name, value in os.environ.items() if name != "CASCADE_SOURCE_ID"}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environ)
    assert ended.returncode == 0, ended.stderr


# --- what is in force


def test_the_last_of_a_scope_and_type_wins_whatever_its_id(manager):
    for number, limit in ((1, 5), (2, 3)):
        manager.update_constraint(
            GlobalConstraint(id=f"c{number}", scope="global", type="concurrency", params={"limit": limit})
        )
    assert list(manager._constraints) == ["c2"]
    # And the id is no key: one that comes twice is two constraints.
    manager.update_constraint(GlobalConstraint(id="c2", scope="task:x", type="pause", params={}))
    assert len(manager.in_force()) == 2
    manager.remove_constraints_by_scope("task:x")
    assert [one.type for one in manager._constraints.values()] == ["concurrency"]


def test_objects_of_an_engine_are_taken_as_they_are(manager):
    theirs = SimpleNamespace(id="p", scope="task:fetch", type="pause", params={}, expires_at=None)
    manager.update_constraint(theirs)
    assert manager._constraints["p"] is theirs
    assert not manager.check_permission(task())


@pytest.mark.parametrize(
    ("scope", "lifted_by"),
    [
        ("task:a/b", "task:a%2Fb"),
        ("task:a/b", "task:a:b"),
        ("task:a+b", "task:a%2Bb"),
        ("task:100%", "task:100%25"),
        ("task:@home", "task:%40home"),
        ("task:@home", "task:@home"),
    ],
)
def test_a_scope_is_lifted_by_what_stands_in_its_topic(manager, scope, lifted_by):
    put(manager, "pause", scope)
    put(manager, "pause", "task:other")
    manager.remove_constraints_by_scope(lifted_by)
    assert [one.scope for one in manager.in_force()] == ["task:other"]


def test_one_type_of_a_scope_is_lifted_alone(manager):
    for scope in ("global", "task:fetch", "task:@home"):
        put(manager, "pause", scope)
        put(manager, "concurrency", scope, limit=2)
    for typed in ("global:@pause", "task:fetch:@pause", "task:%40home:@pause"):
        manager.remove_constraints_by_scope(typed)
    assert [one.type for one in manager.in_force()] == ["concurrency"] * 3


def test_an_expired_constraint_is_out_of_force_without_cleanup(manager, clock):
    put(manager, "pause", expires_at=clock.now + 5)
    put(manager, "concurrency", limit=1, expires_at=clock.now + 6)
    assert not manager.check_permission(task())
    clock.now += 5
    assert manager.check_permission(task())
    assert list(manager._constraints) == ["concurrency-global"]
    clock.now += 1
    assert manager.get_extra_requirements(task()) == {}
    assert manager.resource_manager.can_acquire({"constraint:concurrency:global": 9})


def test_one_that_has_expired_before_it_comes_lifts_what_was_in_force(manager, clock):
    put(manager, "pause")
    put(manager, "pause", expires_at=clock.now - 1)
    assert manager.check_permission(task())


# --- types


def test_a_pause_a_rate_and_a_limit_of_one_scope_are_in_force_together(manager):
    put(manager, "pause")
    put(manager, "concurrency", limit=2)
    put(manager, "rate_limit", rate="1/s")
    assert not manager.check_permission(task())
    manager.remove_constraints_by_scope("global:@pause")
    assert [manager.check_permission(task()) for _ in range(2)] == [True, False]
    assert manager.get_extra_requirements(task()) == {"constraint:concurrency:global": 1}


def test_a_limit_of_0_pauses(manager):
    put(manager, "concurrency", limit=0)
    assert not manager.check_permission(task())
    put(manager, "concurrency", limit=1)
    assert manager.check_permission(task())


def test_capacity_bounds_the_resource_and_is_no_more_than_the_machine_has(manager):
    resources = manager.resource_manager
    resources.set_capacity({"gpu": 4})
    put(manager, "capacity", gpu=2)
    assert resources.can_acquire({"gpu": 2})
    assert not resources.can_acquire({"gpu": 3})
    put(manager, "capacity", gpu=9, disk=1)
    assert [resources.can_acquire({"gpu": n}) for n in (4, 5)] == [True, False]
    assert not resources.can_acquire({"disk": 2})
    resources.set_capacity({"gpu": 1})
    manager.remove_constraints_by_scope("global")
    assert [resources.can_acquire({"gpu": n}) for n in (1, 2)] == [True, False]
    assert resources.can_acquire({"disk": 2})


def test_capacity_of_a_narrower_scope_bounds_what_its_tasks_hold(manager):
    put(manager, "capacity", "task:train*", gpu=2)
    train = task("train", requirements={"gpu": 1, "cpu": 3})
    assert manager.get_extra_requirements(train) == {"constraint:capacity:task:train*:gpu": 1}
    assert manager.get_extra_requirements(task("other", requirements={"gpu": 1})) == {}
    node = task("train", constraints=SimpleNamespace(requirements={"gpu": 2}))
    assert manager.get_extra_requirements(node) == {"constraint:capacity:task:train*:gpu": 2}
    assert not manager.resource_manager.can_acquire({"constraint:capacity:task:train*:gpu": 3})


def test_a_node_that_maps_is_charged_nothing_and_its_items_are(manager):
    put(manager, "concurrency", limit=1)
    put(manager, "rate_limit", rate="1/h")
    mapping = task("map(fetch)", node_type="map")
    assert manager.get_extra_requirements(mapping) == {}
    assert manager.check_permission(mapping)
    assert [manager.check_permission(task()) for _ in range(2)] == [True, False]
    put(manager, "pause")
    assert not manager.check_permission(mapping)


# --- rates


def test_a_rate_below_1_a_second_lets_a_task_run_every_2_seconds(manager, clock):
    put(manager, "rate_limit", rate="30/m")
    assert starts(manager, clock, 6) == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("params", "at_once"),
    [
        ({"rate": "5/s"}, 5),
        ({"rate": 5}, 5),
        ({"rate": "5"}, 5),
        ({"rate": "300/m"}, 5),
        ({"rate": "18000/hr"}, 5),
        ({"rate": "10/m"}, 1),
        ({"rate": "300/h", "capacity": 4}, 4),
        ({"rate": "0.1/s", "capacity": 1}, 1),
    ],
)
def test_how_many_may_start_at_once(manager, clock, params, at_once):
    put(manager, "rate_limit", **params)
    assert len(starts(manager, clock, 0)) == at_once


def test_a_rate_of_0_pauses(manager, clock):
    put(manager, "rate_limit", rate=0)
    assert starts(manager, clock, 3600, step=60) == []
    put(manager, "rate_limit", rate=1)
    assert manager.check_permission(task())


def test_the_same_limit_again_does_not_refill_the_bucket(manager, clock):
    put(manager, "rate_limit", rate="1/m", capacity=3)
    assert len(starts(manager, clock, 0)) == 3
    put(manager, "rate_limit", rate="1/m", capacity=3)
    assert starts(manager, clock, 0) == []
    # Nor does lifting it and setting it again, as a resume of one type does on the topic of old readers.
    manager.remove_constraints_by_scope("global")
    put(manager, "rate_limit", rate="1/m", capacity=3)
    assert starts(manager, clock, 60, step=60) == [60]


def test_a_lifted_limit_is_forgotten_when_its_bucket_would_be_full(manager, clock):
    put(manager, "rate_limit", rate="1/s", capacity=2)
    assert len(starts(manager, clock, 0)) == 2
    manager.remove_constraints_by_scope("global")
    clock.now += 1
    put(manager, "rate_limit", "task:other", rate="1/s")
    manager.remove_constraints_by_scope("task:other")
    put(manager, "rate_limit", rate="1/s", capacity=2)
    assert len(starts(manager, clock, 0)) == 1
    clock.now += 60
    assert len(starts(manager, clock, 0)) == 2


def test_a_check_that_ends_in_a_denial_spends_no_token(manager, clock):
    put(manager, "rate_limit", rate="1/h")
    put(manager, "rate_limit", "task:fetch", rate="1/h", capacity=2)
    put(manager, "pause", "task:fetch")
    assert not any(manager.check_permission(task()) for _ in range(5))
    manager.remove_constraints_by_scope("task:fetch:@pause")
    assert manager.check_permission(task("other"))  # takes the only token of global
    assert not any(manager.check_permission(task()) for _ in range(5))
    manager.remove_constraints_by_scope("global")
    assert len(starts(manager, clock, 0)) == 2


def test_a_clock_that_is_set_back_holds_no_token_back(manager, clock):
    put(manager, "rate_limit", rate="1/s")
    assert manager.check_permission(task())
    clock.now -= 86_400
    assert not manager.check_permission(task())
    clock.now += 1
    assert manager.check_permission(task())


def test_rates_hold_for_times_that_floats_do_not_hold(manager, clock):
    put(manager, "rate_limit", rate="10/s", capacity=1)
    allowed = 0
    for number in range(1001):
        clock.now = 1_700_000_000.3 + number * 0.1
        allowed += manager.check_permission(task())
    assert allowed == 1001


# --- who is woken


def test_each_change_wakes_at_once(manager):
    woken: list[str] = []
    manager.set_wakeup_callback(lambda: woken.append("engine"))
    listener = lambda: woken.append("listener")  # noqa: E731
    manager.add_listener(listener)
    for limit in (1, 2):
        put(manager, "concurrency", limit=limit)
        assert woken == ["listener", "engine"]
        woken.clear()
    manager.remove_listener(listener)
    manager.remove_constraints_by_scope("global")
    assert woken == ["engine"]
    manager.remove_constraints_by_scope("global")
    assert woken == ["engine"], "nothing has changed"


def test_a_callback_that_raises_harms_nobody(manager, caplog):
    woken: list[int] = []
    manager.add_listener(lambda: 1 // 0)
    manager.set_wakeup_callback(lambda: woken.append(1))
    put(manager, "pause")
    assert woken == [1]
    assert "a wake-up failed" in caplog.text


def test_expiry_and_tokens_wake_when_they_are_due():
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        manager = ConstraintManager(clock=loop.time)
        begin, woken = loop.time(), []
        put(manager, "pause", expires_at=begin + 3)
        put(manager, "rate_limit", rate="12/m")
        assert manager.check_permission(task("other")) is False
        manager.set_wakeup_callback(lambda: woken.append(loop.time() - begin))
        await asyncio.sleep(4)
        assert manager.check_permission(task()) is True
        # A thousand who are denied make one timer.
        assert not any(manager.check_permission(task()) for _ in range(1000))
        await asyncio.sleep(60)
        assert manager.check_permission(task()) is True
        return woken

    expiry, token = run(main())
    assert expiry == pytest.approx(3, abs=0.01)
    assert token == pytest.approx(4 + 5, abs=0.01)


def test_twenty_thousand_ends_are_not_all_remembered_and_the_last_one_still_wakes():
    """A controller that renews a pause each second for years must not fill the memory of those who obey it."""

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        manager = ConstraintManager(clock=loop.time)
        end = loop.time() + 1_000_000
        put(manager, "pause", expires_at=end + 1)
        tracemalloc.start()
        try:
            for second in range(20_000):
                put(manager, "concurrency", limit=3, expires_at=end - second)
            grown = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert grown < 1_000_000
        put(manager, "concurrency", limit=3, expires_at=end)
        lifted = asyncio.Event()
        manager.set_wakeup_callback(lambda: manager.in_force() or lifted.set())
        await lifted.wait()
        return loop.time(), end + 1

    woken, last = run(main())
    assert woken == pytest.approx(last, abs=0.01)


def test_what_was_asked_for_without_a_loop_is_taken_up_by_the_next(monkeypatch):
    """Time through the module: what replaces ``time.time`` is seen."""
    manager = ConstraintManager()
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    put(manager, "pause", expires_at=1000.05)
    put(manager, "concurrency", limit=1)

    async def main() -> None:
        woken = asyncio.Event()
        manager.set_wakeup_callback(woken.set)
        assert not manager.check_permission(task())
        monkeypatch.setattr(time, "time", lambda: 1000.1)
        await asyncio.wait_for(woken.wait(), 20)
        assert manager.check_permission(task())

    asyncio.run(main())


# --- handlers of others


class Curfew:
    """Written against the five methods; counts what it is asked."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.open = True

    def handles_type(self) -> str:
        return "curfew"

    def on_constraint_add(self, constraint: Any, manager: Any) -> None:
        if constraint.params.get("hour") is None:
            raise ValueError("no hour")
        self.events.append(("add", constraint.id))

    def on_constraint_remove(self, constraint: Any, manager: Any) -> None:
        self.events.append(("remove", constraint.id))

    def check_permission(self, task: Any, constraint: Any, manager: Any) -> bool:
        self.events.append(("asked", task.name))
        return self.open

    def append_requirements(self, task: Any, constraint: Any, requirements: dict[str, Any], manager: Any) -> None:
        requirements["door"] = 1


def test_another_handler_is_told_and_asked_last(manager):
    curfew = Curfew()
    manager.register_handler(curfew)
    put(manager, "curfew", "task:fetch", hour=22)
    put(manager, "rate_limit", rate="1/h")
    curfew.open = False
    assert not manager.check_permission(task())
    curfew.open = True
    assert [manager.check_permission(task()) for _ in range(2)] == [True, False]
    assert curfew.events == [("add", "curfew-task:fetch"), ("asked", "fetch"), ("asked", "fetch")], (
        "its denial was free"
    )
    assert manager.check_permission(task("other")) is False
    assert manager.get_extra_requirements(task()) == {"door": 1}
    assert manager.get_extra_requirements(task("other")) == {}


def test_another_handler_that_refuses_keeps_the_old_one(manager):
    curfew = Curfew()
    manager.register_handler(curfew)
    manager.update_constraint(GlobalConstraint(id="a", scope="global", type="curfew", params={"hour": 1}))
    with pytest.raises(ValueError, match="no hour"):
        manager.update_constraint(GlobalConstraint(id="b", scope="global", type="curfew", params={}))
    assert curfew.events == [("add", "a"), ("remove", "a"), ("add", "a")]
    assert list(manager._constraints) == ["a"]


def test_another_handler_that_fails_as_its_constraint_ends_is_told_and_harms_nobody(manager, clock, caplog):
    class Unhinged(Curfew):
        def on_constraint_remove(self, constraint: Any, manager: Any) -> None:
            raise KeyError(constraint.id)

    manager.register_handler(Unhinged())
    put(manager, "curfew", hour=22, expires_at=clock() + 1)
    put(manager, "concurrency", limit=1, expires_at=clock() + 1)
    woken: list[int] = []
    manager.set_wakeup_callback(lambda: woken.append(1))
    clock.now += 2
    assert manager.check_permission(task())
    assert manager.get_extra_requirements(task()) == {}
    assert manager.resource_manager.can_acquire({"constraint:concurrency:global": 2}), "its limit is lifted too"
    assert woken
    assert "curfew" in caplog.text


def test_a_handler_takes_the_place_of_the_one_before(manager):
    class Suggestion(ConstraintHandler):
        def handles_type(self) -> str:
            return "pause"

    put(manager, "pause")
    manager.register_handler(Suggestion())
    assert manager.check_permission(task())


def test_a_type_that_nobody_handles_has_no_effect_until_somebody_does(manager, caplog):
    put(manager, "curfew", hour=22)
    assert manager.check_permission(task())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    curfew = Curfew()
    curfew.open = False
    manager.register_handler(curfew)
    assert not manager.check_permission(task())


def test_it_can_be_subclassed():
    class Counting(ConstraintManager):
        def __init__(self, resource_manager: ResourceManager) -> None:
            super().__init__(resource_manager)
            self.asked = 0

        def check_permission(self, task: Any) -> bool:
            self.asked += 1
            return super().check_permission(task)

    manager = Counting(ResourceManager(capacity={"gpu": 1}))
    manager.update_constraint(constraint("pause"))
    assert not manager.check_permission(task())
    assert manager.asked == 1
