"""Records the demo's events for the benchmarks: ``python -m benches.record``."""

from __future__ import annotations

import asyncio
import lzma
import sys
from pathlib import Path

from cascade.connectors.mqtt import MqttConnector
from cascade.connectors.mqtt.broker import EmbeddedBroker


async def record() -> list[bytes]:
    """What arrives while a demo runs, in order."""
    seen: list[bytes] = []
    with EmbeddedBroker() as broker:
        async with MqttConnector(broker.host, broker.port) as connector:
            await connector.subscribe(
                "cascade/telemetry/#", lambda topic, payload: seen.append(payload), decode="bytes"
            )
            demo = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cascade.connectors.mqtt.cli", "demo", "--broker", f"{broker.host}:{broker.port}"
            )
            assert await demo.wait() == 0
            await asyncio.sleep(1)
    return seen


if __name__ == "__main__":
    payloads = asyncio.run(record())
    file = Path(__file__).with_name("recorded.jsonl.xz")
    file.write_bytes(lzma.compress(b"\n".join(payloads), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(payloads):,} events, {file.stat().st_size:,} bytes in {file.name}")
