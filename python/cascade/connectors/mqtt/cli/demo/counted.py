"""A publisher that knows what its calls took, and what became of them."""

from __future__ import annotations

import time
from array import array
from typing import Any

from cascade.connectors.mqtt import TelemetryPublisher

__all__ = ["CountedPublisher"]


class CountedPublisher(TelemetryPublisher):
    """Counts and times each publish, whoever asks for it: the gate tells of the tasks, the worker of itself."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.published = 0
        self.refused = 0
        self.calls_ns = array("q")

    def publish(self, event: Any) -> bool:
        start = time.perf_counter_ns()
        queued = super().publish(event)
        self.calls_ns.append(time.perf_counter_ns() - start)
        if queued:
            self.published += 1
        else:
            self.refused += 1
        return queued
