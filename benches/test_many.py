"""Many connectors in one process, and many threads on one connector."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from cascade.connectors.mqtt import MqttConnector

from . import fresh
from .bench import Bench
from .events import SIZES, Event, sized
from .publishing import publish_each

pytestmark = pytest.mark.benchmark(group="many")

_THREADS = 4
_AT_ONCE = 50


def test_idle(backend: str, bench: Bench) -> None:
    number = {"native": 1_000, "python": 100}[backend]
    bench.figures(
        backend,
        lambda: fresh.run(_connect_many, backend, bench.far_end.port, number),
        case=f"{number:,} idle connectors",
    )


def _connect_many(backend: str, port: int, number: int) -> dict[str, float]:
    async def connected() -> dict[str, float]:
        threads = fresh.threads()
        async with MqttConnector("127.0.0.1", port, backend=backend):  # what all of them share is not theirs
            resident = fresh.resident()
        made = [MqttConnector("127.0.0.1", port, backend=backend) for _ in range(number)]
        for at in range(0, number, _AT_ONCE):
            await asyncio.gather(*(connector.connect() for connector in made[at : at + _AT_ONCE]))
        await asyncio.sleep(0.5)
        figures = {
            "KiB each": (fresh.resident() - resident) / number / 1024,
            "threads in all": fresh.threads() - threads,
        }
        await asyncio.gather(*(connector.disconnect() for connector in made))
        return figures

    return asyncio.run(connected())


@pytest.fixture
def connectors(backend: str, bench: Bench) -> Iterator[list[MqttConnector]]:
    made = [MqttConnector("127.0.0.1", bench.far_end.port, backend=backend, on_full="wait") for _ in range(100)]

    async def each(method: str) -> None:
        await asyncio.gather(*(getattr(connector, method)() for connector in made))

    bench.runner.run(each("connect"))
    yield made
    bench.runner.run(each("disconnect"))


def test_in_turn(connectors: list[MqttConnector], backend: str, bench: Bench) -> None:
    count = {"native": 300_000, "python": 12_000}[backend]

    async def publish_all() -> None:
        in_turn = itertools.cycle([connector.publish_nowait for connector in connectors])

        def publish(topic: str, event: Any, qos: int) -> bool:
            return next(in_turn)(topic, event, qos)

        publish_each(publish, bench.events(count))
        assert sum(await asyncio.gather(*(connector.flush(30) for connector in connectors))) == 0
        await bench.far_end.arrived(count)

    bench.rate(backend, publish_all, events=count, case=f"{len(connectors)} connectors in turn")


@pytest.mark.parametrize("threads", [1, _THREADS])
def test_threads(connector: MqttConnector, backend: str, bench: Bench, threads: int) -> None:
    count = {"native": 300_000, "python": 12_000}[backend]
    _from_threads(connector, backend, bench, list(bench.events(count)), threads)


@pytest.mark.full
@pytest.mark.parametrize("threads", [1, _THREADS])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_threads_by_size(connector: MqttConnector, backend: str, bench: Bench, size: str, threads: int) -> None:
    events = sized(SIZES[size], min(80_000_000 // SIZES[size], 200_000))
    _from_threads(connector, backend, bench, events, threads, f", {size}")


def _from_threads(
    connector: MqttConnector, backend: str, bench: Bench, events: Sequence[Event], threads: int, of: str = ""
) -> None:
    # Each has neighbours, as a thread has that makes its events itself: every fourth one of them takes three times as
    # long to read from memory, for a single thread too.
    each = len(events) // threads
    shares = [events[at : at + each] for at in range(0, each * threads, each)]

    def publish_all() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(partial(publish_each, connector.publish_nowait), shares))
        bench.far_end.wait(each * threads)

    bench.rate(
        backend, publish_all, events=each * threads, case=f"{threads} {'threads' if threads > 1 else 'thread'}{of}"
    )
