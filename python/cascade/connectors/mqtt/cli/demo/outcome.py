"""What a run of the demo came to."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .effects import Effect
from .messages import Farewell, Identity, Tally
from .steps import LibraryReport

__all__ = ["Outcome", "Progress"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the run is; ``missing`` events are on their way, or lost."""

    phase: str
    tasks: int
    tasks_ended: int
    tasks_failed: int
    published: int
    received: int
    missing: int
    asked: str
    """What is asked of the workers, in words."""
    control_latency_ms: float | None
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The account of a whole run."""

    backend: str
    tasks: int
    failed: Mapping[str, str]
    """Error by task."""
    farewells: Sequence[Farewell]
    tally: Tally
    effects: Sequence[Effect]
    """What was seen of each thing that was asked for, in the order of time."""
    control_latencies_ms: Sequence[float]
    """From the publish of an order to each worker's having it in force."""
    duration_s: float
    library: LibraryReport

    @property
    def published(self) -> int:
        """Events that the workers' publish calls queued."""
        return sum(farewell.published for farewell in self.farewells)

    @property
    def refused(self) -> int:
        """Events that the workers' publish calls did not queue."""
        return sum(farewell.refused for farewell in self.farewells)

    @property
    def lost(self) -> Mapping[Identity, list[int]]:
        """The seq numbers that did not arrive, by who published them."""
        return self.tally.lost

    @property
    def paused_s(self) -> float:
        """How long all workers were paused."""
        return sum(effect.phase.seconds for effect in self.effects if effect.phase.ask.type == "pause")

    def figures(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        calls_ns = array("q")
        for farewell in self.farewells:
            calls_ns.extend(farewell.calls_ns)
        return {
            "backend": self.backend,
            "tasks": self.tasks,
            "failed_tasks": len(self.failed),
            "events_published": self.published,
            "events_received": self.tally.received,
            "events_lost": sum(len(missing) for missing in self.lost.values()),
            "duplicates": self.tally.duplicates,
            "publish_call_us_p50": round(_quantile(calls_ns, 0.50) / 1000, 2),
            "publish_call_us_p99": round(_quantile(calls_ns, 0.99) / 1000, 2),
            "control_latency_ms_p50": round(statistics.median(self.control_latencies_ms), 2),
            "paused_s": round(self.paused_s, 3),
            "duration_s": round(self.duration_s, 2),
            "steering": [effect.figures() for effect in self.effects],
        }

    def closing_line(self) -> str:
        """The same in one line for a reader."""
        of = self.figures()
        return (
            f"{of['backend']}: {of['tasks']:,} tasks, {of['failed_tasks']} failed; "
            f"{of['events_published']:,} events published, {of['events_received']:,} received, "
            f"{of['events_lost']:,} lost, {of['duplicates']:,} twice; "
            f"a publish call {of['publish_call_us_p50']} µs (p99 {of['publish_call_us_p99']}); "
            f"a control message {of['control_latency_ms_p50']} ms; "
            f"paused {of['paused_s']:.2f} s; {of['duration_s']:.1f} s in all"
        )


def _quantile(values: Sequence[int], share: float) -> int:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
