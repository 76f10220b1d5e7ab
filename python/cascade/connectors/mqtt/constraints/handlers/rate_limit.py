"""``rate_limit``: so many starts of the scope in a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..rates import Bucket, Rate
from ..scopes import is_map
from .base import ConstraintHandler

if TYPE_CHECKING:
    from ..manager import ConstraintManager

__all__ = ["RateLimitHandler"]


class RateLimitHandler(ConstraintHandler):
    """A bucket of tokens for each scope; a start takes one, and a rate of 0 pauses.

    A limit that is lifted and comes again finds its bucket as it would be by then, not full.
    """

    spends = True

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}
        self._lifted: set[str] = set()

    def handles_type(self) -> str:
        return "rate_limit"

    def on_constraint_add(self, constraint: Any, manager: ConstraintManager) -> None:
        rate, now = Rate.read(constraint), manager.now()
        self._lifted.discard(constraint.scope)
        bucket = self._buckets.get(constraint.scope)
        if bucket is None:
            self._buckets[constraint.scope] = Bucket(rate, now)
        else:
            bucket.change(rate, now)

    def on_constraint_remove(self, constraint: Any, manager: ConstraintManager) -> None:
        self._lifted.add(constraint.scope)
        now = manager.now()
        for scope in [scope for scope in self._lifted if self._buckets[scope].is_full(now)]:
            self._lifted.remove(scope)
            del self._buckets[scope]

    def check_permission(self, task: Any, constraint: Any, manager: ConstraintManager) -> bool:
        if is_map(task):
            return True
        wait = self._buckets[constraint.scope].wait(manager.now())
        if wait:
            manager.request_wakeup(wait)
        return wait == 0

    def on_permitted(self, task: Any, constraint: Any, manager: ConstraintManager) -> Callable[[], object] | None:
        if is_map(task):
            return None
        bucket = self._buckets[constraint.scope]
        bucket.take()
        return bucket.give_back
