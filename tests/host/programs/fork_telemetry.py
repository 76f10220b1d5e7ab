"""Typed events before a fork, and after it in both processes."""

from __future__ import annotations

from given import GIVEN, connector, fork, join

from cascade.connectors.mqtt import TelemetryPublisher

shared = connector()
shared.open(20)
telemetry = TelemetryPublisher(shared, org_id=GIVEN.org_id, run_id="r", qos=1)


def publish(who: str) -> None:
    for number in range(5):
        telemetry.task_state(f"{who}-{number}", who, "RUNNING")


publish("parent")


def child() -> None:
    publish("child")
    shared.close(20)


pid = fork(child)
publish("parent")
join(pid)
publish("parent")
shared.close(20)
