"""What an engine author uses: the one way to a start, past pauses, rates, limits and resources."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..telemetry import TelemetryPublisher
from .admission import Admission
from .environment import Environment
from .manager import ConstraintManager
from .resolver import ConstraintResolver
from .resources import ResourceManager
from .sync import ConstraintSync, OnTimeout

if TYPE_CHECKING:
    from ..connector import MqttConnector
    from .signing import FindKey

__all__ = ["Gate", "Waiting"]

_logger = logging.getLogger("cascade.connectors.mqtt")


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A task that waits at the gate.

    ``reason`` is the first thing in its way: ``pause global``, ``rate_limit task:fetch``, ``concurrency global``,
    ``resource gpu``, ``turn for resource gpu`` (who came first waits for it too), or ``results`` (of lazy amounts).
    """

    task_name: str
    task_id: str
    run_id: str | None
    waited_s: float
    reason: str


class Gate:
    """Lets tasks start when everything allows it: no pause, a token of each rate, a unit of each limit, resources.

    All of it is taken in one step, or nothing: nobody holds a thing while waiting. First come, first served; but one
    who may not start holds up nobody who may.

    Args:
        manager: what is in force; its resource manager must be a ``ResourceManager``.
        telemetry: publishes BLOCKED, RUNNING, COMPLETED and FAILED of each task; nothing is published without.
        resolver: resolves lazy amounts; one without a deadline by default.
        source_id: what ``source:`` is compared with; the manager's by default.
        project_id: what ``project:`` is compared with; the manager's by default.
    """

    def __init__(
        self,
        manager: ConstraintManager,
        *,
        telemetry: TelemetryPublisher | None = None,
        resolver: ConstraintResolver | None = None,
        source_id: str | None = None,
        project_id: str | None = None,
    ) -> None:
        if not isinstance(manager.resource_manager, ResourceManager):
            raise TypeError("the manager's resource_manager must be a ResourceManager of this package")
        self.manager = manager
        self.resources = manager.resource_manager
        self.resolver = resolver or ConstraintResolver()
        self.source_id = source_id
        self.project_id = project_id
        self._telemetry = telemetry
        self._waiting: dict[Admission, None] = {}
        self._running: dict[Admission, None] = {}
        self._generation = manager.generation
        manager.add_listener(self.resources.line.look_soon)
        self.resources.line.before_look.append(self._charge)

    @classmethod
    @asynccontextmanager
    async def connected(
        cls,
        connector: MqttConnector,
        *,
        telemetry: TelemetryPublisher | None = None,
        resources: Mapping[str, float] | None = None,
        environment: bool = False,
        resolver: ConstraintResolver | None = None,
        on_timeout: OnTimeout = "run",
        timeout: float = 5.0,
        verify: FindKey | None = None,
        source_id: str | None = None,
        project_id: str | None = None,
    ) -> AsyncIterator[Gate]:
        """A gate that obeys the constraints of a broker: ``async with`` it around all tasks.

        It is entered when what the broker retains of constraints is in force. What is left out here can be put
        together by hand, of ``ResourceManager``, ``ConstraintManager``, ``ConstraintSync`` and ``Gate``.

        Args:
            connector: connected, or about to be; it is left as it is.
            telemetry: publishes the events of tasks; one of a new run through the connector by default.
            resources: what the machine has, like ``{"gpu": 2}``.
            environment: whether CPUs and memory are capacities too, and are followed when they change.
            resolver: resolves lazy amounts; one without a deadline by default.
            on_timeout: what happens where constraints are not known in time: ``"run"`` without, or ``"hold"``.
            timeout: seconds until then.
            verify: with it, only signed constraints are obeyed; called with a key's id, returns its secret or None.
            source_id: what ``source:`` is compared with; the connector's by default.
            project_id: what ``project:`` is compared with; ``CASCADE_PROJECT_ID`` or ``"default"`` by default.
        """
        telemetry = telemetry or TelemetryPublisher(connector, project_id=project_id)
        manager = ConstraintManager(
            ResourceManager(resources), project_id=project_id, source_id=source_id or connector.source_id
        )
        own = manager.identity()
        scopes = ["global", f"project:{own.project_id}", f"source:{own.source_id}", f"run:{telemetry.run_id}"]
        sync = ConstraintSync(connector, manager, on_timeout=on_timeout, verify=verify, scopes=scopes)
        gate = cls(manager, telemetry=telemetry, resolver=resolver)
        following = None
        if environment:
            follow = Environment.follow(gate.resources, telemetry=telemetry, but=resources or ())
            following = asyncio.create_task(follow, name="environment")
        try:
            await sync.start(timeout)
            yield gate
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            await sync.stop()
            gate.close()

    def admit(
        self,
        task: Any,
        *,
        requirements: Mapping[str, Any] | None = None,
        results: Mapping[Any, Any] | None = None,
        run_id: str | None = None,
        task_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Admission:
        """``async with`` it around the task: it is entered when the task may start.

        A task that is admitted within another one, in the same asyncio context, uses that one's units of a limit as
        long as that one is there; so a task may map over items under a limit of 1.

        Args:
            task: its name, or an object with ``name`` (an engine's node).
            requirements: resource to amount; an amount may be a ``Lazy``, an awaitable or an object with ``_uuid``.
            results: where the results of objects with ``_uuid`` are.
            run_id: what ``run:`` is compared with, and the run of the events; the telemetry's by default.
            task_id: names the task in events; a new one by default.
            metadata: goes into each event.

        Raises:
            ConstraintError: on entering; an amount that cannot be resolved, more than the machine has, or the gate is
                closed.
        """
        name = task if isinstance(task, str) else task.name
        if requirements is None:
            requirements = getattr(getattr(task, "constraints", None), "requirements", None)
        node_type = getattr(task, "node_type", None)
        return Admission(
            self,
            name,
            task_id=task_id or getattr(task, "structural_id", None) or uuid.uuid4().hex,
            run_id=run_id or (None if self._telemetry is None else self._telemetry.run_id),
            node_type=node_type,
            requirements={} if requirements is None or node_type == "map" else requirements,
            results=results,
            metadata=metadata or {},
        )

    def waiting(self) -> list[Waiting]:
        """Who waits, in the order in which they came, and for what."""
        now = self.manager.now()
        return [
            Waiting(
                task_name=one.name,
                task_id=one.task_id,
                run_id=one.run_id,
                waited_s=max(0.0, now - one.since),
                reason=one.reason(),
            )
            for one in self._waiting
        ]

    def running(self) -> int:
        """How many tasks have been admitted and have not ended."""
        return len(self._running)

    def close(self) -> None:
        """Leave the manager: no change is heard of, nobody is let in any more, and who waits gets a ConstraintError.

        Tasks that run are left alone. A second call does nothing.
        """
        if self.closed:
            return
        self.resources.line.before_look.remove(self._charge)
        self.manager.remove_listener(self.resources.line.look_soon)
        for admission in list(self._waiting):
            self.resources.line.refuse(admission, admission.closed_error())

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._charge not in self.resources.line.before_look

    # --- for its admissions

    def telemetry_of(self, run_id: str | None) -> TelemetryPublisher | None:
        """Who publishes the events of this run."""
        if self._telemetry is None or run_id is None:
            return self._telemetry
        return self._telemetry.for_run(run_id)

    def note_waiting(self, admission: Admission, *, over: bool = False) -> None:
        """This one has come, or waits no more."""
        if over:
            self._waiting.pop(admission, None)
        else:
            self._waiting[admission] = None

    def note_running(self, admission: Admission, *, over: bool = False) -> None:
        """This one has been let in, or has given back."""
        if over:
            self._running.pop(admission, None)
        else:
            self._running[admission] = None

    def _charge(self) -> None:
        """Those who run count against a limit that has come, before anybody is let in under it."""
        if self._generation != self.manager.generation:
            self._generation = self.manager.generation
            for admission in list(self._running):
                try:
                    admission.charge()
                except Exception:  # a handler's: it must not keep others from being served
                    _logger.exception("what constraints require of a running %s is not known", admission.name)
