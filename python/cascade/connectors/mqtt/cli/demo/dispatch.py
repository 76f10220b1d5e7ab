"""Which worker does which task, and when: only what is ready, and never much ahead."""

from __future__ import annotations

from collections import deque
from typing import Any

from .workflow import State, Task, Workflow

__all__ = ["Dispatcher"]

# Tasks given to a worker and not ended: enough to keep it busy while its answers travel.
_WINDOW = 8


class Dispatcher:
    """Hands out the ready tasks of a workflow.

    The steps of a file go to one worker, which keeps its source and syntax tree; everything else goes to whoever has
    room.
    """

    def __init__(self, workflow: Workflow, workers: int) -> None:
        self._workflow = workflow
        self._owner: dict[str, int] = {}
        self._at_hand: list[deque[Task]] = [deque() for _ in range(workers)]
        self._anywhere: deque[Task] = deque()
        self._given = [0] * workers
        self._sort_ready()

    def take(self) -> list[tuple[int, Task]]:
        """The tasks to be given out now, each with its worker."""
        taken: list[tuple[int, Task]] = []
        hungry = True
        while hungry:  # one each in turn, so that nobody starves at the end
            hungry = False
            for worker, at_hand in enumerate(self._at_hand):
                task = self._next_for(worker, at_hand)
                if task is not None:
                    self._given[worker] += 1
                    taken.append((worker, task))
                    hungry = True
        return taken

    def end(self, worker: int, task_id: str, state: State, result: Any = None, error: str | None = None) -> None:
        """Note that a worker has ended a task."""
        self._given[worker] -= 1
        self._workflow.end(task_id, state, result, error)
        self._sort_ready()

    def _next_for(self, worker: int, at_hand: deque[Task]) -> Task | None:
        if self._given[worker] >= _WINDOW:
            return None
        if at_hand:
            return at_hand.popleft()
        if not self._anywhere:
            return None
        task = self._anywhere.popleft()
        if task.of_a_file:
            self._owner[task.subject] = worker
        return task

    def _sort_ready(self) -> None:
        for task in self._workflow.take_ready():
            owner = self._owner.get(task.subject) if task.of_a_file else None
            (self._anywhere if owner is None else self._at_hand[owner]).append(task)
