"""A steered process as a machine on virtual time: constraints, expiries and reconnects come while tasks come and go.

Whatever happens, no task starts against what is in force, nothing is exceeded, rates hold over every window, and in
the end everybody who may run has run.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import pytest
from given_constraints import constraint
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from virtual_time import VirtualLoop, quiet

from cascade.connectors.mqtt import ConstraintError, ConstraintManager, Gate, GlobalConstraint, ResourceManager

SCOPES = ("global", "task:a", "task:*", "run:r1", "source:w*", "project:other")
PARAMS: dict[str, Any] = {
    "pause": st.just({}),
    "concurrency": st.fixed_dictionaries({"limit": st.integers(0, 3)}),
    "rate_limit": st.sampled_from(
        [{"rate": 0}, {"rate": "30/m"}, {"rate": 1, "capacity": 3}, {"rate": "5/s"}, {"rate": "2/m", "capacity": 1}]
    ),
    "capacity": st.fixed_dictionaries({"gpu": st.integers(0, 3)}),
}
NEEDS = st.sampled_from([{}, {}, {"gpu": 1}, {"gpu": 2}, {"cpu": 1}, {"cpu": 2, "gpu": 1}])
Key = tuple[str, str]


@dataclass(eq=False)
class Job:
    """A task: who it is, what is around it, and how far it has come."""

    name: str
    run_id: str
    needs: dict[str, int]
    around: Job | None
    lasts: float | None
    ended: asyncio.Event
    state: str = "waiting"
    inside: contextvars.Context | None = None
    task: asyncio.Task[None] | None = None
    within: list[Job] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<{self.name} of {self.run_id}, needs {self.needs}, {self.state}, in {self.around}>"

    def is_in(self, scope: str) -> bool:
        kind, _, value = scope.partition(":")
        return kind == "global" or fnmatchcase(
            {"task": self.name, "run": self.run_id, "source": "w1", "project": "default"}[kind], value
        )

    def holds_some(self) -> bool:
        """Whether somebody inside might wait for what this one, or one around it, holds."""
        return bool(self.needs) or (self.around is not None and self.around.holds_some())

    def runs_one_in(self, scope: str) -> bool:
        """Whether a task within it counts in its stead."""
        return any((one.state == "running" and one.is_in(scope)) or one.runs_one_in(scope) for one in self.within)


class SteeringMachine(RuleBasedStateMachine):
    """The machine knows what it has sent; what must hold is reckoned from that alone."""

    @initialize()
    def begin(self) -> None:
        self.loop = VirtualLoop()
        self.jobs: list[Job] = []
        self.broker: dict[Key, GlobalConstraint] = {}
        self.known: dict[Key, GlobalConstraint] = {}
        self.is_away = False
        self.capacity = {"gpu": 3, "cpu": 2}
        # For each rate that is in force, the starts under it since it came.
        self.starts: dict[str, tuple[tuple[float, float], list[float]]] = {}
        self.do(self.make())

    async def make(self) -> None:
        self.resources = ResourceManager(self.capacity)
        self.manager = ConstraintManager(self.resources, clock=self.loop.time, source_id="w1", project_id="default")
        self.gate = Gate(self.manager)

    def do(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def settle(self) -> None:
        # A timer is up to a millisecond late.
        self.do(asyncio.sleep(0.002))
        self.do(quiet())
        self.check_who_waits()

    # --- what happens

    @rule(
        scope=st.sampled_from(SCOPES),
        drawn=st.sampled_from(sorted(PARAMS)).flatmap(lambda kind: st.tuples(st.just(kind), PARAMS[kind])),
        lasts=st.sampled_from([None, None, 0.5, 3, 60]),
    )
    def publish(self, scope: str, drawn: tuple[str, dict[str, Any]], lasts: float | None) -> None:
        kind, params = drawn
        expires_at = None if lasts is None else self.loop.now + lasts
        self.broker[scope, kind] = constraint(kind, scope, expires_at=expires_at, **params)
        if not self.is_away:
            self.deliver((scope, kind))
        self.settle()

    @rule(data=st.data())
    def lift(self, data: st.DataObject) -> None:
        if self.broker:
            key = data.draw(st.sampled_from(sorted(self.broker)))
            del self.broker[key]
            if not self.is_away:
                self.deliver(key)
        self.settle()

    @precondition(lambda self: not self.is_away)
    @rule()
    def go_away(self) -> None:
        self.is_away = True

    @rule(data=st.data())
    def reconnect(self, data: st.DataObject) -> None:
        """All that is retained comes again, in any order, and what was lifted meanwhile is lifted here."""
        self.is_away = False
        for key in data.draw(st.permutations(sorted({*self.broker, *self.known}))):
            self.deliver(key)
        self.settle()

    def deliver(self, key: Key) -> None:
        now, one = self.loop.now, self.broker.get(key)
        if one is None:
            self.known.pop(key, None)
            self.manager.remove_constraints_by_scope(f"{key[0]}:@{key[1]}")
            return
        self.known[key] = one
        if key[1] == "rate_limit" and (one.expires_at is None or one.expires_at > now):
            rate = rate_of(one)
            if self.starts.get(key[0], (None,))[0] != rate:
                self.starts[key[0]] = (rate, [])
        self.manager.update_constraint(one)

    @rule(
        name=st.sampled_from("ab"),
        run_id=st.sampled_from(["r1", "r2"]),
        needs=NEEDS,
        lasts=st.sampled_from([None, None, 0, 2]),
    )
    def come(self, name: str, run_id: str, needs: dict[str, int], lasts: float | None) -> None:
        self.enter(Job(name, run_id, needs, None, lasts, asyncio.Event()), contextvars.Context())

    @rule(data=st.data())
    def come_within(self, data: st.DataObject) -> None:
        """From b to a and from a to a, never back, nor for what those around hold: each might wait for the other."""
        if around := [job for job in self.jobs if job.state == "running" and not job.ended.is_set()]:
            outer = data.draw(st.sampled_from(around))
            assert outer.inside is not None
            needs = {} if outer.holds_some() else data.draw(NEEDS)
            job = Job("a", outer.run_id, needs, outer, data.draw(st.sampled_from([None, 1])), asyncio.Event())
            outer.within.append(job)
            self.enter(job, outer.inside.copy())

    def enter(self, job: Job, context: contextvars.Context) -> None:
        job.task = self.loop.create_task(self.work(job, str(len(self.jobs))), context=context)
        self.jobs.append(job)
        self.settle()

    async def work(self, job: Job, task_id: str) -> None:
        is_possible = all(need <= self.capacity[name] for name, need in job.needs.items())
        try:
            async with self.gate.admit(job.name, run_id=job.run_id, requirements=job.needs, task_id=task_id):
                assert is_possible
                self.note_start(job)
                job.state, job.inside = "running", contextvars.copy_context()
                self.check_start(job)
                await (job.ended.wait() if job.lasts is None else asyncio.sleep(job.lasts))
                await asyncio.gather(*(one.task for one in job.within if one.task), return_exceptions=True)
        except ConstraintError:
            assert not is_possible
        finally:
            job.state = "over"

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if running := [job for job in self.jobs if job.state == "running"]:
            data.draw(st.sampled_from(running)).ended.set()
        self.settle()

    @rule(data=st.data(), turns=st.integers(0, 4))
    def cancel(self, data: st.DataObject, turns: int) -> None:
        """At any moment, also between being let in and knowing of it."""

        async def later(job: Job) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            assert job.task is not None
            job.task.cancel()

        if there := [job for job in self.jobs if job.state != "over"]:
            job = data.draw(st.sampled_from(there))
            for other in there:
                if other.state == "running" and turns:
                    other.ended.set()
                    break
            self.do(later(job))
        self.settle()

    @rule(seconds=st.sampled_from([0.1, 0.5, 1, 2, 7, 61]))
    def wait(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))
        self.settle()

    @rule(gpu=st.integers(0, 4), cpu=st.integers(1, 3))
    def machine_changes(self, gpu: int, cpu: int) -> None:
        self.capacity = {"gpu": gpu, "cpu": cpu}
        self.resources.set_capacity(self.capacity)
        self.settle()

    # --- what must hold

    def in_force(self, kind: str) -> list[GlobalConstraint]:
        now = self.loop.now
        return [
            one for one in self.known.values() if one.type == kind and (one.expires_at is None or one.expires_at > now)
        ]

    def note_start(self, job: Job) -> None:
        for one in self.in_force("rate_limit"):
            if job.is_in(one.scope):
                self.starts[one.scope][1].append(self.loop.now)

    def check_start(self, job: Job) -> None:
        assert not any(job.is_in(one.scope) for one in self.in_force("pause")), "paused"
        running = [one for one in self.jobs if one.state == "running"]
        for one in self.in_force("concurrency"):
            if job.is_in(one.scope):
                counted = [other for other in running if other.is_in(one.scope) and not other.runs_one_in(one.scope)]
                # One within another may have been lent the other's unit although the limit is exceeded.
                assert len(counted) <= one.params["limit"] or job.around, one
                assert one.params["limit"] > 0, one
        for name, need in job.needs.items():
            assert sum(other.needs.get(name, 0) for other in running) <= self.capacity[name]
            for one in self.in_force("capacity"):
                if name in one.params and job.is_in(one.scope):
                    held = sum(other.needs.get(name, 0) for other in running if other.is_in(one.scope))
                    assert need <= held <= one.params[name], one
        for one in self.in_force("rate_limit"):
            if job.is_in(one.scope):
                (per_s, capacity), starts = self.starts[one.scope]
                for number, since in enumerate(starts):
                    assert len(starts) - number <= capacity + per_s * (self.loop.now - since) + 1e-3, one

    def check_who_waits(self) -> None:
        """What is said to be in the way is there, and "turn" says that somebody else waits for the same."""
        held, waiting = self.resources.usage(), self.gate.waiting()
        reasons = {one.reason.partition(" ")[0] for one in waiting}
        for one in waiting:
            what, _, of = one.reason.partition(" ")
            if what == "turn":
                assert not reasons.isdisjoint(("resource", "concurrency", "capacity")), f"{one} waits for nothing"
            elif what == "resource":
                need = self.jobs[int(one.task_id)].needs[of]
                assert held.get(of, 0) + need > min([self.capacity[of], *self.bounds(of)]), one
            else:
                assert of.startswith(tuple(each.scope for each in self.in_force(what))), one
        for name in self.capacity:
            assert held.get(name, 0) == sum(job.needs.get(name, 0) for job in self.jobs if job.state == "running")

    def bounds(self, name: str) -> list[float]:
        """What is left of a resource for all alike."""
        return [one.params.get(name, 9) for one in self.in_force("capacity") if one.scope == "global"]

    def teardown(self) -> None:
        """Nothing is forbidden any more, though limits stay: then everybody runs, and nothing is left behind."""
        if not hasattr(self, "loop"):
            return
        self.is_away = False
        for key in sorted({*self.broker, *self.known}):
            one = self.broker.get(key)
            if one is not None and (key[1] == "pause" or 0 in one.params.values() or key[1] == "capacity"):
                del self.broker[key]
            self.deliver(key)
        self.resources.set_capacity({"gpu": 3, "cpu": 3})
        self.capacity = {"gpu": 3, "cpu": 3}
        for job in self.jobs:
            job.ended.set()
        tasks = [job.task for job in self.jobs if job.task is not None]

        async def finish() -> None:
            try:
                async with asyncio.timeout(3600 * (1 + len(tasks))):
                    results = await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for error in results:
                if error is not None and not isinstance(error, asyncio.CancelledError):
                    raise error

        try:
            self.do(finish())
            assert self.resources.usage() == {}
            assert self.gate.waiting() == []
        finally:
            self.loop.close()


def rate_of(one: GlobalConstraint) -> tuple[float, float]:
    """Starts a second, and at once."""
    per_s = {0: 0.0, "30/m": 0.5, 1: 1.0, "5/s": 5.0, "2/m": 1 / 30}[one.params["rate"]]
    return per_s, one.params.get("capacity", max(1.0, per_s)) if per_s else math.inf


# A quarter of a minute of one processor, which others may want too.
TestSteering = pytest.mark.timeout(600)(SteeringMachine.TestCase)
TestSteering.settings = settings(max_examples=max(1_000, settings.default.max_examples), stateful_step_count=25)
