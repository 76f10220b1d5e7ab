"""Events of runs that were lost while the queue was full, or refused by the broker, until observers can be told."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Gap", "Losses"]

_TELEMETRY = re.compile(rb"cascade/telemetry/[^/]+/[^/]+/[^/]+/events")
_TOPICS = 1_000
"""Topics that are counted at once: those of one program's runs are few, and memory stays bounded."""


class Gap(NamedTuple):
    """What was lost of one topic; Unix times in seconds."""

    topic: str
    lost: dict[str, int]
    since: float
    until: float


@dataclass
class _Loss:
    since: float
    until: float
    reasons: Counter[str] = field(default_factory=Counter)


class Losses:
    """Not locked: the outbox's lock covers it.

    Args:
        clock: returns Unix time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._losses: dict[bytes, _Loss] = {}

    def count(self, topic: bytes, reason: str) -> None:
        """An event of this topic is lost; only topics of the telemetry form are counted."""
        loss = self._losses.get(topic)
        if loss is None:
            if len(self._losses) >= _TOPICS or not _TELEMETRY.fullmatch(topic):
                return
            loss = self._losses[topic] = _Loss(since=self._clock(), until=0.0)
        loss.reasons[reason] += 1
        loss.until = self._clock()

    def take(self) -> list[Gap]:
        """All that has not been told yet."""
        losses, self._losses = self._losses, {}
        return [Gap(topic.decode(), dict(loss.reasons), loss.since, loss.until) for topic, loss in losses.items()]
