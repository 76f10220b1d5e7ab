"""One worker process: does the tasks that it is given, and tells the world over MQTT what it does."""

from __future__ import annotations

import ast
import asyncio
import time
import warnings
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cascade.connectors.mqtt import ConstraintManager, Gate, MqttConnector

from ...errors import MqttError
from . import steps
from .channel import Channel
from .messages import Assign, Broken, Farewell, Finish, Identity, InForce, Ready, TaskEnd
from .settings import Settings
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
        # Tasks at a time there are many, as in any asyncio program; one of them computes.
        self._processor = asyncio.Lock()
        self._in_force: frozenset[str] = frozenset()

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
            self._publisher = publisher = settings.publisher(connector)
            async with Gate.connected(connector, telemetry=publisher, project_id=settings.project_id) as gate:
                gate.manager.add_listener(lambda: self._note_constraints(gate.manager))
                publisher.lifecycle("ENGINE_STARTED")
                self._channel.send(Ready(connector.stats().backend))
                async with asyncio.TaskGroup() as tasks:
                    while isinstance(message := await self._next(), Assign):
                        tasks.create_task(self._do(gate, message))
                publisher.lifecycle("ENGINE_STOPPED")
            await connector.flush(_FLUSH_S)
        identity = Identity(connector.source_id, connector.epoch, settings.run_id)
        self._channel.send(Farewell(identity, publisher.published, publisher.refused, publisher.calls_ns))

    def _take(self, message: Assign | Finish) -> None:
        self._inbox.append(message)
        self._arrived.set()

    async def _next(self) -> Assign | Finish:
        while not self._inbox:
            self._arrived.clear()
            await self._arrived.wait()
        return self._inbox.popleft()

    def _note_constraints(self, manager: ConstraintManager) -> None:
        now, scope = time.monotonic_ns(), self._settings.scope
        types = frozenset(one.type for one in manager.in_force() if one.scope == scope)
        if types != self._in_force:
            self._in_force = types
            self._channel.send(InForce(types, now))

    async def _do(self, gate: Gate, assigned: Assign) -> None:
        task = assigned.task
        if assigned.skip:
            self._publisher.task_state(task.id, task.step.value, State.SKIPPED.value)
            self._end(task, State.SKIPPED)
            return
        try:
            async with gate.admit(task.step.value, task_id=task.id, run_id=self._settings.run_id), self._processor:
                await asyncio.sleep(0)  # control messages come in between two tasks
                result = self._step(task, assigned.inputs)
        except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
            self._end(task, State.FAILED, error=f"{type(error).__name__}: {error}")
        else:
            self._end(task, State.COMPLETED, result=result)

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

    def _end(self, task: Task, state: State, result: Any = None, error: str | None = None) -> None:
        if state is not State.COMPLETED:
            self._modules.pop(task.subject, None)
        self._channel.send(TaskEnd(task.id, state, result, error, self._publisher.published))
