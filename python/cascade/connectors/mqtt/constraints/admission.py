"""One task at the gate: it waits, runs, and gives back what it had."""

from __future__ import annotations

import contextvars
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import ConstraintError
from .pool import LIMITS, checked
from .units import Unit, around, lendable

if TYPE_CHECKING:
    from .gate import Gate

__all__ = ["Admission"]

_CONCURRENCY = f"{LIMITS}concurrency:"

_innermost: contextvars.ContextVar[Admission | None] = contextvars.ContextVar("cascade_admission", default=None)


class Admission:
    """What ``Gate.admit`` returns: ``async with`` it, once, around the task.

    To the manager it is the task: it has the attributes by which tasks are known.
    """

    def __init__(
        self,
        gate: Gate,
        name: str,
        *,
        task_id: str,
        run_id: str | None,
        node_type: str | None,
        requirements: Mapping[str, Any],
        results: Mapping[Any, Any] | None,
        metadata: Mapping[str, Any],
    ) -> None:
        self.name = name
        self.task_id = task_id
        self.run_id = run_id
        self.node_type = node_type
        self.source_id = gate.source_id
        self.project_id = gate.project_id
        self.requirements: Mapping[str, float] = {}
        """Its own, once they are resolved."""
        self.parent: Admission | None = None
        self.pool = gate.resources.pool
        self.held: dict[str, float] = {}
        self.units: dict[str, Unit] = {}
        self.within: Counter[str] = Counter()
        self.since = 0.0
        self._gate = gate
        self._manager = gate.manager
        self._resources = gate.resources
        self._wanted = requirements
        self._results = results
        self._metadata = metadata
        self._telemetry = gate.telemetry_of(run_id)
        self._undo: list[Callable[[], object]] = []
        self._state = "new"
        self._generation = 0

    # --- the context manager

    async def __aenter__(self) -> Admission:
        if self._state != "new":
            raise RuntimeError("an admission is for one task: call Gate.admit again")
        self._state, self.since = "resolving", self._manager.now()
        self.parent = _living(_innermost.get())
        self._gate.note_waiting(self)
        try:
            self.requirements = checked(await self._resolved(), self.name)
            self._resources.refuse_impossible(self.requirements)
            self._state = "waiting"
            await self._wait()
            now = self._manager.now()
            waited_ms, self.since = _ms(now - self.since), now
            self._state = "running"
            self._publish("RUNNING", metadata={"waited_ms": waited_ms})
        except BaseException as error:
            self._state = "over"
            self._give_back()
            self._publish("FAILED", error=f"not started, {type(error).__name__}: {error}")
            raise
        finally:
            self._gate.note_waiting(self, over=True)
        _innermost.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._state = "over"
        text = None if error is None else f"{type(error).__name__}: {error}"
        took_ms = _ms(self._manager.now() - self.since)
        try:
            self._publish("COMPLETED" if error is None else "FAILED", duration_ms=took_ms, error=text)
        finally:
            self._give_back()
            self.parent = _living(self.parent)
            # Left in another context than it was entered in, there is nothing to put back.
            if _innermost.get() is self:
                _innermost.set(self.parent)

    def reason(self) -> str:
        """What it waits for now."""
        if self._state == "resolving":
            return "results"
        denial = self._manager.denial(self)
        if denial is not None:
            return f"{denial.type} {denial.scope}"
        needs = self.needs()
        lacking = self.pool.lacks(needs)
        if lacking is not None:
            return _called(lacking)
        claimed = next((name for name in needs if name in self._resources.line.claimed), None)
        return "turn" if claimed is None else f"turn for {_called(claimed)}"

    # --- the request in the line

    @property
    def alike(self) -> Hashable:
        own = frozenset(self.requirements.items())
        return self.name, self.run_id, self.source_id, self.project_id, self.node_type, own, id(self.parent)

    def needs(self) -> Mapping[str, float]:
        return {name: amount for name, amount in self._charges().items() if lendable(self, name) is None}

    def kept(self) -> Mapping[str, float]:
        if self.parent is None:
            return {}
        kept: Counter[str] = Counter()
        for outer in around(self):
            kept.update(outer.held)
            kept.update({name: unit.amount for name, unit in outer.units.items() if unit.is_used_by(outer)})
        return kept

    def tokens(self) -> Collection[str]:
        return self._manager.tokens(self)

    def permitted(self) -> bool:
        return self._manager.denial(self) is None

    def granted(self, needs: Mapping[str, float]) -> bool:
        # First what a handler may fail at, then what is spent.
        charges = self._charges()
        undo = self._manager.permit(self)
        if undo is None:
            return False
        self._undo = undo
        for name, amount in charges.items():
            lent = None if name in needs else lendable(self, name)
            if lent is not None:
                lent.use(self)
            else:
                self._take(name, amount)
        self._generation = self._manager.generation
        self._gate.note_running(self)
        return True

    def charge(self) -> None:
        """Hold what a limit that has come since the start requires, be it free or not: the task counts against it."""
        for name, amount in self._charges().items():
            if name not in self.held and name not in self.units:
                self._take(name, amount)

    def closed_error(self) -> ConstraintError:
        """What it gets where the gate closes before it is let in."""
        return ConstraintError(f"the gate was closed before {self.name} could start")

    # --- within

    async def _resolved(self) -> Mapping[str, Any]:
        return await self._gate.resolver.amounts(self._wanted, self._results, task=self, run_id=self.run_id)

    async def _wait(self) -> None:
        if self._gate.closed:
            raise self.closed_error()
        line, is_blocked = self._resources.line, False
        place = line.ticket(within=sum(1 for _ in around(self)))
        while True:
            granted = line.join(self, place)
            try:
                if not granted.done() and not is_blocked:
                    is_blocked = True
                    self._publish("BLOCKED", metadata={"reason": self.reason()})
                await granted
            except BaseException:
                if granted.done() and not granted.cancelled() and granted.exception() is None:
                    self._withdraw()
                else:
                    line.leave(self, place)
                raise
            if self._generation == self._manager.generation:
                return
            # What is in force has changed between the grant and now: it is asked again, from the same place.
            self._withdraw()

    def _charges(self) -> dict[str, float]:
        """What it is to hold: its own requirements, and over them those of constraints."""
        return checked({**self.requirements, **self._manager.get_extra_requirements(self)}, self.name)

    def _take(self, name: str, amount: float) -> None:
        if name.startswith(_CONCURRENCY):
            Unit(name, amount, self)
        else:
            self.pool.take({name: amount})
            self.held[name] = amount

    def _withdraw(self) -> None:
        """It does not start: even tokens go back."""
        for undo in self._undo:
            undo()
        self._give_back()

    def _give_back(self) -> None:
        for unit in list(self.units.values()):
            unit.leave(self)
        held, self.held = self.held, {}
        self._gate.note_running(self, over=True)
        self._resources.give_back(held)

    def _publish(
        self,
        state: str,
        *,
        duration_ms: float = 0.0,
        error: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        if self._telemetry is not None:
            metadata = {**self._metadata, **(metadata or {})}
            self._telemetry.task_state(
                self.task_id, self.name, state, duration_ms=duration_ms, error=error, metadata=metadata
            )

    @property
    def is_over(self) -> bool:
        """Whether it has run."""
        return self._state == "over"


def _living(admission: Admission | None) -> Admission | None:
    """The innermost that has not ended: those that have are let go, so that no chain of them grows."""
    while admission is not None and admission.is_over:
        admission = admission.parent
    return admission


def _called(resource: str) -> str:
    """A resource as the reason of a wait; one that a constraint has made by the constraint's type and scope."""
    if resource.startswith(LIMITS):
        return resource.removeprefix(LIMITS).replace(":", " ", 1)
    return f"resource {resource}"


def _ms(seconds: float) -> float:
    # The clock may be set back meanwhile.
    return round(max(0.0, seconds) * 1000, 3)
