"""What a task has to acquire: amounts that are results of other tasks, and what constraints add."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import pytest
from given_constraints import put, task
from virtual_time import BEGINNING, run

from cascade.connectors.mqtt import ConstraintError, ConstraintManager, ConstraintResolver, Lazy


class Doubled:
    """A ``Lazy`` of somebody's own."""

    dependency = "the doubled one"

    def __init__(self) -> None:
        self.asked = 0

    async def amount(self, results: Any) -> Any:
        self.asked += 1
        return 2 * await results.result("a")


class State:
    """The three questions that the engine's state backend answers."""

    def __init__(self, results: dict[str, Any], skipped: dict[str, str] | None = None) -> None:
        self._results = results
        self._skipped = skipped or {}
        self.asked: list[str] = []

    async def has_result(self, identifier: str) -> bool:
        return identifier in self._results

    async def get_result(self, identifier: str) -> Any:
        self.asked.append(identifier)
        return self._results[identifier]

    async def get_skip_reason(self, identifier: str) -> str | None:
        return self._skipped.get(identifier)


def node(name: str = "train", **requirements: Any) -> Any:
    return task(name, structural_id=f"id-{name}", constraints=SimpleNamespace(requirements=requirements))


def resolve(*arguments: Any, resolver: ConstraintResolver | None = None, **options: Any) -> Any:
    return run((resolver or ConstraintResolver()).resolve(*arguments, **options))


def lazy(identifier: str) -> Any:
    return SimpleNamespace(_uuid=identifier)


def test_literal_and_lazy_amounts():
    assert isinstance(Doubled(), Lazy)

    async def later() -> int:
        return 4

    wants = {"gpu": 1, "cpu": 0.5, "memory_gb": lazy("a"), "disk": Doubled(), "net": later(), "none": 0}
    wants["part"] = Fraction(1, 4)
    found = resolve(wants, {"a": 3})
    assert found == {"gpu": 1, "cpu": 0.5, "memory_gb": 3, "disk": 6, "net": 4, "none": 0, "part": 0.25}
    assert resolve({}, {}) == {}


def test_results_may_still_be_on_their_way():
    async def main() -> Any:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(5, future.set_result, 7)
        return await ConstraintResolver().resolve({"gpu": lazy("a"), "cpu": future}, {"a": future})

    assert run(main()) == {"gpu": 7, "cpu": 7}


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ({}, "train needs gpu from a: it has no result"),
        ({"a": OSError("disk full")}, "train needs gpu from a, which failed: disk full"),
        ({"a": -1}, r"train \(by a\) needs gpu=-1: it must be a number from 0 up"),
        ({"a": float("nan")}, r"gpu=nan"),
        ({"a": True}, r"gpu=True"),
        ({"a": "2"}, r"gpu='2'"),
        ({"a": None}, r"gpu=None"),
    ],
)
def test_what_is_missing_failed_or_no_amount_is_named(results, says):
    with pytest.raises(ConstraintError, match=says):
        resolve({"gpu": lazy("a")}, results, task=task("train"))
    literal = results.get("a")
    if literal is not None and not isinstance(literal, Exception):
        with pytest.raises(ConstraintError, match="train needs gpu="):
            resolve({"gpu": literal}, {}, task=task("train"))


def test_a_dependency_that_was_cancelled_failed():
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await ConstraintResolver().resolve({"gpu": lazy("a")}, {"a": future}, task="train")

    with pytest.raises(ConstraintError, match="train needs gpu from a, which was cancelled"):
        run(main())


def test_a_result_that_never_comes_has_a_deadline_and_is_left_alone():
    async def main() -> float:
        never = asyncio.get_running_loop().create_future()
        with pytest.raises(ConstraintError, match="train needs gpu from a: no result within 5 s"):
            await ConstraintResolver(timeout=5).resolve({"gpu": lazy("a")}, {"a": never}, task="train")
        assert not never.done()
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(BEGINNING + 5)


def test_an_amount_is_computed_once_a_run():
    async def main() -> None:
        resolver, amount = ConstraintResolver(), Doubled()
        for run_id, asked in (("r1", 1), ("r1", 1), ("r2", 2), (None, 3), (None, 4)):
            assert await resolver.resolve({"gpu": amount}, {"a": 1}, run_id=run_id) == {"gpu": 2}
            assert amount.asked == asked
        resolver.forget("r1")
        await resolver.resolve({"gpu": amount}, {"a": 1}, run_id="r1")
        assert amount.asked == 5

    run(main())


