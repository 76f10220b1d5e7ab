"""From the socket to a decoded dict in a callback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cascade.connectors.mqtt import MqttConnector

from .bench import Bench
from .brokers import Running
from .events import TOPIC
from .otherend import OtherEnd
from .receiving import Counting, Telling

at_each_qos = pytest.mark.parametrize(
    "qos", [pytest.param(qos, id=f"qos{qos}", marks=pytest.mark.benchmark(group=f"receive_qos{qos}")) for qos in (0, 1)]
)


@at_each_qos
@pytest.mark.parametrize("kind", ["async def", "def"])
def test_receive(
    connector: MqttConnector,
    backend: str,
    bench: Bench,
    payloads: list[bytes],
    payload_file: Path,
    kind: str,
    qos: int,
) -> None:
    count = {"native": 200_000, "python": 8_000}[backend]
    counting = Counting()
    bench.runner.run(connector.subscribe(TOPIC, counting.plain if kind == "def" else counting.coroutine))

    async def receive_all() -> None:
        counting.expect(count)
        bench.far_end.send(count, qos, payload_file)
        await counting.wait()

    floors = {"orjson.loads": bench.floors.loads(payloads)}
    bench.rate(backend, receive_all, events=count, case=kind, floors=floors)
    assert connector.stats().inbox_dropped == {}


@at_each_qos
def test_from_a_broker(
    connect: Callable[..., MqttConnector], backend: str, bench: Bench, broker: Running, payload_file: Path, qos: int
) -> None:
    count = {"native": 40_000, "python": 8_000}[backend]
    connector = connect(broker.port)
    with OtherEnd("publish", broker.port, qos=qos, payloads=str(payload_file)) as other:
        counting = Telling(other.shared)
        bench.runner.run(connector.subscribe(TOPIC, counting.coroutine, qos=qos))

        async def receive_all() -> None:
            counting.expect(count)
            other.shared.want(other.shared.wanted + count)
            await counting.wait()

        bench.rate(backend, receive_all, events=count, rounds=2, case=f"async def, from {broker.name}")
