"""One worker process: does the tasks that it is given, and tells the world over MQTT what it does."""

from __future__ import annotations

import ast
import asyncio
import time
import warnings
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cascade.connectors.mqtt import MqttConnector

from ...errors import MqttError
from . import steps
from .channel import Channel
from .messages import Assign, Broken, Farewell, Finish, Held, Identity, Ready, TaskEnd
from .settings import CONSTRAINTS, PAUSED_TOPIC, Settings
from .workflow import State, Step, Task

__all__ = ["run_worker"]

_FLUSH_S = 30.0


def run_worker(connection: Connection, settings: Settings, root: Path) -> None:
    """The main function of a worker process."""
    warnings.simplefilter("ignore")  # what the parser has to say about other people's string escapes
    asyncio.run(_Worker(settings, root).run(connection))


@dataclass(slots=True)
class _Module:
    """A file between its steps."""

    source: bytes = b""
    tree: ast.Module = field(default_factory=lambda: ast.Module([], []))
    imports: frozenset[str] = frozenset()


class _Worker:
    def __init__(self, settings: Settings, root: Path) -> None:
        self._settings = settings
        self._root = root
        self._modules: dict[str, _Module] = {}
        self._inbox: deque[Assign | Finish] = deque()
        self._arrived = asyncio.Event()
        self._may_start = asyncio.Event()
        self._may_start.set()
        self._calls_ns = array("q")
        self._published = 0
        self._refused = 0

    async def run(self, connection: Connection) -> None:
        """Connect, work until told to finish, say farewell; the end of the pipe ends it at once."""
        working = asyncio.current_task()
        assert working is not None
        self._channel = Channel(connection, self._take, working.cancel)
        try:
            await self._work()
        except MqttError as error:
            self._channel.send(Broken(str(error)))
        except asyncio.CancelledError:
            pass  # the parent is gone
        finally:
            self._channel.close()

    async def _work(self) -> None:
        settings = self._settings
        async with MqttConnector(settings.host, settings.port, **settings.options) as connector:
            self._publisher = settings.publisher(connector)
            await connector.subscribe(CONSTRAINTS, self._on_constraint)
            self._publish(self._publisher.lifecycle, "ENGINE_STARTED")
            self._channel.send(Ready(connector.stats().backend))
            while isinstance(message := await self._next(), Assign):
                await self._may_start.wait()
                self._do(message)
                await asyncio.sleep(0)  # control messages come in between two tasks
            self._publish(self._publisher.lifecycle, "ENGINE_STOPPED")
            await connector.flush(_FLUSH_S)
        identity = Identity(connector.source_id, connector.epoch, settings.run_id)
        self._channel.send(Farewell(identity, self._published, self._refused, self._calls_ns))

    def _take(self, message: Assign | Finish) -> None:
        self._inbox.append(message)
        self._arrived.set()

    async def _next(self) -> Assign | Finish:
        while not self._inbox:
            self._arrived.clear()
            await self._arrived.wait()
        return self._inbox.popleft()

    def _on_constraint(self, topic: str, payload: Any) -> None:
        now = time.monotonic_ns()
        if topic != PAUSED_TOPIC:
            return
        if isinstance(payload, dict) and payload.get("type") == "pause":
            self._may_start.clear()
        else:
            self._may_start.set()
        self._channel.send(Held(not self._may_start.is_set(), now))

    def _do(self, assigned: Assign) -> None:
        task = assigned.task
        if assigned.skip:
            self._end(task, State.SKIPPED)
            return
        self._publish(self._publisher.task_state, task.id, task.step.value, "RUNNING")
        start = time.perf_counter()
        try:
            result = self._step(task, assigned.inputs)
        except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
            self._end(task, State.FAILED, _elapsed_ms(start), error=f"{type(error).__name__}: {error}")
        else:
            self._end(task, State.COMPLETED, _elapsed_ms(start), result=result)

    def _step(self, task: Task, inputs: list[Any]) -> Any:
        """Do it; only what others need is returned, source and tree stay here."""
        subject = task.subject
        match task.step:
            case Step.READ:
                self._modules[subject] = _Module(steps.read(self._root / subject))
            case Step.PARSE:
                self._modules[subject].tree = steps.parse(self._modules[subject].source)
            case Step.IMPORTS:
                self._modules[subject].imports = steps.imports(self._modules[subject].tree)
            case Step.FIGURES:
                module = self._modules.pop(subject)
                return steps.figures(module.source, module.tree, module.imports)
            case Step.PACKAGE:
                return steps.package(subject, inputs)
            case Step.REPORT:
                return steps.report(inputs)
        return None

    def _end(
        self,
        task: Task,
        state: State,
        duration_ms: float = 0.0,
        result: Any = None,
        error: str | None = None,
    ) -> None:
        if state is not State.COMPLETED:
            self._modules.pop(task.subject, None)
        self._publish(
            self._publisher.task_state, task.id, task.step.value, state.value, duration_ms=duration_ms, error=error
        )
        self._channel.send(TaskEnd(task.id, state, result, error, self._published))

    def _publish(self, publish: Callable[..., bool], *what: Any, **more: Any) -> None:
        start = time.perf_counter_ns()
        queued = publish(*what, **more)
        self._calls_ns.append(time.perf_counter_ns() - start)
        if queued:
            self._published += 1
        else:
            self._refused += 1


def _elapsed_ms(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 3)
