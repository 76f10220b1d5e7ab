"""Amounts that are another task's result."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol, runtime_checkable

__all__ = ["EngineResults", "GivenResults", "Lazy", "Results", "as_lazy"]


class Results(Protocol):
    """Where results are."""

    async def result(self, dependency: str) -> Any:
        """The result of this task; LookupError where there is none, and what it failed with where it failed."""


@runtime_checkable
class Lazy(Protocol):
    """An amount that is known when something else is done."""

    @property
    def dependency(self) -> str:
        """What it depends on, by the name that an error should call it."""

    async def amount(self, results: Results) -> Any:
        """The amount; LookupError where it will never be known."""


def as_lazy(value: Any) -> Lazy | None:
    """What stands for the amount where the value is none itself: a ``Lazy``, an awaitable, an object with ``_uuid``."""
    if type(value) in (int, float):
        return None
    if isinstance(value, Lazy):
        return value
    if inspect.isawaitable(value):
        return _Awaited(value)
    identifier = getattr(value, "_uuid", None)
    return None if identifier is None else _ResultOf(identifier)


class _ResultOf:
    """The result of the task that is known by an identifier."""

    def __init__(self, identifier: Any) -> None:
        self._identifier = identifier

    @property
    def dependency(self) -> str:
        return str(self._identifier)

    async def amount(self, results: Results) -> Any:
        return await results.result(self._identifier)


class _Awaited:
    """What an awaitable comes to."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._awaitable = awaitable

    @property
    def dependency(self) -> str:
        named = getattr(self._awaitable, "get_name", None)
        return str(named()) if named else repr(self._awaitable)

    async def amount(self, results: Results) -> Any:
        return await _unharmed(self._awaitable)


class GivenResults:
    """Results in a mapping by identifier; one may be an exception, or an awaitable."""

    def __init__(self, results: Mapping[Any, Any]) -> None:
        self._results = results

    async def result(self, dependency: str) -> Any:
        if dependency not in self._results:
            raise LookupError("it has no result")
        value = self._results[dependency]
        if isinstance(value, BaseException):
            raise value
        return await _unharmed(value) if inspect.isawaitable(value) else value


class EngineResults:
    """Results in the state backend of the Cascade engine: from an object's ``_uuid`` to its node, and to the result."""

    def __init__(self, state_backend: Any, instance_map: Mapping[str, Any]) -> None:
        self._state = state_backend
        self._instances = instance_map

    async def result(self, dependency: str) -> Any:
        node = self._instances.get(dependency)
        if node is None:
            raise LookupError("it is not in the graph")
        if await self._state.has_result(node.structural_id):
            return await self._state.get_result(node.structural_id)
        skipped = await self._state.get_skip_reason(node.structural_id)
        why = f", it was skipped: {skipped}" if skipped else ""
        raise LookupError(f"{node.name} ({node.structural_id}) has no result{why}")


def _unharmed(awaitable: Awaitable[Any]) -> Awaitable[Any]:
    """A future is somebody else's: who stops waiting for it must not cancel it."""
    return asyncio.shield(awaitable) if asyncio.isfuture(awaitable) else awaitable
