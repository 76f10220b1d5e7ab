"""What the workers of a fleet say of themselves, put together by worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

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

    @property
    def lost(self) -> Mapping[str, int] | None:
        """Events that never left it; None where it has said nothing of that."""
        return self.lost_since_start if self.lost_since_start is not None else self.lost_lately or None


class Roster:
    """Takes the messages of ``cascade/status``, ``cascade/stats`` and telemetry topics; its methods are callbacks."""

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
                if not worker.events:
                    del self.workers[source_id]

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
