"""What stands around the body of each telemetry event; see docs/wire.md."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from .topics import decode_id, encode_id

__all__ = ["Run", "timestamp"]


class Run(NamedTuple):
    """A run of a workflow: where its events go, and what their envelope says of it."""

    org_id: str
    project_id: str
    run_id: str

    @classmethod
    def of_topic(cls, topic: str) -> Run | None:
        """The run whose events go to ``topic``; None for a topic of another form."""
        match topic.split("/"):
            case ["cascade", "telemetry", org, project, run, "events"]:
                return cls(decode_id(org), decode_id(project), decode_id(run))
        return None

    @property
    def topic(self) -> str:
        return f"cascade/telemetry/{'/'.join(map(encode_id, self))}/events"

    def event(self, body: Mapping[str, Any], *, source: str, epoch: str, seq: int) -> dict[str, Any]:
        """A whole event, stamped now."""
        return {
            "v": "1.0",
            "ts": timestamp(),
            "run_id": self.run_id,
            "org_id": self.org_id,
            "project_id": self.project_id,
            "source": source,
            "epoch": epoch,
            "seq": seq,
            "body": body,
        }


def timestamp(seconds: float | None = None) -> str:
    """A Unix time, by default now, as RFC 3339 in UTC with microseconds."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="microseconds")
