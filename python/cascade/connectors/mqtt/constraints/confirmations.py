"""Waiting until workers say that they obey."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .applied import ALL_APPLIED, applied_source

if TYPE_CHECKING:
    from ..connector import MqttConnector
    from ..messages import Message

__all__ = ["Change", "Confirmations"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a command has changed, as the broker has it.

    Args:
        scope: where.
        set: the ``revision`` of each type that was put in force.
        lifted: the types that were lifted.
    """

    scope: str
    set: Mapping[str, str] = field(default_factory=dict)
    lifted: tuple[str, ...] = ()

    def is_in(self, report: Any) -> bool:
        """Whether a worker that reports this obeys the change."""
        listed = report.get("constraints") if isinstance(report, dict) else None
        if not isinstance(listed, list):
            return False
        obeyed = {
            one.get("type"): one.get("revision")
            for one in listed
            if isinstance(one, dict) and one.get("scope") == self.scope and isinstance(one.get("type"), str)
        }
        # In a report that was cut short nothing is known to be absent.
        return all(obeyed.get(kind) == revision for kind, revision in self.set.items()) and not (
            self.lifted and (report.get("more") or obeyed.keys() & set(self.lifted))
        )


class Confirmations:
    """``async with controller.applied() as applied:`` a command, then ``await applied.wait(change, workers=3, …)``.

    The reports are listened to from the beginning of the block, so that none is missed.
    """

    def __init__(self, connector: MqttConnector) -> None:
        self._reports = connector.messages(ALL_APPLIED)

    async def wait(self, change: Change, *, workers: int, timeout: float) -> frozenset[str]:
        """Wait until so many workers have applied a change, for at most ``timeout`` seconds.

        Returns:
            the source ids of those that have; fewer than ``workers`` where the time, or the connector, ended before.
        """
        sources: set[str] = set()
        if workers > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    async for message in self._reports:
                        self._count(message, change, sources)
                        if len(sources) >= workers:
                            break
        return frozenset(sources)

    def _count(self, message: Message, change: Change, sources: set[str]) -> None:
        source = applied_source(message.topic)
        # A retained report was made before the change, maybe by a worker that is no more; only a revision
        # cannot be older than itself.
        if change.is_in(message.payload) and (not message.retain or not change.lifted):
            sources.add(source)
        else:
            sources.discard(source)

    async def __aenter__(self) -> Self:
        await self._reports.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._reports.aclose()
