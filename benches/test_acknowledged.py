"""QoS 1 until each is acknowledged, QoS 2 until each is completed; the windows are raised where it is said."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from cascade.connectors.mqtt import MqttConnector

from .bench import Bench
from .brokers import Running
from .events import TOPIC
from .otherend import OtherEnd
from .publishing import publish_each

Connect = Callable[..., MqttConnector]
# What packet identifiers allow (MQTT 3.1.1 section 2.3.1), rounded down; the default is 10,000, at QoS 2 20.
_WINDOW = 60_000


@pytest.mark.benchmark(group="qos1_acked")
@pytest.mark.parametrize("way", ["publish_nowait", "await publish", "the default window of 10,000"])
def test_qos1_acked(connect: Connect, backend: str, bench: Bench, way: str) -> None:
    window = {} if "default" in way else {"max_inflight_messages": _WINDOW}
    connector = connect(bench.far_end.port, **window)
    count = {"native": 200_000, "python": 8_000}[backend]
    _acknowledged(bench, connector, backend, 1, count, "" if way == "publish_nowait" else way, way == "await publish")


@pytest.mark.benchmark(group="qos2_completed")
@pytest.mark.parametrize("window", [_WINDOW, None], ids=["raised", "default"])
def test_qos2_completed(connect: Connect, backend: str, bench: Bench, window: int | None) -> None:
    windows = {"max_inflight_messages": window, "max_inflight_qos2": window} if window else {}
    connector = connect(bench.far_end.port, **windows)
    count = {"native": 200_000 if window else 20_000, "python": 4_000}[backend]
    _acknowledged(bench, connector, backend, 2, count, "" if window else "the default window of 20")


def _acknowledged(
    bench: Bench, connector: MqttConnector, backend: str, qos: int, count: int, case: str, awaited: bool = False
) -> None:
    async def publish_all() -> None:
        before = connector.stats().acknowledged
        if awaited:
            for event in bench.events(count):
                await connector.publish(TOPIC, event, qos)
        else:
            publish_each(connector.publish_nowait, bench.events(count), qos)
        assert await connector.flush(30) == 0
        assert connector.stats().acknowledged - before == count
        assert bench.far_end.counts().publishes == count

    note = f"{_WINDOW:,} in flight" if "default" not in case else ""
    floors = bench.floors.publishing(bench.all_events)
    bench.rate(backend, publish_all, events=count, case=case, floors=floors, note=lambda: note)


@pytest.mark.benchmark(group="qos1_acked")
def test_through_a_broker(connect: Connect, backend: str, bench: Bench, broker: Running) -> None:
    count = {"native": 20_000, "python": 8_000}[backend]
    connector = connect(broker.port)
    with OtherEnd("subscribe", broker.port, qos=1) as other:

        async def publish_all() -> None:
            before = connector.stats().acknowledged, other.shared.arrived
            other.publish_to(partial(connector.publish_nowait, TOPIC, qos=1), bench.events(count))
            assert await connector.flush(30) == 0
            assert connector.stats().acknowledged - before[0] == count
            other.wait(before[1] + count)

        bench.rate(backend, publish_all, events=count, rounds=2, case=f"through {broker.name}")
