"""From a dict to the far end, on one connector: what arrived, divided by the time until it had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import orjson
import pytest

from cascade.connectors.mqtt import MqttConnector

from .bench import Bench
from .brokers import Running
from .calls import Spent, beside_dumps
from .events import SIZES, TOPIC, Event, sized
from .otherend import OtherEnd
from .publishing import publish_each

_COUNTS = {"native": 300_000, "python": 12_000}


@pytest.mark.benchmark(group="publish_nowait")
def test_publish_nowait(connector: MqttConnector, backend: str, bench: Bench) -> None:
    count = _COUNTS[backend]

    async def publish_all() -> None:
        publish_each(connector.publish_nowait, bench.events(count))
        await _flushed(connector)
        await bench.far_end.arrived(count)

    def in_calls(events: Sequence[Event]) -> Spent:
        start = Spent.now()
        publish_each(connector.publish_nowait, events)
        return start.until_now()

    bench.rate(
        backend,
        publish_all,
        events=count,
        floors=bench.floors.publishing(bench.all_events),
        figures=lambda _: _beside_dumps(bench, connector, backend, in_calls),
    )


@pytest.mark.benchmark(group="await_publish")
def test_await_publish(connector: MqttConnector, backend: str, bench: Bench) -> None:
    count = _COUNTS[backend]

    async def publish_all() -> None:
        for event in bench.events(count):
            await connector.publish(TOPIC, event)
        await _flushed(connector)
        await bench.far_end.arrived(count)

    async def awaited(events: Sequence[Event]) -> Spent:
        start = Spent.now()
        for event in events:
            await connector.publish(TOPIC, event)
        return start.until_now()

    bench.rate(
        backend,
        publish_all,
        events=count,
        floors=bench.floors.publishing(bench.all_events),
        figures=lambda _: _beside_dumps(bench, connector, backend, lambda events: bench.runner.run(awaited(events))),
    )


@pytest.mark.benchmark(group="publish_nowait")
@pytest.mark.parametrize(
    "ascii_only", [pytest.param(True, id="ascii"), pytest.param(False, id="utf8", marks=pytest.mark.full)]
)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_sizes(connector: MqttConnector, backend: str, bench: Bench, size: str, ascii_only: bool) -> None:
    count = min(80_000_000 // SIZES[size], 200_000)
    make = partial(sized, SIZES[size], count, ascii_only=ascii_only)
    made: list[list[Event]] = [make()]
    encoded = [*map(orjson.dumps, made[0])]
    each_bytes = sum(map(len, encoded)) / count

    def publish_all() -> None:
        publish_each(connector.publish_nowait, made[0])
        bench.far_end.wait(count)

    bench.rate(
        backend,
        publish_all,
        events=count,
        case=size if ascii_only else f"{size}, not ASCII",
        setup=lambda: made.__setitem__(0, make()),
        floors={"orjson.dumps": bench.floors.dumps(make), "raw socket": bench.floors.wire(encoded)},
        figures=lambda rate: {"MB/s": rate * each_bytes / 1e6},
    )


@pytest.mark.benchmark(group="publish_nowait")
def test_through_a_broker(connect: Callable[..., MqttConnector], backend: str, bench: Bench, broker: Running) -> None:
    count = {"native": 40_000, "python": 8_000}[backend]
    connector = connect(broker.port)
    with OtherEnd("subscribe", broker.port, qos=0) as other:

        def publish_all() -> None:
            before = other.shared.arrived
            other.publish_to(partial(connector.publish_nowait, TOPIC), bench.events(count))
            other.wait(before + count)

        bench.rate(backend, publish_all, events=count, rounds=2, case=f"through {broker.name}")


def _beside_dumps(
    bench: Bench, connector: MqttConnector, backend: str, publish_all: Callable[[Sequence[Event]], Spent]
) -> dict[str, float]:
    events = bench.all_events if backend == "native" else bench.all_events[:20_000]
    return beside_dumps(publish_all, events, lambda: bench.runner.run(_flushed(connector)))


async def _flushed(connector: MqttConnector) -> None:
    assert await connector.flush(30) == 0
