"""Resources that are acquired all at once or waited for: who gets them, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from virtual_time import quiet, run

from cascade.connectors.mqtt import ConstraintError, ResourceManager


class Hands:
    """Tasks that acquire, by name; ``held`` tells who has got what they wanted, in that order."""

    def __init__(self, resources: ResourceManager) -> None:
        self.resources = resources
        self.held: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._wants: dict[str, Mapping[str, float]] = {}

    async def want(self, name: str, **amounts: float) -> None:
        self._wants[name] = {key.replace("limit_", "constraint:"): amount for key, amount in amounts.items()}

        async def acquire() -> None:
            await self.resources.acquire(self._wants[name])
            self.held.append(name)

        self.tasks[name] = asyncio.create_task(acquire())
        await quiet()

    async def give(self, name: str) -> None:
        await self.resources.release(self._wants[name])
        self.held.remove(name)
        await quiet()

    async def end(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


def on_hands(capacity: Mapping[str, float], scenario: Callable[[Hands, ResourceManager], Awaitable[None]]) -> None:
    async def main() -> None:
        resources = ResourceManager(capacity)
        hands = Hands(resources)
        await scenario(hands, resources)
        await hands.end()

    run(main())


def test_several_resources_are_acquired_together_or_not_at_all():
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        await hands.want("a", gpu=1)
        await hands.want("b", gpu=1, cpu=2)
        assert hands.held == ["a"]
        assert resources.usage() == {"gpu": 1}, "nothing is held while waiting"
        await hands.give("a")
        assert hands.held == ["b"]
        assert resources.usage() == {"gpu": 1, "cpu": 2}
        await hands.give("b")
        assert resources.usage() == {}

    on_hands({"gpu": 1, "cpu": 2}, scenario)


def test_a_big_request_does_not_starve():
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        await hands.want("small 1", cpu=1)
        await hands.want("big", cpu=4)
        for number in range(2, 5):
            await hands.want(f"small {number}", cpu=1)
        assert hands.held == ["small 1"], "those who came later wait behind it"
        assert not resources.can_acquire({"cpu": 1})
        assert resources.can_acquire({"gpu": 1})
        await hands.give("small 1")
        assert hands.held == ["big"]
        await hands.give("big")
        assert hands.held == ["small 2", "small 3", "small 4"]

    on_hands({"cpu": 4}, scenario)


def test_who_comes_first_is_served_first_for_each_resource():
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        await hands.want("a", gpu=1)
        await hands.want("b", gpu=1, cpu=1)
        await hands.want("c", cpu=1)
        await hands.want("d", disk=1)
        assert hands.held == ["a", "d"], "c came after b, and d wants nothing of theirs"
        await hands.give("a")
        assert hands.held == ["d", "b"]
        await hands.give("b")
        assert hands.held == ["d", "c"]

    on_hands({"gpu": 1, "cpu": 1, "disk": 1}, scenario)


def test_more_than_there_is_is_refused_at_once_and_says_so():
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        with pytest.raises(ValueError, match=r"memory_gb=64 exceeds total system capacity \(16\)"):
            await resources.acquire({"memory_gb": 64})
        await resources.acquire({"memory_gb": 16, "unknown": 1e9})

    on_hands({"memory_gb": 16}, scenario)


def test_a_limit_that_a_constraint_has_set_is_waited_for_instead():
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        resources.update_resource("constraint:concurrency:global", 0)
        await hands.want("a", **{"limit_concurrency:global": 1})
        assert hands.held == []
        resources.update_resource("constraint:concurrency:global", 1)
        await quiet()
        assert hands.held == ["a"]

    on_hands({}, scenario)


def test_a_request_that_a_lowered_capacity_makes_impossible_holds_nobody_up():
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        await hands.want("first", gpu=4)
        await hands.want("big", gpu=3)
        resources.update_resource("gpu", 2)
        await hands.want("small", gpu=2)
        await hands.give("first")
        assert hands.held == ["small"]
        resources.update_resource("gpu", 5)
        await quiet()
        assert hands.held == ["small", "big"]

    on_hands({"gpu": 4}, scenario)


@pytest.mark.parametrize(
    "raise_it",
    [
        lambda resources: resources.set_capacity({"gpu": 2}),
        lambda resources: resources.update_resource("gpu", 2),
        lambda resources: resources.update_resource("gpu", float("inf")),
    ],
    ids=["set_capacity", "update_resource", "unlimited"],
)
def test_a_change_of_capacity_wakes_waiters(raise_it):
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        resources.bound("gpu", 1)
        for name in "abc":
            await hands.want(name, gpu=1)
        assert hands.held == ["a"]
        resources.bound("gpu", 2)
        await quiet()
        assert hands.held == ["a"], "the machine has but one"
        raise_it(resources)
        await quiet()
        assert hands.held == ["a", "b"]
        resources.bound("gpu", float("inf"))
        resources.update_resource("gpu", 3)
        await quiet()
        assert hands.held == ["a", "b", "c"]

    on_hands({"gpu": 1}, scenario)


def test_a_resource_that_is_limited_while_it_is_held_is_not_given_out_twice():
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        await hands.want("a", gpu=2)
        await hands.want("b", gpu=1)
        resources.update_resource("gpu", 3)
        await hands.want("c", gpu=1)
        assert hands.held == ["a", "b"]
        await hands.give("b")
        assert hands.held == ["a", "c"]

    on_hands({}, scenario)


def test_set_capacity_replaces_what_the_machine_has_and_leaves_limits_and_what_is_held():
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        resources.update_resource("constraint:concurrency:global", 1)
        await hands.want("a", gpu=2, **{"limit_concurrency:global": 1})
        resources.set_capacity({"cpu": 1})
        await hands.want("free", gpu=5)
        await hands.want("held back", **{"limit_concurrency:global": 1})
        assert hands.held == ["a", "free"], "gpu is unlimited, the limit is not"
        await hands.give("free")
        resources.set_capacity({"gpu": 2})
        await hands.want("b", gpu=1)
        assert hands.held == ["a"]
        await hands.give("a")
        assert hands.held == ["held back", "b"]

    on_hands({"gpu": 4}, scenario)


def test_lowering_takes_nothing_away():
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        for name in "abc":
            await hands.want(name, gpu=1)
        resources.update_resource("gpu", 1)
        await hands.want("d", gpu=1)
        for name in "ab":
            await hands.give(name)
            assert "d" not in hands.held
        await hands.give("c")
        assert hands.held == ["d"]

    on_hands({"gpu": 3}, scenario)


def test_cancelling_a_waiter_frees_its_claim():
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        await hands.want("a", cpu=3)
        await hands.want("big", cpu=4)
        await hands.want("small", cpu=1)
        hands.tasks["big"].cancel()
        await quiet()
        assert hands.held == ["a", "small"]
        assert resources.usage() == {"cpu": 4}

    on_hands({"cpu": 4}, scenario)


@pytest.mark.parametrize("turns", range(4))
def test_one_that_is_cancelled_as_it_is_served_gives_back(turns):
    """So many turns after there is something for it: before it is served, before it knows, and after."""

    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        for name in "abc":
            await hands.want(name, cpu=1)
        await resources.release({"cpu": 1})
        for _ in range(turns):
            await asyncio.sleep(0)
        hands.tasks["b"].cancel()
        await quiet()
        assert hands.held == (["a", "c"] if hands.tasks["b"].cancelled() else ["a", "b"])
        assert resources.usage() == {"cpu": 1}

    on_hands({"cpu": 1}, scenario)


def test_fractions_add_up():
    async def scenario(hands: Hands, resources: ResourceManager) -> None:
        for name in "abc":
            await hands.want(name, cpu=0.1)
        assert hands.held == ["a", "b", "c"]
        for name in "abc":
            await hands.give(name)
        assert resources.usage() == {}

    on_hands({"cpu": 0.3}, scenario)


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), True, "2", None, pytest.param(10**400, id="huge")])
def test_amounts_that_are_none_are_refused(amount):
    async def main() -> None:
        resources = ResourceManager({"gpu": 2})
        for refused in (resources.acquire, resources.release):
            with pytest.raises(ConstraintError, match="gpu"):
                await refused({"gpu": amount})
        if amount != float("inf"):
            with pytest.raises(ConstraintError, match="gpu"):
                resources.set_capacity({"gpu": amount})
        assert resources.usage() == {}

    run(main())


def test_a_loop_that_ended_with_waiters_leaves_nobody_in_the_way():
    resources = ResourceManager({"gpu": 1})

    async def left_behind() -> None:
        await resources.acquire({"gpu": 1})
        _kept.append(asyncio.ensure_future(resources.acquire({"gpu": 1})))
        await asyncio.sleep(0)

    _kept: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(left_behind())
    loop.close()

    async def next_one() -> None:
        waiting = asyncio.create_task(resources.acquire({"gpu": 1}))
        await asyncio.sleep(0)
        await resources.release({"gpu": 1})
        await asyncio.wait_for(waiting, 20)

    asyncio.run(next_one())
    # What was left behind is no error of this test.
    for task in _kept:
        task._log_destroy_pending = False


def test_release_of_more_than_was_held_leaves_nothing_owed():
    async def main() -> None:
        resources = ResourceManager({"gpu": 1})
        await resources.release({"gpu": 5})
        await resources.acquire({"gpu": 1})
        assert not resources.can_acquire({"gpu": 1})

    run(main())
