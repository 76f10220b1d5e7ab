"""What the processes of the demo tell each other, over pipes."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .effects import Effect, Phase
from .workflow import State, Task

__all__ = [
    "Account",
    "Assign",
    "Broken",
    "Expect",
    "Farewell",
    "Finish",
    "Identity",
    "InForce",
    "Ready",
    "Seen",
    "Tally",
    "TaskEnd",
]


class Identity(NamedTuple):
    """Whose events are numbered from 0 on: one publisher of one run."""

    source: str
    epoch: str
    run_id: str


class Ready(NamedTuple):
    """To the parent: connected and subscribed."""

    backend: str


class Broken(NamedTuple):
    """To the parent: cannot go on."""

    reason: str


class Assign(NamedTuple):
    """To a worker: do this task, with what the tasks that it needs gave; or say that it is skipped."""

    task: Task
    inputs: list[Any]
    skip: bool


class TaskEnd(NamedTuple):
    """To the parent: how a task ended; ``published`` counts this worker's events so far."""

    task_id: str
    state: State
    result: Any
    error: str | None
    published: int


class InForce(NamedTuple):
    """To the parent: what is in force for this run since ``at_ns`` on the monotonic clock all processes share."""

    types: frozenset[str]
    at_ns: int


class Finish(NamedTuple):
    """To a worker: the workflow is over."""


class Farewell(NamedTuple):
    """To the parent: what a worker published; ``calls_ns`` are the durations of its publish calls."""

    identity: Identity
    published: int
    refused: int
    calls_ns: array[int]


class Expect(NamedTuple):
    """To the observer: how many events each publisher says it published, and what was asked of them when."""

    published: Mapping[Identity, int]
    phases: Sequence[Phase]


class Seen(NamedTuple):
    """To the parent, a few times a second: what the observer has so far."""

    received: int
    missing: int
    duplicates: int


class Tally(NamedTuple):
    """The account of what was published. ``lost`` holds the missing seq numbers."""

    received: int
    duplicates: int
    lost: Mapping[Identity, list[int]]


class Account(NamedTuple):
    """To the parent: all that the observer has to say."""

    tally: Tally
    effects: list[Effect]
