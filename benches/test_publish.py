"""From a dict to the far end, on one connector: what arrived, divided by the time until it had."""

from __future__ import annotations

import time

import pytest

from cascade.connectors.mqtt import MqttConnector

from .bench import Bench
from .events import TOPIC
from .publishing import publish_each


@pytest.mark.benchmark(group="publish_nowait")
def test_publish_nowait(connector: MqttConnector, backend: str, bench: Bench) -> None:
    count = {"native": 300_000, "python": 12_000}[backend]
    in_calls: list[float] = []

    async def publish_all() -> None:
        start = time.perf_counter()
        publish_each(connector.publish_nowait, bench.events(count))
        in_calls.append(time.perf_counter() - start)
        assert await connector.flush(30) == 0
        await bench.far_end.arrived(count)

    bench.run(
        backend,
        publish_all,
        events=count,
        floors=bench.floors.publishing,
        note=lambda: f"{min(in_calls) / count * 1e6:.2f} us in the call",
    )


@pytest.mark.benchmark(group="await publish")
def test_await_publish(connector: MqttConnector, backend: str, bench: Bench) -> None:
    count = {"native": 300_000, "python": 12_000}[backend]

    async def publish_all() -> None:
        for event in bench.events(count):
            await connector.publish(TOPIC, event)
        assert await connector.flush(30) == 0
        await bench.far_end.arrived(count)

    bench.run(backend, publish_all, events=count, floors=bench.floors.publishing)


@pytest.mark.benchmark(group="QoS 1 acknowledged")
def test_qos1_acknowledged(connector: MqttConnector, backend: str, bench: Bench) -> None:
    count = {"native": 200_000, "python": 8_000}[backend]

    async def publish_all() -> None:
        before = connector.stats().acknowledged
        for event in bench.events(count):
            await connector.publish(TOPIC, event, qos=1)
        assert await connector.flush(30) == 0
        assert connector.stats().acknowledged - before == count
        assert bench.far_end.counts().publishes == count

    bench.run(backend, publish_all, events=count, floors=bench.floors.publishing)
