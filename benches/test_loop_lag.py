"""How late a 1 ms ticker is while a coroutine on the same loop publishes, and what that costs the process."""

from __future__ import annotations

import asyncio
import time

import pytest

from cascade.connectors.mqtt import MqttConnector

from .bench import Bench
from .pacing import lags_during, publish_at
from .percentiles import percentiles

_SECONDS = 1.5


@pytest.mark.benchmark(group="loop_lag")
@pytest.mark.parametrize("rate", [0, 10_000, 50_000, 100_000])
def test_loop_lag(connector: MqttConnector, backend: str, bench: Bench, rate: int) -> None:
    count = int(_SECONDS * rate)
    work = publish_at(rate, connector, bench.events(count)) if rate else asyncio.sleep(_SECONDS)

    async def ticking() -> dict[str, float]:
        start, cpu = time.perf_counter(), time.process_time()
        lags = await lags_during(work)
        assert await connector.flush(30) == 0
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
        await bench.far_end.arrived(count)
        achieved = {"events/s reached": count / took, "CPU us an event": cpu / count * 1e6} if rate else {}
        return {**percentiles(lags, "ms", 99, 50), "% of a core": 100 * cpu / took, **achieved}

    bench.far_end.reset()
    bench.figures(backend, ticking, case=f"{rate:,} events/s" if rate else "idle")
