"""Wire batching: what passes through one stock mosquitto, and how many bytes a workflow takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import orjson
import pytest

from cascade.connectors.mqtt import BatchOptions, MqttConnector

from .bench import Bench
from .brokers import Running
from .events import TOPIC, recorded
from .otherend import WINDOW, OtherEnd

pytestmark = pytest.mark.benchmark(group="batch")

_WAYS = {
    "unbatched": None,
    "batched": BatchOptions(),
    "zstd batches": BatchOptions(compression="zstd"),
}


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("qos", [0, 1], ids=["qos0", "qos1"])
@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)
def test_through_mosquitto(
    connect: Callable[..., MqttConnector], broker: Running, backend: str, bench: Bench, qos: int, way: str
) -> None:
    """From a dict to the asynchronous callback of another process, which has all of them at the end."""
    batch = _WAYS[way]
    count = {"native": 300_000 if batch else 40_000, "python": 20_000 if batch else 8_000}[backend]
    window = WINDOW * batch.max_events if batch else WINDOW
    try:
        connector = connect(broker.port, batch=batch)
    except ValueError as error:  # the fallback without its extra
        bench.absent(f"{backend}, {way}", error)
    with OtherEnd("subscribe", broker.port, qos=qos, batches=True) as other:

        def publish_all() -> None:
            before = other.shared.arrived
            other.publish_to(partial(connector.publish_nowait, TOPIC, qos=qos), bench.events(count), window)
            other.wait(before + count)

        bench.rate(backend, publish_all, events=count, rounds=2, case=f"QoS {qos}, {way}")


@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_bytes(backend: str, bench: Bench) -> None:
    """The packets of the recorded workflow, as fast as they can be published, so that batches fill."""
    events = [orjson.loads(payload) for payload in recorded()]

    async def sent(batch: BatchOptions | None) -> int:
        bench.far_end.reset()
        async with MqttConnector("127.0.0.1", bench.far_end.port, backend=backend, batch=batch) as connector:
            for event in events:
                connector.publish_nowait(TOPIC, event, qos=1)
            assert await connector.flush(30) == 0
            assert connector.stats().acknowledged == len(events)
        return bench.far_end.counts().bytes

    async def all_ways() -> dict[str, int]:
        return {way: await sent(batch) for way, batch in _WAYS.items()}

    sizes = asyncio.run(all_ways())
    bench.figures(
        backend,
        lambda: {f"{way}, % of unbatched": 100 * size / sizes["unbatched"] for way, size in sizes.items()},
        case="bytes on the wire",
        note=lambda: f"{sizes['unbatched'] / len(events):.0f} bytes an event unbatched",
    )
