"""The controller's part of a run: it asks for one thing after another, and notes when all workers obeyed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from cascade.connectors.mqtt import MqttConnector

from ...constraints import ConstraintController
from ...errors import MqttError
from .effects import Ask, Phase
from .messages import InForce

__all__ = ["StampedConnector", "Steering"]

_CONTROL_S = 30.0

Until = Callable[[Callable[[], bool], float | None, str], Awaitable[None]]


class StampedConnector(MqttConnector):
    """Knows when it published: an order begins with a look at what is in force, which is not the message's way."""

    published_ns = 0

    async def publish_confirmed(self, *what: Any, **how: Any) -> None:
        self.published_ns = time.monotonic_ns()
        await super().publish_confirmed(*what, **how)


class Steering:
    """Steers the workers of one run, and nobody else; whatever happens, all is lifted when it is left.

    Args:
        scope: whom it is about.
        workers: how many must obey.
        until: waits for a condition, for so many seconds at most, under a name for where that is in vain.
    """

    def __init__(self, connector: StampedConnector, scope: str, workers: int, until: Until) -> None:
        self._connector, self._controller = connector, ConstraintController(connector)
        self._scope, self._workers, self._until = scope, workers, until
        self._asked: dict[str, Ask] = {}
        self._obey: set[int] = set()
        self.phases: list[Phase] = []
        self.latencies_ms: list[float] = []
        """From the publish of an order to each worker's having it in force."""

    @property
    def words(self) -> str:
        """What is asked for last of what is in force; "" where nothing is."""
        return list(self._asked.values())[-1].words if self._asked else ""

    def note(self, worker: int, message: InForce) -> None:
        """A worker says what is in force there."""
        if message.types == self._asked.keys() and worker not in self._obey:
            self._obey.add(worker)
            self.latencies_ms.append((message.at_ns - self._connector.published_ns) / 1e6)

    async def ask(self, ask: Ask) -> None:
        """Put this in force beside what is in force; returns when all workers obey."""
        self._asked[ask.type] = ask
        if ask.type == "pause":
            await self._tell(self._controller.pause(self._scope))
        elif ask.type == "concurrency":
            await self._tell(self._controller.limit(self._scope, concurrency=ask.limit))
        else:
            await self._tell(self._controller.limit(self._scope, rate=ask.limit, rate_capacity=1))

    async def lift(self, *types: str) -> None:
        """Take these out of force; returns when that has come to all workers."""
        for kind in types:
            del self._asked[kind]
        await self._tell(self._controller.resume(self._scope, types=types))

    @contextmanager
    def phase(self, ask: Ask) -> Iterator[None]:
        """Within, all workers obey this."""
        since = time.time()
        yield
        self.phases.append(Phase(ask, since, time.time()))

    async def __aenter__(self) -> Steering:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.lift(*self._asked)
        else:
            with suppress(MqttError):  # there is something worse to tell
                await self._controller.resume(self._scope, types=None)

    async def _tell(self, order: Awaitable[object]) -> None:
        self._obey.clear()
        await order
        await self._until(lambda: len(self._obey) == self._workers, _CONTROL_S, "the workers to obey")
