"""What each type of constraint means; the manager asks one handler for each type."""

from __future__ import annotations

from typing import Any

from ..constraint import expiry
from ..rates import Rate
from .base import ConstraintHandler, Foreign
from .capacity import CapacityHandler, amounts
from .concurrency import ConcurrencyHandler, limit
from .pause import PauseHandler
from .rate_limit import RateLimitHandler

__all__ = [
    "CapacityHandler",
    "ConcurrencyHandler",
    "ConstraintHandler",
    "Foreign",
    "PauseHandler",
    "RateLimitHandler",
    "check_params",
]

_READERS = {"concurrency": limit, "rate_limit": Rate.read, "capacity": amounts}


def check_params(constraint: Any) -> None:
    """See that the built-in handlers could read this constraint; for those who publish it.

    Raises:
        ConstraintError: what is wrong with its params or its expiry; ``field`` names it.
    """
    expiry(constraint.expires_at)
    reader = _READERS.get(constraint.type)
    if reader is not None:
        reader(constraint)
