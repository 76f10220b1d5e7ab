"""The workflow of the demo: a graph of tasks over the standard library, and how far it has come."""

from __future__ import annotations

import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["State", "Step", "Task", "Workflow", "library_files", "library_root", "plan"]

# The tests outweigh the library itself, and are not installed everywhere. The small ones give the demo what it wants of
# them: files that are meant not to parse.
_TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})
_LARGEST_TEST_BYTES = 2048


class Step(StrEnum):
    """What a task does; each step of a file needs the one before."""

    READ = "read"
    PARSE = "parse"
    IMPORTS = "imports"
    FIGURES = "figures"
    PACKAGE = "package"
    REPORT = "report"


FILE_STEPS = (Step.READ, Step.PARSE, Step.IMPORTS, Step.FIGURES)


class State(StrEnum):
    """How a task ended."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class Task:
    """One node of the graph: a step on a file, a package or the whole library."""

    step: Step
    subject: str
    needs: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.step}:{self.subject}"

    @property
    def of_a_file(self) -> bool:
        return self.step in FILE_STEPS


class Workflow:
    """The graph while it runs: which tasks are ready, and what the finished ones gave."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.tasks = {task.id: task for task in tasks}
        self.states: dict[str, State] = {}
        self.errors: dict[str, str] = {}
        self._results: dict[str, Any] = {}
        self._order = TopologicalSorter({task.id: task.needs for task in self.tasks.values()})
        self._order.prepare()

    @property
    def done(self) -> bool:
        """Whether every task has ended."""
        return not self._order.is_active()

    def take_ready(self) -> list[Task]:
        """Tasks all of whose needs have ended since the last call."""
        return [self.tasks[task_id] for task_id in self._order.get_ready()]

    def must_skip(self, task: Task) -> bool:
        """Whether it cannot be done: a step of a file needs the one before; a package takes what there is."""
        return task.of_a_file and any(self.states[need] is not State.COMPLETED for need in task.needs)

    def inputs(self, task: Task) -> list[Any]:
        """What the tasks that it needs gave, where they gave something."""
        return [self._results[need] for need in task.needs if need in self._results]

    def end(self, task_id: str, state: State, result: Any = None, error: str | None = None) -> None:
        """Note how a task ended; what needs it may become ready."""
        self.states[task_id] = state
        if result is not None:
            self._results[task_id] = result
        if error is not None:
            self.errors[task_id] = error
        self._order.done(task_id)

    def result(self, task_id: str) -> Any:
        """What a completed task gave; None where that stayed in its worker."""
        return self._results.get(task_id)

    def count(self, state: State) -> int:
        """How many tasks have ended in this state."""
        return sum(1 for ended in self.states.values() if ended is state)


def library_root() -> Path:
    """Where the running Python keeps its standard library."""
    return Path(sysconfig.get_path("stdlib"))


def library_files(root: Path, limit: int | None = None) -> list[str]:
    """The modules of the standard library, as paths under ``root``, sorted.

    Args:
        root: where the library is.
        limit: only so many of them, the smallest ones.
    """
    found = [path for path in root.rglob("*.py") if path.is_file() and _belongs(path, root)]
    if limit is not None:
        found = sorted(found, key=lambda path: (path.stat().st_size, path))[:limit]
    return sorted(path.relative_to(root).as_posix() for path in found)


def plan(files: Sequence[str]) -> list[Task]:
    """Every file read, parsed, asked for its imports and figured; then its package; then one report."""
    tasks: list[Task] = []
    packages: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        need: tuple[str, ...] = ()
        for step in FILE_STEPS:
            task = Task(step, file, need)
            tasks.append(task)
            need = (task.id,)
        packages[_package_of(file)].extend(need)
    of_packages = [Task(Step.PACKAGE, name, tuple(needs)) for name, needs in sorted(packages.items())]
    return [*tasks, *of_packages, Task(Step.REPORT, "standard library", tuple(task.id for task in of_packages))]


def _belongs(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    if "site-packages" in parts or "dist-packages" in parts:
        return False
    if not _TEST_FOLDERS.isdisjoint(parts):
        return path.stat().st_size <= _LARGEST_TEST_BYTES
    return parts[0].removesuffix(".py") in sys.stdlib_module_names


def _package_of(file: str) -> str:
    return ".".join(PurePosixPath(file).parent.parts) or "(top level)"
