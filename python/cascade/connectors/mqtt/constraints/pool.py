"""How much there is of each resource, and how much of it is held. Nobody waits here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import ConstraintError
from .constraint import finite

__all__ = ["LIMITS", "Pool", "checked", "over"]

LIMITS = "constraint:"
"""What the names of resources begin with that constraints have made."""

# Amounts are floats: three times 0.1 is to fit into 0.3.
_ROUNDING = 1e-9


class Pool:
    """Totals and what is held. A resource without a total is unlimited, and what is held of it is counted too."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.bounds: dict[str, float] = {}
        self.held: dict[str, float] = {}

    def total(self, name: str) -> float:
        """How much there is, as the machine and a ``capacity`` constraint allow."""
        return min(self.totals.get(name, math.inf), self.bounds.get(name, math.inf))

    def lacks(self, needs: Mapping[str, float]) -> str | None:
        """The first resource of which less is free than is needed."""
        held = self.held
        return next((name for name in needs if over(held.get(name, 0.0) + needs[name], self.total(name))), None)

    def exceeds(self, needs: Mapping[str, float]) -> str | None:
        """The first resource of which more is needed than there is, whoever gives back."""
        return next((name for name in needs if over(needs[name], self.total(name))), None)

    def take(self, needs: Mapping[str, float]) -> None:
        """Hold this much more, whether or not it is free."""
        for name, need in needs.items():
            self.held[name] = self.held.get(name, 0.0) + need

    def give_back(self, amounts: Mapping[str, float]) -> None:
        """Hold this much less, and never less than nothing."""
        for name, amount in amounts.items():
            left = self.held.pop(name, 0.0) - amount
            if left > _ROUNDING * max(1.0, amount):
                self.held[name] = left


def over(amount: float, total: float) -> bool:
    """Whether the amount is more than the total, by more than rounding."""
    return amount > total + _ROUNDING * max(1.0, total)


def checked(requirements: Mapping[str, Any], whose: str = "a task") -> dict[str, float]:
    """Amounts to acquire, those of 0 left out.

    Raises:
        ConstraintError: one is no number from 0 up; ``field`` is its resource.
    """
    for name, amount in requirements.items():
        if not finite(amount) or amount < 0:
            raise ConstraintError(f"{whose} needs {name}={amount!r}: it must be a number from 0 up", field=name)
    return {name: amount for name, amount in requirements.items() if amount}
