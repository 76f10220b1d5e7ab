"""Events of runs that were lost while the queue was full, or refused by the broker, until observers can be told."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from .lane import Message

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
    """Times of the monotonic clock, when the first and the last one were published."""

    since: float
    until: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)


class Losses:
    """Not locked: the outbox's lock covers it."""

    def __init__(self) -> None:
        self._losses: dict[bytes, _Loss] = {}

    def count(self, message: Message, reason: str) -> None:
        """Its events are lost; only those to topics of the telemetry form are counted."""
        topic = message.event_topic
        loss = self._losses.get(topic)
        if loss is None:
            if len(self._losses) >= _TOPICS or not _TELEMETRY.fullmatch(topic):
                return
            loss = self._losses[topic] = _Loss(since=message.born)
        loss.reasons[reason] += message.events
        loss.until = message.newest

    def take(self) -> list[Gap]:
        """All that has not been told yet."""
        losses, self._losses = self._losses, {}
        epoch = time.time() - time.monotonic()
        return [
            Gap(topic.decode(), dict(loss.reasons), epoch + loss.since, epoch + loss.until)
            for topic, loss in losses.items()
        ]
