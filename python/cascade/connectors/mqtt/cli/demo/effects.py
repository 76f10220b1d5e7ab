"""What constraints do to a run, as its events show it: how many tasks at a time, how often one starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

__all__ = ["Ask", "Effect", "Effects", "Phase"]


class Ask(NamedTuple):
    """What the workers are asked for: ``pause``, ``concurrency``, ``rate_limit``, or after ``resume`` nothing."""

    type: str
    limit: int = 0
    """Tasks at a time, or starts a second, in each process."""

    @property
    def words(self) -> str:
        match self.type:
            case "pause":
                return "paused"
            case "concurrency":
                return f"{self.limit} at a time"
            case "rate_limit":
                return f"{self.limit} starts/s"
        return "resumed"


class Phase(NamedTuple):
    """A stretch of the run between two Unix times: all workers obeyed from ``since`` on."""

    ask: Ask
    since: float
    until: float

    @property
    def seconds(self) -> float:
        return self.until - self.since


class Effect(NamedTuple):
    """What was seen in a phase."""

    phase: Phase
    starts: int
    concurrency_max: int
    """Tasks at a time in the process that had the most, counted at each start."""
    starts_max: int
    """Starts in the process that had the most."""

    @property
    def starts_per_s_max(self) -> float:
        """Starts a second in the process that had the most."""
        return self.starts_max / self.phase.seconds if self.phase.seconds > 0 else 0.0

    @property
    def holds(self) -> bool:
        """Whether what was asked for is what was seen; of a rate, one token may have been there before."""
        match self.phase.ask:
            case Ask("pause"):
                return self.starts == 0
            case Ask("concurrency", limit):
                return self.concurrency_max <= limit
            case Ask("rate_limit", limit):
                return self.starts_max <= 1 + limit * self.phase.seconds
        return True

    def figures(self) -> dict[str, Any]:
        """What ``--json`` prints of it."""
        return {
            "asked": self.phase.ask.type,
            "limit": self.phase.ask.limit or None,
            "seconds": round(self.phase.seconds, 3),
            "starts": self.starts,
            "concurrency_max": self.concurrency_max,
            "starts_per_s_max": round(self.starts_per_s_max, 1),
        }


class _Start(NamedTuple):
    at: float
    source: str
    running: int


class Effects:
    """Notes the starts and ends of tasks, process by process."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._starts: list[_Start] = []

    def note(self, event: Mapping[str, Any]) -> None:
        """Enter one event; those of one process come in their order."""
        source, state = event["source"], event["body"].get("state")
        if state == "RUNNING":
            self._running[source] += 1
            at = datetime.fromisoformat(event["ts"]).timestamp()
            self._starts.append(_Start(at, source, self._running[source]))
        elif state in ("COMPLETED", "FAILED"):
            self._running[source] -= 1

    def of(self, phases: Iterable[Phase]) -> list[Effect]:
        """What was seen in each of these."""
        return [self._of(phase) for phase in phases]

    def _of(self, phase: Phase) -> Effect:
        starts = [start for start in self._starts if phase.since <= start.at <= phase.until]
        return Effect(
            phase,
            len(starts),
            max((start.running for start in starts), default=0),
            max(Counter(start.source for start in starts).values(), default=0),
        )
