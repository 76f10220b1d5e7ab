"""``concurrency``: so many tasks of the scope at once. Each needs one unit of a resource made for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...errors import ConstraintError
from ..constraint import finite, params_of
from .base import ConstraintHandler

if TYPE_CHECKING:
    from ..manager import ConstraintManager

__all__ = ["ConcurrencyHandler", "limit"]


class ConcurrencyHandler(ConstraintHandler):
    """A limit below what runs is allowed: new starts wait. A limit of 0 pauses."""

    def handles_type(self) -> str:
        return "concurrency"

    def on_constraint_add(self, constraint: Any, manager: ConstraintManager) -> None:
        manager.resource_manager.update_resource(_resource(constraint), limit(constraint))

    def on_constraint_remove(self, constraint: Any, manager: ConstraintManager) -> None:
        manager.resource_manager.update_resource(_resource(constraint), math.inf)

    def check_permission(self, task: Any, constraint: Any, manager: ConstraintManager) -> bool:
        return limit(constraint) > 0

    def append_requirements(
        self, task: Any, constraint: Any, requirements: dict[str, Any], manager: ConstraintManager
    ) -> None:
        requirements[_resource(constraint)] = 1


def limit(constraint: Any) -> int:
    """The limit that a constraint sets: its params are ``{"limit": n}``.

    Raises:
        ConstraintError: it is no whole number from 0 up.
    """
    value = params_of(constraint.params).get("limit")
    if not finite(value) or value < 0 or value != int(value):
        what = "is missing" if value is None else f"must be a whole number from 0 up, not {value!r}"
        raise ConstraintError(f"limit {what}", field="params.limit")
    return int(value)


def _resource(constraint: Any) -> str:
    return f"constraint:concurrency:{constraint.scope}"
