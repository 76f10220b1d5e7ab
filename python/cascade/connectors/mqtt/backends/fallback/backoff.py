"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random

__all__ = ["Backoff"]

_STABLE_S = 10.0
_KICKS = 3
_KICKED_FLOOR_S = 30.0


class Backoff:
    """Full jitter (uniform up to a doubling bound), reset by a stable connection.

    Three connections in a row that ended within 10 s of their CONNACK raise the floor to 30 s: two
    clients with one identifier would throw each other out for ever.

    Args:
        min_delay_s: bound of the first delay, in seconds; no delay is under half of it.
        max_delay_s: bound of all delays, in seconds.
    """

    def __init__(self, min_delay_s: float, max_delay_s: float) -> None:
        self._min, self._max = min_delay_s, max_delay_s
        self._attempts = 0
        self._short = 0

    def next(self) -> float:
        """Seconds to wait after a failed attempt, or an ended connection."""
        # 2.0 ** 1024 overflows; long before, the bound is reached.
        bound = min(self._max, self._min * 2.0 ** min(self._attempts, 64))
        self._attempts += 1
        delay = max(self._min / 2, random.uniform(0, bound))
        return max(delay, min(_KICKED_FLOOR_S, self._max)) if self._short >= _KICKS else delay

    def ended(self, lasted_s: float) -> bool:
        """A connection ended so long after CONNACK; True: this is the one that raised the floor."""
        if lasted_s >= _STABLE_S:
            self._attempts = self._short = 0
            return False
        self._short += 1
        return self._short == _KICKS
