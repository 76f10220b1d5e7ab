"""What a handler is asked, and what stands in for a handler that was written for less."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..manager import ConstraintManager

__all__ = ["ConstraintHandler", "Foreign"]


class ConstraintHandler:
    """Gives a type of constraint its meaning. To be subclassed; or any object with the first five methods serves.

    Tasks and constraints are known by their attributes alone, whatever their class. A handler is asked only about
    tasks within the constraint's scope.
    """

    asks_twice = True
    """Whether ``check_permission`` spends nothing, so that it may be asked without a start that follows."""
    spends = False
    """Whether a start takes something that comes back with time alone."""

    def handles_type(self) -> str:
        """The type of constraint."""
        raise NotImplementedError

    def on_constraint_add(self, constraint: Any, manager: ConstraintManager) -> None:
        """A constraint has come; raise ``ConstraintError`` to refuse it."""

    def on_constraint_remove(self, constraint: Any, manager: ConstraintManager) -> None:
        """A constraint has been lifted, or has expired."""

    def check_permission(self, task: Any, constraint: Any, manager: ConstraintManager) -> bool:
        """Whether the task may start now, for this constraint's sake."""
        return True

    def append_requirements(
        self, task: Any, constraint: Any, requirements: dict[str, Any], manager: ConstraintManager
    ) -> None:
        """Add what the task has to acquire because of this constraint."""

    def on_constraint_replace(self, old: Any, new: Any, manager: ConstraintManager) -> None:
        """Another constraint of the same scope and type has come; where it is refused the old one stays."""
        self.on_constraint_add(new, manager)

    def on_permitted(self, task: Any, constraint: Any, manager: ConstraintManager) -> Callable[[], object] | None:
        """Every handler has permitted the task: what a start costs is spent here.

        Returns:
            what undoes it, for a task that does not start after all.
        """
        return None


class Foreign(ConstraintHandler):
    """A handler that only has the five methods; it may spend in ``check_permission``, so it is asked last."""

    asks_twice = False

    def __init__(self, handler: Any) -> None:
        self.handles_type = handler.handles_type  # type: ignore[method-assign]
        self.on_constraint_add = handler.on_constraint_add  # type: ignore[method-assign]
        self.on_constraint_remove = handler.on_constraint_remove  # type: ignore[method-assign]
        self.check_permission = handler.check_permission  # type: ignore[method-assign]
        self.append_requirements = handler.append_requirements  # type: ignore[method-assign]

    def on_constraint_replace(self, old: Any, new: Any, manager: ConstraintManager) -> None:
        """It is told of both; of the old one again where it refuses the new one."""
        if old.id != new.id:
            self.on_constraint_remove(old, manager)
        try:
            self.on_constraint_add(new, manager)
        except Exception:
            self.on_constraint_add(old, manager)
            raise
