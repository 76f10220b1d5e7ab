"""Runs the workflow on a fleet of worker processes, steers it in the middle, and takes the account."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ...constraints import ConstraintController
from ...errors import MqttError
from .channel import Child
from .dispatch import Dispatcher
from .effects import Ask
from .messages import Account, Assign, Broken, Expect, Farewell, Finish, InForce, Ready, Seen, TaskEnd
from .observer import run_observer
from .outcome import Outcome, Progress
from .settings import Settings
from .steering import StampedConnector, Steering
from .worker import run_worker
from .workflow import State, Step, Workflow, plan

__all__ = ["Fleet", "FleetError"]

_WORKERS = 4
_HOLD_S = 1.0
# What each process is asked for: far from what it does when it is free.
_AT_A_TIME = 2
_STARTS_PER_S = 20
_SHOW_S = 0.1
# Bounds on what should take a moment, generous enough for a busy machine.
_START_S = 60.0
_END_S = 60.0


class FleetError(MqttError):
    """The run could not be brought to its end."""


class Fleet:
    """One run: an observer, four workers, and the controller that gives out tasks and steers them all.

    Args:
        settings: the broker and the run.
        root: where the library is.
        files: the modules to work on, under ``root``.
        show: called ten times a second with how far the run is.
    """

    def __init__(self, settings: Settings, root: Path, files: list[str], show: Callable[[Progress], None]) -> None:
        self._settings = settings
        self._root = root
        self._show = show
        self._workflow = Workflow(plan(files))
        self._dispatcher = Dispatcher(self._workflow, _WORKERS)
        self._workers: list[Child] = []
        self._backends: list[str] = []
        self._published = [0] * _WORKERS
        self._farewells: dict[int, Farewell] = {}
        self._seen = Seen(0, 0, 0)
        self._account: Account | None = None
        self._steering: Steering | None = None
        self._phase = "starting"
        self._failure: str | None = None
        self._news = asyncio.Event()

    async def run(self) -> Outcome:
        """The whole run.

        Raises:
            FleetError: a process of it ended, or did not answer.
            ConnectError: the broker cannot be reached, or refuses.
        """
        self._start = time.monotonic()
        settings = self._settings
        async with (
            StampedConnector(settings.host, settings.port, **settings.options) as connector,
            self._shown(),
        ):
            await self._refuse_foreign_constraint(ConstraintController(connector))
            steering = self._steering = Steering(connector, settings.scope, _WORKERS, self._until)
            async with self._children() as observer:
                await self._work(steering)
                self._phase = "finishing"
                for worker in self._workers:
                    worker.send(Finish())
                await self._until(lambda: len(self._farewells) == _WORKERS, _END_S, "the workers' last events")
                published = {said.identity: said.published for said in self._farewells.values()}
                observer.send(Expect(published, steering.phases))
                await self._until(lambda: self._account is not None, _END_S, "the observer's account")
                self._phase = "done"
        return self._outcome()

    async def _refuse_foreign_constraint(self, controller: ConstraintController) -> None:
        """The demo steers its own run alone, but what holds everybody would hold it too, and spoil its figures."""
        for constraint in await controller.in_force():
            if constraint.scope in ("global", f"project:{self._settings.project_id}"):
                raise FleetError(
                    f"this broker holds a {constraint.type} on {constraint.scope}, which the demo would obey; "
                    f"lift it first: cascade-mqtt resume {constraint.scope} --all"
                )

    @asynccontextmanager
    async def _shown(self) -> AsyncIterator[None]:
        async def show() -> None:
            while True:
                self._show(self._progress())
                await asyncio.sleep(_SHOW_S)

        showing = asyncio.create_task(show())
        try:
            yield
        finally:
            showing.cancel()
        self._show(self._progress())

    @asynccontextmanager
    async def _children(self) -> AsyncIterator[Child]:
        """The observer, subscribed, then the workers, connected; all ended on the way out, whatever happened."""
        children: list[Child] = []
        try:
            observer = Child("the observer", run_observer, (self._settings,), self._from_observer, self._observer_gone)
            children.append(observer)
            await self._until(lambda: len(self._backends) == 1, _START_S, "the observer")
            for number in range(_WORKERS):
                worker = Child(
                    f"worker {number + 1}",
                    run_worker,
                    (self._settings, self._root),
                    partial(self._from_worker, number),
                    partial(self._worker_gone, number),
                )
                children.append(worker)
                self._workers.append(worker)
            await self._until(lambda: len(self._backends) == 1 + _WORKERS, _START_S, "the workers")
            yield observer
        finally:
            for child in children:
                child.close()
            for child in children:
                child.stop()

    async def _work(self, steering: Steering) -> None:
        self._phase = "working"
        rate, pause, concurrency = Ask("rate_limit", _STARTS_PER_S), Ask("pause"), Ask("concurrency", _AT_A_TIME)
        # The next is in force before the last is lifted: however fast the workers are, each finds work left.
        async with steering:
            await steering.ask(rate)
            self._give_out()
            with steering.phase(rate):
                await asyncio.sleep(_HOLD_S)
            await steering.ask(pause)
            with steering.phase(pause):
                await asyncio.sleep(_HOLD_S)
            await steering.ask(concurrency)
            with steering.phase(concurrency):
                await steering.lift("pause", "rate_limit")
                await self._ended(len(self._workflow.tasks) // 2)
        with steering.phase(Ask("resume")):
            await self._until(lambda: self._workflow.done, None, "the workflow")

    async def _ended(self, tasks: int) -> None:
        """Until so many tasks have ended, or all of them."""
        workflow = self._workflow
        await self._until(lambda: workflow.done or len(workflow.states) >= tasks, None, f"{tasks} tasks")

    async def _until(self, condition: Callable[[], bool], within_s: float | None, what: str) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    if self._failure is not None:
                        raise FleetError(self._failure)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise FleetError(f"waited {within_s:g} s for {what} in vain") from None

    def _give_out(self) -> None:
        for number, task in self._dispatcher.take():
            inputs = [] if task.of_a_file else self._workflow.inputs(task)
            self._workers[number].send(Assign(task, inputs, self._workflow.must_skip(task)))

    def _from_worker(self, number: int, message: Any) -> None:
        match message:
            case TaskEnd(task_id, state, result, error, published):
                self._published[number] = published
                self._dispatcher.end(number, task_id, state, result, error)
                self._give_out()
            case InForce():
                if self._steering is not None:
                    self._steering.note(number, message)
            case Ready(backend):
                self._backends.append(backend)
            case Farewell():
                self._farewells[number] = message
                self._published[number] = message.published
            case Broken(reason):
                self._failure = f"worker {number + 1}: {reason}"
        self._news.set()

    def _from_observer(self, message: Any) -> None:
        match message:
            case Seen():
                self._seen = message
            case Account():
                self._account = message
            case Ready(backend):
                self._backends.append(backend)
            case Broken(reason):
                self._failure = f"the observer: {reason}"
        self._news.set()

    def _worker_gone(self, number: int) -> None:
        if number not in self._farewells:
            self._fail(f"worker {number + 1} ended before its work was done")

    def _observer_gone(self) -> None:
        if self._account is None:
            self._fail("the observer ended before the run was over")

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._news.set()

    def _progress(self) -> Progress:
        workflow, steering = self._workflow, self._steering
        latencies = steering.latencies_ms if steering is not None else []
        return Progress(
            phase=self._phase,
            tasks=len(workflow.tasks),
            tasks_ended=len(workflow.states),
            tasks_failed=workflow.count(State.FAILED),
            published=sum(self._published),
            received=self._seen.received,
            missing=self._seen.missing,
            asked=steering.words if steering is not None else "",
            control_latency_ms=statistics.median(latencies) if latencies else None,
            elapsed_s=time.monotonic() - self._start,
        )

    def _outcome(self) -> Outcome:
        workflow = self._workflow
        report = next(task for task in workflow.tasks.values() if task.step is Step.REPORT)
        assert self._account is not None
        assert self._steering is not None
        return Outcome(
            backend=self._backends[-1],
            tasks=len(workflow.tasks),
            failed=workflow.errors,
            farewells=list(self._farewells.values()),
            tally=self._account.tally,
            effects=self._account.effects,
            control_latencies_ms=self._steering.latencies_ms,
            duration_s=time.monotonic() - self._start,
            library=workflow.result(report.id),
        )
