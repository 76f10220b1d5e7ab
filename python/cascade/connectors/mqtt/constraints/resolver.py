"""What a task has to acquire: its own requirements, lazy amounts resolved, and those that constraints add."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Hashable, Mapping
from typing import Any, overload

from ..errors import ConstraintError
from .lazy import EngineResults, GivenResults, Lazy, Results, as_lazy
from .pool import checked
from .scopes import is_map

__all__ = ["ConstraintResolver"]

# Runs whose amounts are remembered; the one that was asked for the longest ago goes first.
_RUNS = 64
# Amounts of one run that are remembered, likewise: a run may last as long as its process.
_AMOUNTS = 4096


class ConstraintResolver:
    """Resolves requirements; an amount is computed once a run.

    Args:
        timeout: seconds to wait for a lazy amount; None waits as long as it takes.
    """

    def __init__(self, *, timeout: float | None = None) -> None:
        self._timeout = timeout
        self._runs: OrderedDict[str, OrderedDict[Hashable, tuple[object, _Shared]]] = OrderedDict()

    @overload
    async def resolve(
        self,
        requirements: Mapping[str, Any],
        results: Mapping[Any, Any] | None = None,
        /,
        *,
        task: Any = None,
        manager: Any = None,
        run_id: str | None = None,
    ) -> dict[str, Any]: ...

    @overload
    async def resolve(
        self, node: Any, graph: Any, state_backend: Any, constraint_manager: Any, instance_map: Mapping[str, Any], /
    ) -> dict[str, Any]: ...

    async def resolve(
        self,
        what: Any,
        results: Any = None,
        state_backend: Any = None,
        constraint_manager: Any = None,
        instance_map: Mapping[str, Any] | None = None,
        /,
        *,
        task: Any = None,
        manager: Any = None,
        run_id: str | None = None,
    ) -> dict[str, Any]:
        """What to acquire, resource to amount. What constraints require goes over the task's own.

        In the first form ``results`` holds results by identifier, where a result may be an exception or an awaitable;
        with ``task`` and ``manager``, the manager's extra requirements are merged in, and with ``run_id`` amounts
        are remembered for the run. The second form is that of the Cascade engine. A node that maps is charged nothing.

        Raises:
            ConstraintError: a lazy amount without a result, or an amount that is no number from 0 up; the message
                names task, resource and dependency.
        """
        if isinstance(what, Mapping):
            own = await self.amounts(what, results, task=task, run_id=run_id)
        else:
            task, manager = what, constraint_manager
            requirements = getattr(getattr(what, "constraints", None), "requirements", None) or {}
            found = EngineResults(state_backend, instance_map or {})
            own = {} if is_map(what) else await self._amounts(requirements, found, _name(what), None)
        if is_map(task):
            return {}
        if manager is None or task is None:
            return own
        charged = _Charged(task, own) if own else task
        return {**own, **manager.get_extra_requirements(charged)}

    async def amounts(
        self,
        requirements: Mapping[str, Any],
        results: Mapping[Any, Any] | None = None,
        *,
        task: Any = None,
        run_id: str | None = None,
    ) -> dict[str, Any]:
        """The task's own requirements alone; as ``resolve`` in all else."""
        return await self._amounts(requirements, GivenResults(results or {}), _name(task), run_id)

    def forget(self, run_id: str) -> None:
        """A run is over: forget its amounts."""
        self._runs.pop(run_id, None)

    async def _amounts(
        self, requirements: Mapping[str, Any], results: Results, name: str, run_id: str | None
    ) -> dict[str, Any]:
        resolved = {}
        for resource, value in requirements.items():
            lazy = as_lazy(value)
            if lazy is not None:
                value = await self._amount(value, lazy, results, f"{name} needs {resource}", run_id)
            resolved[resource] = value
            checked({resource: value}, name if lazy is None else f"{name} (by {lazy.dependency})")
        return resolved

    async def _amount(self, value: Any, lazy: Lazy, results: Results, what: str, run_id: str | None) -> Any:
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                if run_id is None:
                    return await lazy.amount(results)
                return await self._shared(value, lazy, results, run_id).result()
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            raise ConstraintError(f"{what} from {lazy.dependency}, which was cancelled") from error
        except LookupError as error:
            raise ConstraintError(f"{what} from {lazy.dependency}: {_text(error)}") from error
        except Exception as error:
            if deadline.expired():
                raise ConstraintError(f"{what} from {lazy.dependency}: no result within {self._timeout:g} s") from error
            raise ConstraintError(f"{what} from {lazy.dependency}, which failed: {_text(error)}") from error

    def _shared(self, value: Any, lazy: Lazy, results: Results, run_id: str) -> _Shared:
        amounts = self._runs.setdefault(run_id, OrderedDict())
        self._runs.move_to_end(run_id)
        if len(self._runs) > _RUNS:
            self._runs.popitem(last=False)
        key = getattr(value, "_uuid", None) or id(value)
        known = amounts.get(key)
        if known is None or known[1].is_over():
            # The value is held, so that no other one gets its id.
            known = amounts[key] = value, _Shared(lazy.amount(results))
        amounts.move_to_end(key)
        _forget_eldest(amounts)
        return known[1]


class _Shared:
    """One computation for all who ask for it; it is cancelled when the last of them has gone."""

    def __init__(self, computation: Coroutine[Any, Any, Any]) -> None:
        self._task = asyncio.get_running_loop().create_task(computation)
        self._asking = 0

    def is_over(self) -> bool:
        """Whether it ended without an answer."""
        if not self._task.done():
            return self._task.get_loop().is_closed()
        return self._task.cancelled() or self._task.exception() is not None

    def is_awaited(self) -> bool:
        """Whether somebody waits for it."""
        return self._asking > 0 and not self._task.done()

    async def result(self) -> Any:
        self._asking += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._asking -= 1
            if not self._asking and not self._task.done():
                self._task.cancel()


def _forget_eldest(amounts: OrderedDict[Hashable, tuple[object, _Shared]]) -> None:
    """Keep to the bound, but for those that are still awaited: a second one of an awaitable cannot be begun."""
    while len(amounts) > _AMOUNTS:
        key = next(iter(amounts))
        if amounts[key][1].is_awaited():
            amounts.move_to_end(key)
            return
        del amounts[key]


class _Charged:
    """A task as it is, with amounts where its requirements were lazy."""

    def __init__(self, task: Any, requirements: Mapping[str, Any]) -> None:
        self._task = task
        self.requirements = requirements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def _is_cancelled() -> bool:
    """Whether whoever waits here is, rather than what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _name(task: Any) -> str:
    if task is None or isinstance(task, str):
        return task or "a task"
    return str(getattr(task, "name", None) or getattr(task, "structural_id", task))


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
