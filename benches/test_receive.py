"""From the socket to a decoded dict in a callback."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade.connectors.mqtt import MqttConnector

from .bench import Bench
from .events import TOPIC
from .receiving import Counting

pytestmark = pytest.mark.benchmark(group="receive")


@pytest.mark.parametrize("qos", [0, 1], ids=["qos0", "qos1"])
@pytest.mark.parametrize("kind", ["coroutine", "plain"])
def test_receive(connector: MqttConnector, backend: str, bench: Bench, recorded: Path, kind: str, qos: int) -> None:
    count = {"native": 200_000, "python": 8_000}[backend]
    counting = Counting()
    bench.runner.run(connector.subscribe(TOPIC, getattr(counting, kind)))

    async def receive_all() -> None:
        counting.expect(count)
        bench.far_end.send(count, qos, recorded)
        await counting.wait()

    name = f"{backend}, QoS {qos}, {'async def' if kind == 'coroutine' else 'def'}"
    bench.run(name, receive_all, events=count, floors={"orjson.loads": bench.floors.loads})
    assert connector.stats().inbox_dropped == {}
