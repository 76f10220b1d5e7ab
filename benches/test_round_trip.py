"""From ``publish`` through a broker into the same program's callback, one event at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from cascade.connectors.mqtt import MqttConnector

from .bench import Bench
from .brokers import Running
from .events import TOPIC, Event
from .percentiles import percentiles

TRIPS = 1_000


async def round_trips(
    publish: Callable[[Event], Awaitable[object]], arrived: asyncio.Event, events: Iterable[Event]
) -> dict[str, float]:
    """Publish each event when the one before is back; the first tenth is not counted."""
    took = []
    for event in events:
        arrived.clear()
        start = time.perf_counter()
        await publish(event)
        await arrived.wait()
        took.append(time.perf_counter() - start)
    return percentiles(took[len(took) // 10 :], "us", 50, 99)


@pytest.mark.benchmark(group="round_trip")
@pytest.mark.parametrize("qos", [pytest.param(0, id="qos0"), pytest.param(1, id="qos1", marks=pytest.mark.full)])
def test_round_trip(
    connect: Callable[..., MqttConnector], backend: str, bench: Bench, broker: Running, qos: int
) -> None:
    connector = connect(broker.port)
    arrived = asyncio.Event()

    async def received(topic: str, payload: dict[str, Any]) -> None:
        arrived.set()

    async def trips() -> dict[str, float]:
        await connector.subscribe(TOPIC, received, qos=qos)
        return await round_trips(lambda event: connector.publish(TOPIC, event, qos), arrived, bench.events(TRIPS))

    bench.figures(backend, trips, case=f"QoS {qos}, {broker.name}")
