"""What the benchmarks of one run have found: rows of figures, to be looked up and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

__all__ = ["GROUPS", "OURS", "RATE", "REPORT", "Report", "Row", "native_is"]

GROUPS = {
    "encode": "a dict to JSON bytes, no socket",
    "publish_nowait": "calls from a plain loop until all have arrived; `x dumps`: the call beside `orjson.dumps`",
    "await_publish": "the same through `await connector.publish(…)`",
    "qos1_acked": "QoS 1, until each is acknowledged and has arrived",
    "qos2_completed": "QoS 2, until each is completed (PUBCOMP) and has arrived once",
    "receive_qos0": "from the socket to a decoded dict in a callback",
    "receive_qos1": "the same, each message acknowledged",
    "round_trip": "`publish` to the same program's callback through a broker, one event at a time",
    "control_latency": "from a far end's write to the callback",
    "loop_lag": "how late a 1 ms ticker is while a coroutine on its loop publishes; CPU of the whole process",
    "outage": "each call while the far end stands still (SIGSTOP), twice what the queue's 64 MiB hold",
    "many": "idle connectors in a fresh process; connectors and threads that publish together",
    "batch": "through one stock mosquitto, dict to another process's asynchronous callback; bytes on the wire",
    "constraints": "asking whether a task may start, by how many constraints are in force",
    "import": "a fresh interpreter that has imported asyncio",
}
"""What each group measures, in the order of the report."""
RATE = "events/s"
OURS = ("native", "python")
REPORT = pytest.StashKey["Report"]()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured way."""

    group: str
    client: str
    """``native``, ``python``, or a peer and its JSON, as in ``gmqtt + json``."""
    case: str = ""
    """What sets it apart from the client's other rows in the group."""
    figures: Mapping[str, float]
    """By heading, which names the unit; the first is the one that rows are compared by."""
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.client}, {self.case}" if self.case else self.client

    @property
    def first(self) -> tuple[str, float]:
        return next(iter(self.figures.items()))


@dataclass
class Report:
    """The rows of a run, in the order in which they were measured."""

    rows: list[Row] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """What was not measured, and why: one visible line each."""

    @property
    def groups(self) -> list[str]:
        return [group for group in GROUPS if self.of(group)]

    def of(self, group: str) -> list[Row]:
        return [row for row in self.rows if row.group == group]

    def find(self, group: str, client: str, case: str = "") -> Row | None:
        return next((row for row in self.of(group) if (row.client, row.case) == (client, case)), None)

    def figure(self, group: str, client: str, case: str, heading: str) -> float | None:
        row = self.find(group, client, case)
        return None if row is None else row.figures.get(heading)

    def peers(self, group: str) -> Iterator[Row]:
        """Rows of clients that are not ours."""
        return (row for row in self.of(group) if row.client not in OURS)


def native_is(row: Row, native: Row) -> float:
    """How many times as good native is: a rate is good when it is high, all else when it is low."""
    heading, value = row.first
    best = native.figures[heading]
    return best / value if heading == RATE else value / best
