"""From a broker's write to the callback: the far end stamps each message with the clock that both processes read."""

from __future__ import annotations

import asyncio
import time

import pytest

from cascade.connectors.mqtt import MqttConnector

from .bench import Bench
from .pacing import publish_at
from .percentiles import percentiles

_BEATS = 1_000
_EVERY_S = 0.002
# The fallback cannot publish more beside anything else.
_LOAD = {"native": 100_000, "python": 10_000}


@pytest.mark.benchmark(group="control_latency")
@pytest.mark.parametrize("loaded", [False, True], ids=["idle", "loaded"])
def test_control_latency(connector: MqttConnector, backend: str, bench: Bench, loaded: bool) -> None:
    rate = _LOAD[backend] if loaded else 0
    late: list[float] = []
    done = asyncio.Event()

    async def beaten(topic: str, stamp_ns: int) -> None:
        late.append((time.monotonic_ns() - stamp_ns) / 1e9)
        if len(late) == _BEATS:
            done.set()

    async def listen() -> dict[str, float]:
        await connector.subscribe("cascade/constraints/#", beaten)
        seconds = _BEATS * _EVERY_S
        publishing = publish_at(rate, connector, bench.events(int(seconds * rate))) if rate else asyncio.sleep(0)
        load = asyncio.ensure_future(publishing)
        bench.far_end.beat(_BEATS, _EVERY_S)
        async with asyncio.timeout(30):
            await done.wait()
        await load
        return percentiles(late, "ms", 50, 99, 100)

    bench.figures(backend, listen, case=f"under {rate:,} events/s" if rate else "idle")
