"""Wire batching: many events of one topic in one message, on ``<topic>/@batch``; see docs/wire.md."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["MAX_EVENTS", "SUFFIX", "BatchOptions", "Compression", "batch_filter"]

SUFFIX = "/@batch"
"""What the topic of a batch has behind the topic of its events."""

MAX_EVENTS = 65_535
"""No batch has more, whatever its size: who takes it apart calls back for each."""

Compression = Literal["zstd"]

_RANGES = {
    "max_events": (1, MAX_EVENTS),
    "max_bytes": (2, 16 * 1024 * 1024),
    "linger": (0, 60),
}


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """When a batch is closed, and whether it is compressed; the option ``batch`` of ``MqttConnector``.

    Args:
        max_events: most events of a batch, 1 to 65,535.
        max_bytes: most bytes of its JSON array before compression, 2 to 16,777,216. A larger event has one of its own.
        linger: longest wait for more events, in seconds, 0 to 60.
        compression: ``"zstd"`` (RFC 8878), or None.

    Raises:
        TypeError, ValueError: a value of the wrong type or out of range; the message names it ``batch.max_events``.
    """

    max_events: int = 256
    max_bytes: int = 64 * 1024
    linger: float = 0.005
    compression: Compression | None = None

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            name, value = f"batch.{option.name}", getattr(self, option.name)
            if option.name in _RANGES:
                kinds = (int, float) if option.name == "linger" else (int,)
                if not isinstance(value, kinds) or isinstance(value, bool):
                    raise TypeError(f"{name} must be {option.type}, not {type(value).__name__}")
                low, high = _RANGES[option.name]
                if not low <= value <= high:
                    raise ValueError(f"{name} must be from {low} to {high}, not {value!r}")
            elif value is not None and value not in get_args(Compression):
                raise ValueError(f"{name} must be 'zstd' or None, not {value!r}")


def batch_filter(topic_filter: str) -> str | None:
    """The filter of the batches of what ``topic_filter`` matches; None where that one has them already."""
    if topic_filter.endswith(("#", SUFFIX)):
        return None
    return topic_filter + SUFFIX
