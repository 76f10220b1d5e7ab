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


def _receive(
    connector: MqttConnector, backend: str, bench: Bench, payloads: list[bytes], file: Path, kind: str, qos: int
) -> None:
    count = {"native": 200_000, "python": 8_000}[backend]
    counting = Counting()
    bench.runner.run(connector.subscribe(TOPIC, counting.plain if kind == "def" else counting.coroutine))

    async def receive_all() -> None:
        counting.expect(count)
        bench.far_end.send(count, qos, file)
        await counting.wait()

    floors = {"orjson.loads": bench.floors.loads(payloads)}
    bench.rate(backend, receive_all, events=count, case=kind, floors=floors)
    assert connector.stats().inbox_dropped == {}


def _from_a_broker(connector: MqttConnector, backend: str, bench: Bench, broker: Running, file: Path, qos: int) -> None:
    count = {"native": 40_000, "python": 8_000}[backend]
    with OtherEnd("publish", broker.port, qos=qos, payloads=str(file)) as other:
        counting = Telling(other.shared)
        bench.runner.run(connector.subscribe(TOPIC, counting.coroutine, qos=qos))

        async def receive_all() -> None:
            counting.expect(count)
            other.shared.want(other.shared.wanted + count)
            await counting.wait()

        bench.rate(backend, receive_all, events=count, rounds=2, case=f"async def, from {broker.name}")


@pytest.mark.benchmark(group="receive_qos0")
@pytest.mark.parametrize("kind", ["async def", "def"])
def test_receive_qos0(
    connector: MqttConnector, backend: str, bench: Bench, payloads: list[bytes], payload_file: Path, kind: str
) -> None:
    _receive(connector, backend, bench, payloads, payload_file, kind, 0)


@pytest.mark.benchmark(group="receive_qos1")
@pytest.mark.parametrize("kind", ["async def", "def"])
def test_receive_qos1(
    connector: MqttConnector, backend: str, bench: Bench, payloads: list[bytes], payload_file: Path, kind: str
) -> None:
    _receive(connector, backend, bench, payloads, payload_file, kind, 1)


@pytest.mark.benchmark(group="receive_qos0")
def test_receive_qos0_from_a_broker(
    connect: Callable[..., MqttConnector], backend: str, bench: Bench, broker: Running, payload_file: Path
) -> None:
    _from_a_broker(connect(broker.port), backend, bench, broker, payload_file, 0)


@pytest.mark.benchmark(group="receive_qos1")
def test_receive_qos1_from_a_broker(
    connect: Callable[..., MqttConnector], backend: str, bench: Bench, broker: Running, payload_file: Path
) -> None:
    _from_a_broker(connect(broker.port), backend, bench, broker, payload_file, 1)