def test_a_run_without_end_fills_no_memory():
    async def main() -> None:
        resolver, alive = ConstraintResolver(), WeakSet()
        awaited = asyncio.get_running_loop().create_future()
        first = asyncio.create_task(resolver.resolve({"gpu": awaited}, run_id="r"))
        for _ in range(10_000):
            amount = Doubled()
            alive.add(amount)
            await resolver.resolve({"gpu": amount}, {"a": 1}, run_id="r")
        assert len(alive) < 5_000
        second = asyncio.create_task(resolver.resolve({"gpu": awaited}, run_id="r"))
        await asyncio.sleep(1)
        awaited.set_result(3)
        assert await first == await second == {"gpu": 3}

    run(main())


def test_one_computation_serves_all_who_ask_at_once_and_ends_with_the_last():
    async def main() -> None:
        begun = ended = 0

        async def compute() -> int:
            nonlocal begun, ended
            begun += 1
            try:
                await asyncio.sleep(10)
            finally:
                ended += 1
            return 2

        resolver, amount = ConstraintResolver(), compute()
        first, second = (asyncio.create_task(resolver.resolve({"gpu": amount}, run_id="r")) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.sleep(1)
        assert (begun, ended) == (1, 0)
        assert await second == {"gpu": 2}
        third = asyncio.create_task(resolver.resolve({"gpu": asyncio.sleep(1000)}, run_id="r"))
        await asyncio.sleep(1)
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, "nothing goes on that nobody waits for"

    run(main())


def test_a_failure_is_not_remembered():
    async def main() -> None:
        resolver = ConstraintResolver()
        with pytest.raises(ConstraintError):
            await resolver.resolve({"gpu": lazy("a")}, {}, run_id="r")
        assert await resolver.resolve({"gpu": lazy("a")}, {"a": 1}, run_id="r") == {"gpu": 1}

    run(main())


def test_what_constraints_require_goes_over_the_tasks_own():
    manager = ConstraintManager()
    put(manager, "concurrency", limit=3)
    put(manager, "capacity", "task:train", gpu=2)
    found = resolve(
        {"gpu": lazy("a"), "constraint:concurrency:global": 9}, {"a": 2}, task=task("train"), manager=manager
    )
    assert found == {"gpu": 2, "constraint:concurrency:global": 1, "constraint:capacity:task:train:gpu": 2}


# --- as the engine calls it


def test_the_engines_form():
    manager = ConstraintManager()
    put(manager, "concurrency", "task:tr*", limit=3)
    state = State({"id-size": 5})
    found = resolve(
        node(gpu=1, memory_gb=lazy("u1")), None, state, manager, {"u1": task("size", structural_id="id-size")}
    )
    assert found == {"gpu": 1, "memory_gb": 5, "constraint:concurrency:task:tr*": 1}
    assert resolve(task("plain", constraints=None), None, state, None, {}) == {}


def test_the_engines_items_ask_each_for_itself_and_its_map_node_for_nothing():
    manager = ConstraintManager()
    put(manager, "concurrency", limit=1)
    state, instances = State({"id-size": 5}), {"u1": task("size", structural_id="id-size")}
    item = node(memory_gb=lazy("u1"))
    mapping = SimpleNamespace(**vars(item) | {"node_type": "map"})
    resolver = ConstraintResolver()
    assert resolve(mapping, None, state, manager, instances, resolver=resolver) == {}
    for _ in range(3):
        assert resolve(item, None, state, manager, instances, resolver=resolver)["memory_gb"] == 5
    assert state.asked == ["id-size"] * 3


@pytest.mark.parametrize(
    ("state", "instances", "says"),
    [
        (State({}), {}, "train needs memory_gb from u1: it is not in the graph"),
        (State({}), {"u1": node("size")}, r"train needs memory_gb from u1: size \(id-size\) has no result"),
        (
            State({}, {"id-size": "ConditionFalse"}),
            {"u1": node("size")},
            "has no result, it was skipped: ConditionFalse",
        ),
        (State({"id-size": -2}), {"u1": node("size")}, r"train \(by u1\) needs memory_gb=-2"),
    ],
)
def test_the_engines_missing_results_are_named(state, instances, says):
    with pytest.raises(ConstraintError, match=says):
        resolve(node(memory_gb=lazy("u1")), None, state, None, instances)
