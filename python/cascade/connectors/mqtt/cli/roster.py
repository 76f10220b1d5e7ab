"""What the workers of a fleet say of themselves, put together by worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..constraints import GlobalConstraint
from ..topics import decode_id

__all__ = ["Roster", "Worker"]


@dataclass
class Worker:
    """One worker, as far as it has been heard; times are Unix seconds."""

    source_id: str
    presence: str | None = None
    """``"online"``, ``"offline"`` (its will was published), or None: it has not said."""
    since: float | None = None
    """When it started, where its presence says so."""
    last_event: Mapping[str, Any] | None = None
    last_event_at: float | None = None
    events: int = 0
    lost_since_start: Mapping[str, int] | None = None
    """By reason, as its last heartbeat counts them."""
    lost_lately: Counter[str] = field(default_factory=Counter)
    """By reason, as its gap events count them."""
    applied: Sequence[Mapping[str, Any]] | None = None
    """The constraints that it says it obeys; None where it has not said."""
    applied_at: float | None = None

    def obeys(self, now: float) -> Sequence[Mapping[str, Any]] | None:
        """Without what has ended since: a worker does not report that."""
        if self.applied is None:
            return None
        ends = ((one, _number(one.get("expires_at"))) for one in self.applied)
        return [one for one, end in ends if end is None or end > now]

    @property
    def lost(self) -> Mapping[str, int] | None:
        """Events that never left it; None where it has said nothing of that."""
        return self.lost_since_start if self.lost_since_start is not None else self.lost_lately or None

    @property
    def last_sign(self) -> float | None:
        """When it was there for sure."""
        return max((at for at in (self.since, self.applied_at, self.last_event_at) if at is not None), default=None)


class Roster:
    """Takes what is published on ``cascade/status``, ``applied``, ``stats`` and telemetry topics, as callbacks do."""

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}

    def note_status(self, topic: str, payload: Any) -> None:
        """A birth, a will, or the empty payload of a goodbye (docs/wire.md, "Presence")."""
        source_id = decode_id(topic.rpartition("/")[2])
        worker = self._worker(source_id)
        match payload:
            case {"status": "online" | "offline" as presence}:
                worker.presence, worker.since = presence, _number(payload.get("since"))
            case _:
                worker.presence = worker.since = None
                self._forget_unless_heard(worker)

    def note_applied(self, topic: str, payload: Any) -> None:
        """Which constraints a worker obeys (docs/wire.md, "Applied constraints")."""
        worker = self._worker(decode_id(topic.rpartition("/")[2]))
        match payload:
            case {"constraints": list(applied)}:
                worker.applied = [one for one in applied if isinstance(one, Mapping)]
                worker.applied_at = _unix(payload.get("ts"))
            case _:
                worker.applied = worker.applied_at = None
                self._forget_unless_heard(worker)

    def obeying(self, constraint: GlobalConstraint) -> list[str]:
        """Who says that it obeys this constraint, and no other of the same scope and type."""
        wanted = _key(constraint.payload())
        return sorted(name for name, worker in self.workers.items() if wanted in map(_key, worker.applied or ()))

    def note_heartbeat(self, topic: str, payload: Any) -> None:
        """What a worker counts of itself (docs/wire.md, "Heartbeat")."""
        match payload:
            case {"source": str(source_id), "stats": {"dropped": dict(dropped), "rejected": dict(rejected)}}:
                self._worker(source_id).lost_since_start = _counts(dropped) + _counts(rejected)

    def note_event(self, topic: str, payload: Any) -> None:
        """An event of a run (docs/wire.md, "Event")."""
        match payload:
            case {"source": str(source_id), "body": dict(body)}:
                worker = self._worker(source_id)
                worker.events += 1
                worker.last_event, worker.last_event_at = body, _unix(payload.get("ts"))
                if body.get("type") == "GapEvent" and isinstance(body.get("lost"), dict):
                    worker.lost_lately += _counts(body["lost"])

    def _worker(self, source_id: str) -> Worker:
        return self.workers.setdefault(source_id, Worker(source_id))

    def _forget_unless_heard(self, worker: Worker) -> None:
        if worker.last_sign is None and worker.presence is None:
            del self.workers[worker.source_id]


def _key(constraint: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells one constraint from the next; old controllers give it no revision."""
    return tuple(constraint.get(name) for name in ("scope", "type", "id", "revision"))


def _counts(reasons: Mapping[str, Any]) -> Counter[str]:
    """Counts by reason; what is no count is none."""
    return Counter({reason: count for reason, count in reasons.items() if type(count) is int and count > 0})


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _unix(timestamp: Any) -> float | None:
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except (TypeError, ValueError):
        return None
