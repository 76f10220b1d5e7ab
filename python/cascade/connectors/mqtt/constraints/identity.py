"""Which project and source the tasks of this process belong to, where they do not say so themselves."""

from __future__ import annotations

import os

from ..presence import source_id
from .scopes import Subject

__all__ = ["Identity"]


class Identity:
    """Looked up once: the name of a process costs more than all the rest of a check. A fork is another process.

    Args:
        project_id: ``CASCADE_PROJECT_ID`` or ``"default"`` where it is None.
        source_id: ``CASCADE_SOURCE_ID`` or node and process id where it is None.
    """

    def __init__(self, project_id: str | None, source_id: str | None) -> None:
        self._given = project_id, source_id
        self._found: Subject | None = None
        self._forks = 0

    def look_again(self) -> None:
        """The environment may have changed."""
        self._found = None

    def subject(self) -> Subject:
        """Project and source, without a task."""
        if self._found is None or self._forks != _forks:
            project_id, source = self._given
            project_id = project_id or os.environ.get("CASCADE_PROJECT_ID") or "default"
            self._found, self._forks = Subject("", project_id, source_id(source)), _forks
        return self._found


_forks = 0


def _after_fork_in_child() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
