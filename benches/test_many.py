"""Many connectors in one process, and many threads on one connector."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cascade.connectors.mqtt import MqttConnector

from .bench import Bench
from .publishing import publish_each

pytestmark = pytest.mark.benchmark(group="many")

_CONNECTORS = 100
_THREADS = 4


@pytest.fixture
def connectors(backend: str, bench: Bench) -> Iterator[list[MqttConnector]]:
    port = bench.far_end.port
    made = [MqttConnector("127.0.0.1", port, backend=backend, on_full="wait") for _ in range(_CONNECTORS)]

    async def each(method: str) -> None:
        await asyncio.gather(*(getattr(connector, method)() for connector in made))

    bench.runner.run(each("connect"))
    yield made
    bench.runner.run(each("disconnect"))


def test_connectors(connectors: list[MqttConnector], backend: str, bench: Bench) -> None:
    count = {"native": 300_000, "python": 12_000}[backend]

    async def publish_all() -> None:
        in_turn = itertools.cycle([connector.publish_nowait for connector in connectors])

        def publish(topic: str, event: Any) -> bool:
            return next(in_turn)(topic, event)

        publish_each(publish, bench.events(count))
        assert sum(await asyncio.gather(*(connector.flush(30) for connector in connectors))) == 0
        await bench.far_end.arrived(count)

    bench.run(f"{backend}, {_CONNECTORS} connectors", publish_all, events=count, floors=bench.floors.publishing)


def test_threads(connector: MqttConnector, backend: str, bench: Bench) -> None:
    count = {"native": 300_000, "python": 12_000}[backend]

    def publish_share(_: int) -> None:
        publish_each(connector.publish_nowait, bench.events(count // _THREADS))

    async def publish_all() -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(pool, publish_share, n) for n in range(_THREADS)))
        assert await connector.flush(30) == 0
        await bench.far_end.arrived(count)

    bench.run(f"{backend}, {_THREADS} threads", publish_all, events=count, floors=bench.floors.publishing)
