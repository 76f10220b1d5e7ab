"""``pause``: nothing within the scope starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import ConstraintHandler

if TYPE_CHECKING:
    from ..manager import ConstraintManager

__all__ = ["PauseHandler"]


class PauseHandler(ConstraintHandler):
    """Denies; what runs goes on."""

    def handles_type(self) -> str:
        return "pause"

    def check_permission(self, task: Any, constraint: Any, manager: ConstraintManager) -> bool:
        return False
