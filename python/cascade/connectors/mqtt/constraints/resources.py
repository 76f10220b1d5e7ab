"""The resources of a machine, and those that limits are made of: acquired all at once, or waited for."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping
from typing import Any

from ..errors import ConstraintError
from .constraint import finite
from .line import Line
from .pool import LIMITS, Pool, checked, over

__all__ = ["ResourceManager"]


class ResourceManager:
    """Hands out resources, first come, first served; to be used in one thread.

    Args:
        capacity: how much there is of each resource, like ``{"gpu": 2, "memory_gb": 16}``; what is not named is
            unlimited.
    """

    def __init__(self, capacity: Mapping[str, float] | None = None) -> None:
        self.pool = Pool()
        self.line = Line(self.pool)
        self.set_capacity(capacity or {})

    def set_capacity(self, capacity: Mapping[str, float]) -> None:
        """Replace what the machine has; limits that constraints have set stay, and so does what is held.

        Raises:
            ConstraintError: a capacity that is no number from 0 up.
        """
        made = {name: _total(name, amount) for name, amount in capacity.items()}
        limits = {name: total for name, total in self.pool.totals.items() if name.startswith(LIMITS)}
        self.pool.totals = {**made, **limits}
        self.line.look_soon()

    def update_resource(self, name: str, capacity: float) -> None:
        """Set how much there is of one resource; infinity makes it unlimited.

        Less than is held is allowed: nothing is taken away, and new requests wait.

        Raises:
            ConstraintError: a capacity that is no number from 0 up.
        """
        total = _total(name, capacity)
        if total == math.inf:
            self.pool.totals.pop(name, None)
        else:
            self.pool.totals[name] = total
        self.line.look_soon()

    def bound(self, name: str, amount: float) -> None:
        """Let no more than this be held of a resource, whatever the machine has; infinity lifts the bound."""
        if amount == math.inf:
            self.pool.bounds.pop(name, None)
        else:
            self.pool.bounds[name] = amount
        self.line.look_soon()

    def usage(self) -> dict[str, float]:
        """How much is held of each resource."""
        return dict(self.pool.held)

    def can_acquire(self, requirements: Mapping[str, Any]) -> bool:
        """Whether ``acquire`` would not have to wait now."""
        needs = checked(requirements)
        return self.pool.lacks(needs) is None and self.line.claimed.isdisjoint(needs)

    async def acquire(self, requirements: Mapping[str, Any]) -> None:
        """Take all of it at once, as soon as all of it is free; nothing is held while waiting.

        Raises:
            ConstraintError: a ValueError; more than the machine has, or an amount that is no number from 0 up.
        """
        request = _Plain(checked(requirements), self.pool)
        self.refuse_impossible(request.needs())
        place = self.line.ticket()
        granted = self.line.join(request, place)
        try:
            await granted
        except BaseException:
            if granted.done() and not granted.cancelled():
                self.give_back(request.needs())
            else:
                self.line.leave(request, place)
            raise

    async def release(self, requirements: Mapping[str, Any]) -> None:
        """Give back what was acquired."""
        self.give_back(checked(requirements))

    def give_back(self, amounts: Mapping[str, float]) -> None:
        """The same without a coroutine."""
        self.pool.give_back(amounts)
        self.line.look_soon()

    def refuse_impossible(self, needs: Mapping[str, float]) -> None:
        """See that the machine has as much; a limit that a constraint has set is waited for instead.

        Raises:
            ConstraintError: it has less.
        """
        for name, need in needs.items():
            total = self.pool.totals.get(name, math.inf)
            if over(need, total) and not name.startswith(LIMITS):
                raise ConstraintError(
                    f"the requirement {name}={need:g} exceeds total system capacity ({total:g})", field=name
                )


class _Plain:
    """A request that nothing but free resources is needed for."""

    def __init__(self, needs: dict[str, float], pool: Pool) -> None:
        self.alike: Hashable = frozenset(needs.items())
        self._needs = needs
        self._pool = pool

    def needs(self) -> Mapping[str, float]:
        return self._needs

    def kept(self) -> Mapping[str, float]:
        return {}

    def tokens(self) -> Collection[str]:
        return ()

    def permitted(self) -> bool:
        return True

    def granted(self, needs: Mapping[str, float]) -> bool:
        self._pool.take(needs)
        return True


def _total(name: str, amount: Any) -> float:
    if not (finite(amount) or amount == math.inf) or amount < 0:
        raise ConstraintError(f"the capacity of {name} must be a number from 0 up, not {amount!r}", field=name)
    return float(amount)
