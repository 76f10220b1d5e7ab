"""The events that are measured: a recorded workflow's, over and over, no two alike; and such of a given size."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from functools import cache, partial
from itertools import count, islice
from pathlib import Path
from sys import intern
from typing import Any

__all__ = ["SIZES", "TOPIC", "Event", "recorded", "sized", "workflow"]

Event = dict[str, Any]
SIZES = {"100 B": 100, "310 B": 310, "4 KB": 4_096, "64 KB": 65_536}
"""What ``sized`` makes: bytes of JSON."""

_RECORDED = Path(__file__).with_name("recorded.jsonl.xz")
TOPIC = "cascade/telemetry/local/demo/demo-96d504ac/events"


@cache
def recorded() -> list[bytes]:
    """The payloads of one run of the demo, as they came from the broker; ``record.py`` has recorded them."""
    return lzma.decompress(_RECORDED.read_bytes()).splitlines()


def workflow(number: int) -> list[Event]:
    """The first ``number`` events of workflows that ran one after another: the recorded one, then such as it was.

    Objects are shared where a program shares them: what stands in its code, and what is the same all the run.
    """
    return list(islice(_laps(), number))


def sized(size: int, number: int, *, ascii_only: bool = True) -> list[Event]:
    """``number`` events of about ``size`` bytes of JSON. Large ones hold a traceback.

    They are new objects at each call: a string beyond ASCII keeps its UTF-8 once somebody has asked for it.
    """
    name = "extract" if ascii_only else "prüfe"
    make = _short if size < 300 else partial(_failed, _filling(size, name))
    return [make(number, name) for number in range(number)]


def _laps() -> Iterator[Event]:
    for lap in count():
        for payload in recorded():
            yield _event(json.loads(payload), lap)


def _event(seen: Event, lap: int) -> Event:
    body = seen["body"]
    return {
        "v": intern(seen["v"]),
        # Each lap in a minute of its own.
        "ts": f"{seen['ts'][:14]}{lap % 60:02}{seen['ts'][16:]}",
        "run_id": intern(seen["run_id"]),
        "org_id": intern(seen["org_id"]),
        "project_id": intern(seen["project_id"]),
        "source": intern(seen["source"]),
        "epoch": intern(seen["epoch"]),
        "seq": seen["seq"] + lap * len(recorded()),
        "body": _task(body, lap) if body["type"] == "TaskStateEvent" else _interned(body),
    }


def _task(body: Event, lap: int) -> Event:
    step, _, subject = body["task_id"].partition(":")
    return {
        "type": intern(body["type"]),
        "task_id": f"{step}:{lap}/{subject}" if lap else body["task_id"],
        "task_name": intern(body["task_name"]),
        "state": intern(body["state"]),
        # As long as it was, and a little longer each time.
        "duration_ms": round(body["duration_ms"] * (1 + lap / 1000), 3),
        "error": body["error"],
        "metadata": body["metadata"],
    }


def _interned(body: Event) -> Event:
    return {intern(key): intern(value) for key, value in body.items()}


def _short(number: int, name: str) -> Event:
    seconds, microseconds = divmod(number * 417, 1_000_000)
    return {
        "ts": f"2026-11-27T20:{seconds // 60 % 60:02}:{seconds % 60:02}.{microseconds:06}+00:00",
        "task": f"{name}_{number:06}",
        "state": "COMPLETED",
        "ms": number % 9_000 + 100.125,
    }


def _failed(traceback: str, number: int, name: str) -> Event:
    seconds, microseconds = divmod(number * 417, 1_000_000)
    return {
        "v": "1.0",
        "ts": f"2026-11-27T20:{seconds // 60 % 60:02}:{seconds % 60:02}.{microseconds:06}+00:00",
        "run_id": "run-8f3c1b7a9e2d4c6f",
        "org_id": "local",
        "project_id": "default",
        "source": "worker-07-4417",
        "body": {
            "type": "TaskStateEvent",
            "task_id": f"{name}:{number:06}",
            "task_name": name,
            "state": "FAILED",
            "duration_ms": number % 9_000 + 100.125,
            "error": f"{number:06}{traceback}",
        },
    }


@cache
def _filling(size: int, name: str) -> str:
    """The traceback that makes an event as large as it is to be; quotes and ends of lines are escaped."""
    room = size - _bytes(_failed("", 100_000, name))
    text = ""
    for line in count(1):
        more = f'  File "/srv/{name}/step_{line % 40}.py", line {line}, in {name}\n    raise ValueError(rows[{line}])\n'
        if _bytes(text + more) - 2 > room:
            return text + "." * (room - _bytes(text) + 2)
        text += more
    raise AssertionError


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
