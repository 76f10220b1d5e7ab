"""The event that is measured: 313 bytes of compact JSON under a topic of 76, different every time."""

from __future__ import annotations

from typing import Any

__all__ = ["TOPIC", "distinct", "packet"]

_RUN = "run-20250314-8f3c1b7a9e2d4c6f5a7b8c9d"
TOPIC = f"cascade/telemetry/local/default/{_RUN}/events"

_STATES = ("PENDING", "RUNNING", "COMPLETED", "SKIPPED")


def distinct(count: int) -> list[dict[str, Any]]:
    """``count`` events, as a workflow of that many tasks would publish them: no value shared that
    would not be shared there."""
    return [_event(number) for number in range(count)]


def packet(payload: bytes) -> bytes:
    """A finished PUBLISH of QoS 0 (MQTT 3.1.1 section 3.3)."""
    topic = TOPIC.encode()
    length = 2 + len(topic) + len(payload)
    assert 128 <= length < 16_384  # two bytes of remaining length
    return bytes((0x30, length & 0x7F | 0x80, length >> 7)) + len(topic).to_bytes(2, "big") + topic + payload


def _event(number: int) -> dict[str, Any]:
    second, microsecond = divmod(number * 417, 1_000_000)
    return {
        "v": "1.0",
        "ts": f"2025-03-14T15:{second // 60 % 60:02}:{second % 60:02}.{microsecond:06}+00:00",
        "run_id": _RUN,
        "org_id": "local",
        "project_id": "default",
        "source": "worker-07-4417",
        "body": {
            "type": "TaskStateEvent",
            "task_id": f"task-{number:06}",
            "task_name": f"extract_partition_{number % 1000:03}",
            "state": _STATES[number % len(_STATES)],
            "duration_ms": number % 9_000 + 100.125,
            "error": None,
        },
    }
