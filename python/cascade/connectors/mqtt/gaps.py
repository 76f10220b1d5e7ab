"""What observers are told of events that were lost before they could be sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .envelope import Run, timestamp
from .incarnation import Incarnation
from .telemetry import GapEvent

__all__ = ["gap_message"]


def gap_message(
    incarnation: Incarnation, topic: str, lost: Mapping[str, int], since: float, until: float
) -> dict[str, Any] | None:
    """A ``GapEvent`` in its envelope; None where the topic is not a run's. Times are Unix seconds."""
    run = Run.of_topic(topic)
    if run is None:
        return None
    gap = GapEvent(lost, timestamp(since), timestamp(until))
    seq = incarnation.next_in_run(run.run_id)
    body = {"type": "GapEvent", **vars(gap)}
    return run.event(body, source=incarnation.source, epoch=incarnation.epoch, seq=seq)
