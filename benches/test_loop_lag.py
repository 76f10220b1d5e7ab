"""How late a 1 ms ticker is while a coroutine on the same loop publishes 100,000 events a second."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from cascade.connectors.mqtt import MqttConnector

from .bench import Bench
from .events import TOPIC

_RATE = 100_000
_TICK_S = 0.001
# A client that falls behind catches up by no more than this at a time, or that would be the lag.
_BURST = _RATE // 500


@pytest.mark.benchmark(group="loop lag")
def test_loop_lag(connector: MqttConnector, backend: str, bench: Bench) -> None:
    count = {"native": 2 * _RATE, "python": _RATE // 5}[backend]
    idle = bench.runner.run(_lags_during(asyncio.sleep(1)))
    loaded: list[float] = []

    async def publish_all() -> None:
        loaded[:] = await _lags_during(_publish(connector, bench.events(count)))
        assert await connector.flush(30) == 0
        await bench.far_end.arrived(count)

    bench.run(
        f"{backend}, asked for {_RATE:,}",
        publish_all,
        events=count,
        rounds=1,
        note=lambda: f"lag p50 {_ms(loaded, 50)}, p99 {_ms(loaded, 99)}; idle p99 {_ms(idle, 99)}",
    )


async def _publish(connector: MqttConnector, events: Iterator[dict[str, Any]]) -> None:
    loop = asyncio.get_running_loop()
    start, sent = loop.time(), 0
    while True:
        due = int((loop.time() - start) * _RATE) - sent
        burst = list(itertools.islice(events, min(due, _BURST)))
        for event in burst:
            await connector.publish(TOPIC, event)
        sent += len(burst)
        if due > 0 and not burst:
            return
        await asyncio.sleep(0 if due > _BURST else _TICK_S)


async def _lags_during(work: Coroutine[Any, Any, object]) -> list[float]:
    """Seconds by which each tick came late while ``work`` ran, sorted."""
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    task = asyncio.ensure_future(work)
    while not task.done():
        due = loop.time() + _TICK_S
        await asyncio.sleep(_TICK_S)
        lags.append(loop.time() - due)
    await task
    return sorted(lags)


def _ms(lags: list[float], percentile: int) -> str:
    return f"{lags[len(lags) * percentile // 100] * 1000:.2f} ms"
