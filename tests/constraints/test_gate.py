"""The way to a start, past everything that may be in it, on virtual time: a wait without an end is an error there."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from given_constraints import put
from virtual_time import quiet, run

from cascade.connectors.mqtt import ConstraintError, ConstraintManager, ConstraintResolver, Gate, ResourceManager


class Site:
    """A gate, and tasks at it that run until they are told to end, or for a time."""

    def __init__(self, capacity: dict[str, float] | None = None, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        self.resources = ResourceManager(capacity)
        self.manager = ConstraintManager(self.resources, clock=loop.time, project_id="mill", source_id="w1")
        self.gate = Gate(self.manager, **options)
        self.begin = loop.time()
        self.started: list[str] = []
        self.at: list[float] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def begin_task(self, name: str, kind: str | None = None, *, lasts: float | None = None, **how: Any) -> Any:
        end = self._ends[name] = asyncio.Event()

        async def work() -> None:
            async with self.gate.admit(kind or name, task_id=name, **how):
                self.started.append(name)
                self.at.append(round(asyncio.get_running_loop().time() - self.begin, 2))
                await (end.wait() if lasts is None else asyncio.sleep(lasts))

        task = asyncio.create_task(work())
        self.tasks.append(task)
        await quiet()
        return task

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await quiet()

    def reasons(self) -> dict[str, str]:
        return {one.task_id: one.reason for one in self.gate.waiting()}

    def lift(self, scope: str = "global") -> None:
        self.manager.remove_constraints_by_scope(scope)


def at_site(scenario: Callable[[Site], Awaitable[None]], capacity: dict[str, float] | None = None, **how: Any) -> None:
    async def main() -> None:
        site = Site(capacity, **how)
        await scenario(site)
        for task in site.tasks:
            task.cancel()
        await asyncio.gather(*site.tasks, return_exceptions=True)
        await quiet()
        assert site.resources.usage() == {}, "what was held has been given back"
        assert site.gate.waiting() == []
        assert site.gate.running() == 0

    run(main())


def test_nothing_in_force_lets_in_without_a_turn_of_the_loop():
    async def scenario(site: Site) -> None:
        coroutine = site.gate.admit("a").__aenter__()
        with pytest.raises(StopIteration) as entered:
            coroutine.send(None)
        assert site.gate.running() == 1
        await entered.value.value.__aexit__(None, None, None)

    at_site(scenario)


def test_a_pause_holds_until_it_is_lifted_or_expires():
    async def scenario(site: Site) -> None:
        put(site.manager, "pause")
        await site.begin_task("a")
        assert site.reasons() == {"a": "pause global"}
        site.lift()
        await quiet()
        put(site.manager, "pause", "task:b", expires_at=site.begin + 5)
        await site.begin_task("b", lasts=0)
        await asyncio.sleep(60)
        assert list(zip(site.started, site.at, strict=True)) == [("a", 0), ("b", 5)]

    at_site(scenario)


def test_run_source_and_project_come_from_the_gate():
    async def scenario(site: Site) -> None:
        for scope in ("run:r1", "source:gpu-*", "project:quarry"):
            put(site.manager, "pause", scope)
        await site.begin_task("mine", run_id="r2")
        await site.begin_task("of the run", run_id="r1")
        other = Gate(site.manager, source_id="gpu-3")
        third = Gate(site.manager, project_id="quarry")
        waits = [asyncio.create_task(gate.admit("x").__aenter__()) for gate in (other, third)]
        await quiet()
        assert site.started == ["mine"]
        assert site.reasons() == {"of the run": "pause run:r1"}
        assert [gate.waiting()[0].reason for gate in (other, third)] == ["pause source:gpu-*", "pause project:quarry"]
        for task in waits:
            task.cancel()

    at_site(scenario)


def test_a_limit_raised_lifted_or_expired_wakes_at_once():
    async def scenario(site: Site) -> None:
        put(site.manager, "concurrency", limit=1, expires_at=site.begin + 10)
        for number in range(5):
            await site.begin_task(str(number), "a")
        assert site.started == ["0"]
        assert set(site.reasons().values()) == {"concurrency global"}
        put(site.manager, "concurrency", limit=2, expires_at=site.begin + 10)
        await quiet()
        assert site.started == ["0", "1"]
        await asyncio.sleep(10.01)
        assert site.started == ["0", "1", "2", "3", "4"]
        assert site.at == [0, 0, 10, 10, 10]

    at_site(scenario)


def test_a_limit_of_0_pauses_instead_of_failing():
    async def scenario(site: Site) -> None:
        put(site.manager, "concurrency", limit=1)
        await site.begin_task("a")
        await site.begin_task("b")
        put(site.manager, "concurrency", limit=0)
        await site.end("a")
        assert site.started == ["a"]
        put(site.manager, "concurrency", limit=1)
        await quiet()
        assert site.started == ["a", "b"]

    at_site(scenario)


def test_tasks_that_run_count_against_a_limit_that_comes_later():
    async def scenario(site: Site) -> None:
        for name in "abc":
            await site.begin_task(name)
        put(site.manager, "concurrency", limit=2)
        put(site.manager, "capacity", "task:d", gpu=1)
        await site.begin_task("d")
        await site.end("a")
        assert site.started == ["a", "b", "c"]
        await site.end("b")
        assert site.started == ["a", "b", "c", "d"]
        # Lifted and set again, they are counted once.
        site.lift()
        put(site.manager, "concurrency", limit=3)
        await site.begin_task("e")
        await site.begin_task("f")
        assert site.started[-1] == "e"

    at_site(scenario)


def test_a_limit_that_comes_between_grant_and_start_is_seen():
    async def scenario(site: Site) -> None:
        put(site.manager, "pause")
        put(site.manager, "rate_limit", rate="1/h", capacity=2)
        await site.begin_task("a")
        site.manager.remove_constraints_by_scope("global:@pause")
        for _ in range(10):
            if site.gate.running():
                break
            await asyncio.sleep(0)
        assert site.gate.running() == 1
        assert site.started == [], "granted, and not yet on its way"
        put(site.manager, "pause")
        await quiet()
        assert site.started == []
        assert site.resources.usage() == {}
        site.manager.remove_constraints_by_scope("global:@pause")
        await quiet()
        await site.begin_task("b")
        await site.begin_task("c")
        assert site.started == ["a", "b"], "the token of the first grant was given back"

    at_site(scenario)


def test_a_token_is_never_spent_on_a_task_that_waits_for_resources():
    async def scenario(site: Site) -> None:
        put(site.manager, "rate_limit", rate="1/m")
        await site.resources.acquire({"gpu": 1})
        await site.begin_task("needs gpu", requirements={"gpu": 1})
        await site.begin_task("needs nothing")
        assert site.started == ["needs nothing"], "it is held up by nobody, and the token is its own"
        await site.resources.release({"gpu": 1})
        await asyncio.sleep(61)
        assert site.at == [0, 60]

    at_site(scenario, {"gpu": 1})


def test_who_waits_for_a_resource_is_not_overtaken_for_ever_by_those_who_take_its_tokens():
    async def scenario(site: Site) -> None:
        put(site.manager, "rate_limit", rate=1)
        await site.resources.acquire({"gpu": 1})
        await site.begin_task("needs gpu", requirements={"gpu": 1}, lasts=0)
        for number in range(200):
            await site.begin_task(f"{number}", "other", lasts=0)
        await asyncio.sleep(150)
        # They have overtaken it often enough: the next token is kept for it.
        assert len(site.started) == 100
        await site.resources.release({"gpu": 1})
        await quiet()
        assert site.started[-1] == "needs gpu"
        await asyncio.sleep(150)
        assert len(site.started) == 201

    at_site(scenario, {"gpu": 1})


def test_a_claim_ends_with_the_permission_that_it_rested_on():
    async def scenario(site: Site) -> None:
        put(site.manager, "rate_limit", "task:rated", rate="1/h")
        await site.begin_task("holds", requirements={"gpu": 1})
        await site.begin_task("big", "rated", requirements={"gpu": 2})
        await site.begin_task("small", requirements={"gpu": 1})
        assert site.reasons() == {"big": "resource gpu", "small": "turn for resource gpu"}
        # This one takes the only token, so the big one may not start, and must not keep the small one waiting.
        await site.begin_task("last", "rated")
        assert site.started == ["holds", "last", "small"]
        assert site.reasons() == {"big": "rate_limit task:rated"}

    at_site(scenario, {"gpu": 2})


def test_denied_and_impossible_ones_hold_up_nobody():
    async def scenario(site: Site) -> None:
        put(site.manager, "pause", "task:paused")
        put(site.manager, "rate_limit", "task:rated", rate="1/h")
        await site.begin_task("rated 1", "rated", requirements={"gpu": 1}, lasts=0)
        await site.begin_task("rated 2", "rated", requirements={"gpu": 1})
        await site.begin_task("paused", requirements={"gpu": 2})
        await site.begin_task("holds", requirements={"gpu": 1})
        await site.begin_task("big", requirements={"gpu": 2})
        site.resources.update_resource("gpu", 1)
        await site.end("holds")
        await site.begin_task("small", requirements={"gpu": 1})
        assert site.started == ["rated 1", "holds", "small"]
        assert site.reasons() == {
            "rated 2": "rate_limit task:rated",
            "paused": "pause task:paused",
            "big": "resource gpu",
        }

    at_site(scenario, {"gpu": 2})


def test_first_come_first_served_among_tasks_of_several_kinds():
    async def scenario(site: Site) -> None:
        put(site.manager, "concurrency", limit=1)
        await site.begin_task("first")
        order = [f"{number} {kind}" for number in range(4) for kind in "abc"]
        for name in order:
            await site.begin_task(name, name[-1], lasts=1)
        await site.end("first")
        await asyncio.sleep(60)
        assert site.started[1:] == order

    at_site(scenario)


def test_pause_rate_concurrency_and_resources_together():
    async def scenario(site: Site) -> None:
        put(site.manager, "pause")
        put(site.manager, "rate_limit", rate="1/s")
        put(site.manager, "concurrency", "task:t*", limit=2)
        for number in range(6):
            await site.begin_task(f"t{number}", lasts=2.5, requirements={"gpu": 1})
        assert site.started == []
        site.manager.remove_constraints_by_scope("global:@pause")
        await asyncio.sleep(60)
        # Two at once for 2.5 s each, and a second between two starts.
        assert site.at == [0, 1, 2.5, 3.5, 5, 6]

    at_site(scenario, {"gpu": 3})


def test_a_task_that_maps_over_items_under_a_limit_of_1_does_not_wait_for_its_own_unit():
    async def scenario(site: Site) -> None:
        put(site.manager, "concurrency", "task:square", limit=1)
        at_once = most = 0

        async def item(number: int) -> int:
            nonlocal at_once, most
            async with site.gate.admit("square"):
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(1)
                at_once -= 1
            return number

        async def mapping() -> list[int]:
            async with site.gate.admit("square"):
                results = await asyncio.gather(*map(item, range(5)))
                assert site.started == [], "the unit is still the mapping task's"
                return results

        parent = asyncio.create_task(mapping())
        await quiet()
        outsider = await site.begin_task("outsider", "square", lasts=0)
        assert await parent == list(range(5))
        await outsider
        assert most == 1

    at_site(scenario)


def test_nested_maps_end_too_and_no_unit_is_lost():
    async def scenario(site: Site) -> None:
        put(site.manager, "concurrency", limit=2)

        async def tree(depth: int) -> int:
            async with site.gate.admit(f"level {depth}"):
                if not depth:
                    await asyncio.sleep(1)
                    return 1
                return sum(await asyncio.gather(*(tree(depth - 1) for _ in range(3))))

        assert await asyncio.gather(tree(3), tree(3)) == [27, 27]
        assert site.resources.usage() == {}

    at_site(scenario)


def test_items_that_outlive_the_task_that_lent_to_them_keep_the_unit():
    async def scenario(site: Site) -> None:
        put(site.manager, "concurrency", limit=1)
        async with site.gate.admit("parent"):
            await site.begin_task("item")
        assert site.started == ["item"]
        await site.begin_task("next")
        assert site.started == ["item"]
        await site.end("item")
        assert site.started == ["item", "next"]

    at_site(scenario)


def test_nothing_is_lent_while_more_run_than_the_limit_allows():
    async def scenario(site: Site) -> None:
        async with site.gate.admit("parent"):
            for name in "abc":
                await site.begin_task(name)
            put(site.manager, "concurrency", limit=1)
            await site.begin_task("d")
            await site.end("a", "b")
            assert site.started == ["a", "b", "c"]
            await site.end("c")
            assert site.started == ["a", "b", "c", "d"]

    at_site(scenario)


def test_two_that_map_end_under_a_limit_that_was_lowered_to_1():
    async def scenario(site: Site) -> None:
        put(site.manager, "concurrency", limit=2)
        go = asyncio.Event()

        async def mapping() -> None:
            async with site.gate.admit("outer"):
                await go.wait()
                for _ in range(3):
                    async with site.gate.admit("inner"):
                        await asyncio.sleep(1)

        both = [asyncio.create_task(mapping()) for _ in range(2)]
        await quiet()
        put(site.manager, "concurrency", limit=1)
        go.set()
        await asyncio.gather(*both)

    at_site(scenario)


def test_nothing_is_lent_from_one_gate_to_another():
    async def scenario(site: Site) -> None:
        put(site.manager, "concurrency", limit=1)
        other = Site()
        put(other.manager, "concurrency", limit=1)
        await other.begin_task("holds")
        async with site.gate.admit("outer"):
            await other.begin_task("theirs")
            await site.begin_task("ours")
            assert (site.started, other.started) == (["ours"], ["holds"])
            await site.end("ours")
        await other.end("holds")
        assert other.started == ["holds", "theirs"]
        await other.end("theirs")

    at_site(scenario)


def test_those_inside_come_before_who_would_wait_for_those_around_them():
    async def scenario(site: Site) -> None:
        async with site.gate.admit("outer", requirements={"gpu": 1}):
            big = asyncio.create_task(site.begin_task("big", requirements={"gpu": 3}), context=contextvars.Context())
            await big
            async with site.gate.admit("inner", requirements={"gpu": 1}):
                # It wants two, and one is left: the innermost does not stand behind it.
                await site.begin_task("sibling", requirements={"gpu": 2})
                async with site.gate.admit("innermost", requirements={"gpu": 1}):
                    assert site.started == []
        await quiet()
        assert site.started == ["sibling"]
        await site.end("sibling")
        assert site.started == ["sibling", "big"]

    at_site(scenario, {"gpu": 3})


def test_an_engines_node_that_maps_is_charged_nothing():
    async def scenario(site: Site) -> None:
        put(site.manager, "concurrency", limit=1)
        asks = SimpleNamespace(requirements={"gpu": 1})
        node = SimpleNamespace(name="map(x)", node_type="map", structural_id="n1", constraints=asks)
        async with site.gate.admit(node):
            assert site.resources.usage() == {}
            async with site.gate.admit(SimpleNamespace(name="x", structural_id="n2", constraints=asks)):
                assert site.resources.usage() == {"gpu": 1, "constraint:concurrency:global": 1}

    at_site(scenario, {"gpu": 1})


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("where", ["pause", "concurrency", "rate", "gpu", "results"])
def test_cancelled_wherever_it_waits_it_gives_back_what_it_had(where, turns):
    """Also while what it waits for is being given to it: so many turns of the loop later."""

    async def scenario(site: Site) -> None:
        result = asyncio.get_running_loop().create_future()
        put(site.manager, "rate_limit", "task:rated", rate="1/m")
        release = {
            "pause": lambda: site.manager.remove_constraints_by_scope("global:@pause"),
            "concurrency": lambda: site.manager.remove_constraints_by_scope("global:@concurrency"),
            "rate": lambda: put(site.manager, "rate_limit", "task:rated", rate="1/m", capacity=2),
            "gpu": lambda: site.resources.give_back({"gpu": 1}),
            "results": lambda: result.set_result(1),
        }[where]
        if where == "pause":
            put(site.manager, "pause")
        elif where == "concurrency":
            await site.begin_task("other")
            put(site.manager, "concurrency", limit=1)
        elif where == "rate":
            assert site.manager.check_permission(SimpleNamespace(name="rated"))
        elif where == "gpu":
            await site.resources.acquire({"gpu": 1})
        amount = result if where == "results" else 1
        waiting = await site.begin_task("w", "rated", requirements={"gpu": amount})
        behind = await site.begin_task("behind", requirements={"gpu": 1})
        release()
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await quiet()
        assert waiting.done()
        if where == "results":
            assert not result.cancelled(), "it belongs to somebody else"
        await quiet()
        if where != "rate":
            assert "behind" in site.started
        if "w" not in site.started and where != "rate":
            site.lift("task:none")
            assert site.manager.check_permission(SimpleNamespace(name="rated")), "the token is there"
        behind.cancel()

    at_site(scenario, {"gpu": 1})


def test_an_error_of_a_handler_is_the_error_of_the_task_alone():
    class Broken:
        def handles_type(self) -> str:
            return "broken"

        def on_constraint_add(self, constraint: Any, manager: Any) -> None: ...
        def on_constraint_remove(self, constraint: Any, manager: Any) -> None: ...
        def append_requirements(self, task: Any, constraint: Any, requirements: Any, manager: Any) -> None:
            raise ZeroDivisionError

        def check_permission(self, task: Any, constraint: Any, manager: Any) -> bool:
            raise ZeroDivisionError

    async def scenario(site: Site) -> None:
        await site.begin_task("runs", "a")
        put(site.manager, "pause")
        site.manager.register_handler(Broken())
        put(site.manager, "broken", "task:a")
        failing = await site.begin_task("a")
        await site.begin_task("b")
        site.lift()
        await quiet()
        assert site.started == ["runs", "b"]
        with pytest.raises(ZeroDivisionError):
            await failing

    at_site(scenario)


def test_more_than_the_machine_has_is_refused_at_once():
    async def scenario(site: Site) -> None:
        put(site.manager, "pause")
        with pytest.raises(ConstraintError, match="exceeds total system capacity"):
            async with site.gate.admit("a", requirements={"gpu": 3}):
                pass
        # An operator's limit is waited for instead.
        site.lift()
        put(site.manager, "capacity", gpu=1)
        await site.begin_task("b", requirements={"gpu": 2})
        assert site.reasons() == {"b": "resource gpu"}
        site.lift()
        await quiet()
        assert site.started == ["b"]

    at_site(scenario, {"gpu": 2})


def test_lazy_amounts_are_waited_for_before_the_place_in_the_line():
    async def scenario(site: Site) -> None:
        amount = asyncio.get_running_loop().create_future()
        await site.begin_task("lazy", requirements={"gpu": amount})
        await site.begin_task("b", requirements={"gpu": 1})
        assert site.reasons() == {"lazy": "results"}
        amount.set_result(1)
        await quiet()
        assert site.reasons() == {"lazy": "resource gpu"}
        await site.end("b")
        assert site.started == ["b", "lazy"]

    at_site(scenario, {"gpu": 1})


def test_a_result_that_never_comes_ends_at_the_deadline():
    async def scenario(site: Site) -> None:
        never = asyncio.get_running_loop().create_future()
        with pytest.raises(ConstraintError, match=r"b needs gpu from .*: no result within 3 s"):
            async with site.gate.admit("b", requirements={"gpu": never}, run_id="r"):
                pass
        assert asyncio.get_running_loop().time() == pytest.approx(site.begin + 3)
        assert not never.cancelled()

    at_site(scenario, {"gpu": 1}, resolver=ConstraintResolver(timeout=3))


def test_an_admission_is_for_one_task():
    async def scenario(site: Site) -> None:
        admission = site.gate.admit("a")
        async with admission:
            pass
        with pytest.raises(RuntimeError, match="one task"):
            async with admission:
                pass

    at_site(scenario)


def test_it_wants_resources_that_it_can_take_in_one_step():
    with pytest.raises(TypeError, match="ResourceManager"):
        Gate(ConstraintManager(SimpleNamespace(update_resource=None)))


def test_a_chain_of_tasks_that_start_the_next_one_does_not_grow():
    async def scenario(site: Site) -> None:
        put(site.manager, "concurrency", limit=1)
        left = 50
        depth: list[int] = []
        done = asyncio.Event()

        async def step() -> None:
            nonlocal left
            async with site.gate.admit("step") as admission:
                around, depth_here = admission.parent, 0
                while around is not None:
                    around, depth_here = around.parent, depth_here + 1
                depth.append(depth_here)
                left -= 1
                if left:
                    site.tasks.append(asyncio.create_task(step()))
                else:
                    done.set()

        await step()
        await done.wait()
        assert max(depth) <= 1

    at_site(scenario)


def test_whoever_waits_when_the_gate_closes_is_told() -> None:
    async def scenario(site: Site) -> None:
        await site.begin_task("runs", requirements={"gpu": 1})
        waits = await site.begin_task("waits", requirements={"gpu": 1})
        site.gate.close()
        site.gate.close()
        late = await site.begin_task("late")
        for task in (waits, late):
            with pytest.raises(ConstraintError, match="closed"):
                await task
        assert site.gate.waiting() == []
        assert site.gate.running() == 1
        await site.end("runs")
        assert site.resources.usage().get("gpu", 0) == 0
        # Whoever shares the resources goes on.
        await site.resources.acquire({"gpu": 1})
        await site.resources.release({"gpu": 1})

    at_site(scenario, {"gpu": 1})
