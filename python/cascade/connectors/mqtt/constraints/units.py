"""A unit of a limit, which a task lends to the tasks that it starts and waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from .pool import Pool

__all__ = ["Unit", "UnitUser", "around", "lendable"]


class UnitUser(Protocol):
    """A task that has units, and may be within another one that has some to lend."""

    pool: Pool
    held: dict[str, float]
    units: dict[str, Unit]
    within: Counter[str]
    """How many of the tasks within it have a unit, by the unit's name."""

    @property
    def parent(self) -> UnitUser | None:
        """The task around it."""


class Unit:
    """Taken from a pool for one task, and used by the last of those whom it was lent to, each within the one before.

    A task that maps over items would otherwise wait for ever on a limit of 1: for the unit that it holds itself.
    """

    def __init__(self, name: str, amount: float, user: UnitUser) -> None:
        self.amount = amount
        self._name = name
        self._pool = user.pool
        self._users: list[UnitUser] = []
        self._pool.take({name: amount})
        self.use(user)

    def use(self, user: UnitUser) -> None:
        """From now on it is this one's turn."""
        self._users.append(user)
        user.units[self._name] = self
        for outer in around(user):
            outer.within[self._name] += 1

    def is_used_by(self, user: UnitUser) -> bool:
        """Whether it is this one's turn."""
        return self._users[-1] is user

    def leave(self, user: UnitUser) -> None:
        """This one needs it no more; after the last one it goes back to the pool."""
        self._users.remove(user)
        del user.units[self._name]
        for outer in around(user):
            outer.within[self._name] -= 1
        if not self._users:
            self._pool.give_back({self._name: self.amount})


def lendable(user: UnitUser, name: str) -> Unit | None:
    """The unit that the innermost task around this one has and does not use.

    Where a limit has come, or was lowered, below what runs, it is lent only if nothing within its owner runs: no more
    start than have to for the owner to end.
    """
    for outer in around(user):
        unit = outer.units.get(name)
        if unit is not None and unit.is_used_by(outer):
            is_exceeded = user.pool.lacks({name: 0}) is not None
            return None if is_exceeded and outer.within[name] else unit
    return None


def around(user: UnitUser) -> Iterator[UnitUser]:
    """The tasks around this one that take from the same pool, the innermost first."""
    outer = user.parent
    while outer is not None:
        if outer.pool is user.pool:
            yield outer
        outer = outer.parent
