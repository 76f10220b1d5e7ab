"""Rates as they are written, and the bucket of tokens that keeps one."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import ConstraintError
from .constraint import finite, params_of

__all__ = ["Bucket", "Rate"]

_UNITS = {
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("m", "min", "minute"), 60.0),
    **dict.fromkeys(("h", "hr", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86_400.0),
}
# Times are floats: what is due may look as if it were due a moment later. The debt is kept, so it never adds up.
_SLACK_S = 1e-6


class Rate(NamedTuple):
    """So many starts a second, and at most so many at once."""

    per_s: float
    capacity: float

    @classmethod
    def read(cls, constraint: Any) -> Rate:
        """The rate that a constraint sets: its params are ``{"rate": "10/m" | "5/s" | number, "capacity": n}``.

        A number is a rate a second. Without a capacity it is one second's worth, and at least 1.

        Raises:
            ConstraintError: it cannot be read, or the capacity would never let a task start.
        """
        params = params_of(constraint.params)
        per_s = _per_second(params.get("rate"))
        capacity = params.get("capacity")
        if capacity is None:
            return cls(per_s, max(1.0, per_s))
        if not finite(capacity) or capacity < 1:
            raise ConstraintError(f"capacity must be a number from 1 up, not {capacity!r}", field="params.capacity")
        return cls(per_s, float(capacity))


class Bucket:
    """Tokens that come at a rate up to a capacity; each start takes one."""

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._tokens = rate.capacity
        self._at = now

    def change(self, rate: Rate, now: float) -> None:
        """Another rate from now on. What was there stays, up to the new capacity: it is not filled again."""
        self._refill(now)
        self.rate = rate
        self._tokens = min(self._tokens, rate.capacity)

    def wait(self, now: float) -> float | None:
        """Seconds until there is a token, 0.0 where there is one; None where none ever comes."""
        if self.rate.per_s == 0:
            return None
        self._refill(now)
        missing = 1 - self._tokens
        slack = min(_SLACK_S * self.rate.per_s, 0.5)
        return 0.0 if missing <= slack else missing / self.rate.per_s

    def take(self) -> None:
        """One start; to be called where ``wait`` has just been 0.0."""
        self._tokens -= 1

    def give_back(self) -> None:
        """A start that was none."""
        self._tokens = min(self.rate.capacity, self._tokens + 1)

    def is_full(self, now: float) -> bool:
        """Whether forgetting this bucket would change nothing."""
        self._refill(now)
        return self._tokens >= self.rate.capacity

    def _refill(self, now: float) -> None:
        # A clock that was set back must not hold tokens back until it has caught up.
        passed = max(0.0, now - self._at)
        self._at = now
        self._tokens = min(self.rate.capacity, self._tokens + passed * self.rate.per_s)


def _per_second(rate: Any) -> float:
    count, unit = rate, "s"
    if isinstance(rate, str):
        text, slash, unit = rate.partition("/")
        try:
            count = float(text)
        except ValueError:
            count = None
        unit = unit.strip().lower() if slash else "s"
    if not finite(count) or count < 0 or unit not in _UNITS:
        what = "is missing" if rate is None else f'must be like "5/s", "10/m", "300/h" or a number, not {rate!r}'
        raise ConstraintError(f"rate {what}", field="params.rate")
    return float(count) / _UNITS[unit]
