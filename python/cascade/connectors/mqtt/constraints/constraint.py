"""What an outside system asks of running workflows, as it stands in a message."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ..errors import ConstraintError

__all__ = ["GlobalConstraint", "expiry", "finite", "params_of"]

_FIELDS = ("id", "scope", "type", "params", "expires_at")


@dataclass(frozen=True)
class GlobalConstraint:
    """One constraint: the last of the same ``(scope, type)`` is the one in force; ``id`` only names it.

    Args:
        id: names it in logs and lists.
        scope: ``global``, ``project:<id>``, ``task:<pattern>``, ``source:<pattern>`` or ``run:<id>``.
        type: ``pause``, ``concurrency``, ``rate_limit``, ``capacity``, or what a handler was registered for.
        params: ``{}``, ``{"limit": 4}``, ``{"rate": "10/m", "capacity": 2}``, ``{"gpu": 2}``, by type.
        expires_at: Unix time in seconds from which it is out of force; None for never.
        extra: fields of the message that are not known here; they are kept.
    """

    id: str
    scope: str
    type: str
    params: Mapping[str, Any] = field(default_factory=dict)
    expires_at: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, payload: Any) -> GlobalConstraint:
        """The constraint in a decoded message; ``params`` are the business of the type's handler.

        Raises:
            ConstraintError: what is missing or of another type; ``field`` names it.
        """
        if not isinstance(payload, Mapping):
            raise ConstraintError(f"a constraint must be a JSON object, not {type(payload).__name__}")
        return cls(
            id=_text(payload, "id"),
            scope=_text(payload, "scope"),
            type=_text(payload, "type"),
            params=dict(params_of(payload.get("params"))),
            expires_at=expiry(payload.get("expires_at")),
            extra={name: value for name, value in payload.items() if name not in _FIELDS},
        )

    def payload(self) -> dict[str, Any]:
        """The message, unknown fields included."""
        known = {name: getattr(self, name) for name in _FIELDS}
        return {**known, "params": dict(self.params), **self.extra}


def params_of(value: Any) -> Mapping[str, Any]:
    """``params`` as they were given, checked; None is the same as ``{}``.

    Raises:
        ConstraintError: they are no object.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConstraintError(f"params must be an object, not {type(value).__name__}", field="params")
    return value


def expiry(value: Any) -> float | None:
    """``expires_at`` as it was given, checked: Unix seconds, or None.

    Raises:
        ConstraintError: it is no number.
    """
    if value is None:
        return None
    if not finite(value):
        raise ConstraintError(f"expires_at must be Unix seconds or null, not {value!r}", field="expires_at")
    return float(value)


def finite(value: Any) -> TypeGuard[int | float]:
    """Whether it is a number that can be reckoned with: no bool, NaN or infinity, and none that no float holds."""
    if isinstance(value, bool) or not isinstance(value, (int, float, numbers.Real)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # JSON has whole numbers of any size
        return False


def _text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not value:
        what = "is missing" if value is None else f"must be a text that is not empty, not {value!r}"
        raise ConstraintError(f"{name} {what}", field=name)
    return value
