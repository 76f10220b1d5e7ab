"""The gate at a real broker: constraints in, events out."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from cascade.connectors.mqtt import Gate, TelemetryPublisher
from waiting import eventually


def told(observer: Any, kind: str = "TaskStateEvent") -> list[dict[str, Any]]:
    """The bodies of the events that an observer has seen."""
    return [message.json["body"] for message in observer.seen if message.json["body"]["type"] == kind]


async def test_constraints_come_in_and_events_go_out(connected, broker, new_observer, prefix):
    topic = f"cascade/constraints/run/{prefix}/@pause"
    observer = new_observer(broker, f"cascade/telemetry/+/+/{prefix}/events")
    pause = {"id": "p", "scope": f"run:{prefix}", "type": "pause", "params": {}, "expires_at": None}
    observer.publish(topic, json.dumps(pause), retain=True)
    connector = await connected(broker)
    telemetry = TelemetryPublisher(connector, run_id=prefix)
    async with Gate.connected(connector, telemetry=telemetry, resources={"gpu": 1}, environment=True) as gate:

        async def work(name: str, error: Exception | None = None) -> None:
            async with gate.admit(name, requirements={"gpu": 1}, task_id=name, metadata={"size": 3}):
                if error:
                    raise error

        first = asyncio.create_task(work("first"))
        await eventually(lambda: [body["state"] for body in told(observer)] == ["BLOCKED"])
        assert [waiting.reason for waiting in gate.waiting()] == [f"pause run:{prefix}"]
        observer.publish(topic, b"", retain=True)
        await asyncio.wait_for(first, 20)
        with pytest.raises(OSError, match="no disk"):
            await work("second", OSError("no disk"))
        withdrawn = asyncio.create_task(work("third"))
        async with gate.admit("holds", requirements={"gpu": 1}, run_id="another"):
            await asyncio.sleep(0)
            withdrawn.cancel()
            await asyncio.gather(withdrawn, return_exceptions=True)
    await eventually(lambda: len(told(observer)) == 7)
    assert [(body["task_id"], body["state"]) for body in told(observer)] == [
        ("first", "BLOCKED"),
        ("first", "RUNNING"),
        ("first", "COMPLETED"),
        ("second", "RUNNING"),
        ("second", "FAILED"),
        ("third", "BLOCKED"),
        ("third", "FAILED"),
    ]
    blocked, running, completed, _, failed, _, cancelled = told(observer)
    assert blocked["metadata"] == {"size": 3, "reason": f"pause run:{prefix}"}
    assert running["metadata"]["size"] == 3
    assert running["metadata"]["waited_ms"] > 0
    assert completed["duration_ms"] >= 0
    assert failed["error"] == "OSError: no disk"
    assert cancelled["error"].startswith("not started, CancelledError")
    resources = told(observer, "ResourceEvent")
    assert {event["resource_name"] for event in resources} >= {"cpu"}
    assert all(event["current_usage"]["capacity"] > 0 for event in resources)
