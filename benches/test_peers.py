"""The same events through other MQTT clients, in the groups of ours: ``pytest --benchmark --peers``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import orjson
import pytest

from .bench import Bench
from .brokers import Running
from .peers import PEERS, Encode, Peer
from .receiving import Counting
from .test_encode import stdlib
from .test_import import import_of
from .test_receive import at_each_qos
from .test_round_trip import TRIPS, round_trips

pytestmark = [
    pytest.mark.peers,
    pytest.mark.timeout(600),  # one of them is compiled first
    # Theirs, not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_MODULES = {
    "mqttium": "mqttium.api",
    "gmqtt": "gmqtt",
    "aiomqtt": "aiomqtt",
    "paho-mqtt": "paho.mqtt.client",
    "awscrt": "awscrt.mqtt5",
}
_QOS0_EVENTS = {"aiomqtt": 10_000, "mqttium": 40_000, "gmqtt": 40_000, "rumqttc loop": 300_000}
_QOS1_EVENTS = {"aiomqtt": 5_000, "paho-mqtt": 10_000, "rumqttc loop": 100_000}

# Most leave JSON to the caller: measured with the standard library, the fastest also with orjson.
_ENCODERS = {"json": stdlib, "orjson": orjson.dumps}
_DECODERS = {"json": json.loads, "orjson": orjson.loads}
_WAYS = [(name, "json") for name in _MODULES] + [("mqttium", "orjson"), ("gmqtt", "orjson")]
_IDS = [f"{name} + {codec}" for name, codec in _WAYS]


class _Arrivals:
    """Decodes and counts what a peer received."""

    def __init__(self, decode: Any) -> None:
        self.counting = Counting()
        self._decode = decode

    def __call__(self, payload: bytes) -> None:
        self.counting.plain("", self._decode(payload))


@pytest.fixture
def make_peer(bench: Bench) -> Iterator[Any]:
    """Connects a peer; one that is not installed is a line of the summary."""
    made: list[Peer] = []

    def make(name: str, encode: Encode, received: Any, port: int = bench.far_end.port) -> Peer:
        try:
            if name in _MODULES:
                import_module(_MODULES[name])
            peer = PEERS[name](encode)
            bench.runner.run(peer.connect(port, received))
        except (ImportError, FileNotFoundError) as error:
            bench.absent(name, error)
        made.append(peer)
        return peer

    yield make
    for peer in made:
        bench.runner.run(peer.close())


def _version(name: str) -> str:
    return metadata.version(name) if name in _MODULES else "0.25.1"


@pytest.mark.parametrize(
    ("qos", "counts"),
    [
        pytest.param(0, _QOS0_EVENTS, id="qos0", marks=pytest.mark.benchmark(group="publish_nowait")),
        pytest.param(1, _QOS1_EVENTS, id="qos1", marks=pytest.mark.benchmark(group="qos1_acked")),
    ],
)
@pytest.mark.parametrize(("name", "codec"), [*_WAYS, ("rumqttc loop", "ours")], ids=[*_IDS, "rumqttc loop"])
def test_publish(make_peer: Any, bench: Bench, name: str, codec: str, qos: int, counts: dict[str, int]) -> None:
    count = counts.get(name, 20_000)
    peer = make_peer(name, _ENCODERS.get(codec), lambda payload: None)

    async def publish_all() -> None:
        await peer.publish(bench.events(count), qos)
        await bench.far_end.arrived(count)

    floors = bench.floors.publishing(bench.all_events)
    bench.rate(f"{name} + {codec}", publish_all, events=count, floors=floors, note=lambda: _version(name))


@at_each_qos
@pytest.mark.parametrize(("name", "codec"), _WAYS, ids=_IDS)
def test_receive(
    make_peer: Any, bench: Bench, payloads: list[bytes], payload_file: Path, name: str, codec: str, qos: int
) -> None:
    count = 20_000
    arrivals = _Arrivals(_DECODERS[codec])
    peer = make_peer(name, None, arrivals)
    bench.runner.run(peer.subscribe(qos))

    async def receive_all() -> None:
        arrivals.counting.expect(count)
        bench.far_end.send(count, qos, payload_file)
        await arrivals.counting.wait()

    floors = {"orjson.loads": bench.floors.loads(payloads)}
    bench.rate(f"{name} + {codec}", receive_all, events=count, floors=floors, note=lambda: _version(name))


@pytest.mark.benchmark(group="round_trip")
@pytest.mark.parametrize("name", _MODULES)
def test_round_trip(make_peer: Any, bench: Bench, broker: Running, name: str) -> None:
    """One event at a time, at QoS 0."""
    if name == "awscrt" and broker.name != "mosquitto":
        bench.absent(f"{name}, {broker.name}", "the one speaks MQTT 5 alone, the other 3.1.1")
    arrived = asyncio.Event()
    loop = bench.runner.get_loop()
    peer = make_peer(name, orjson.dumps, lambda payload: loop.call_soon_threadsafe(arrived.set), broker.port)
    bench.runner.run(peer.subscribe(0))

    async def trips() -> dict[str, float]:
        return await round_trips(lambda event: peer.publish(iter([event]), 0), arrived, bench.events(TRIPS))

    bench.figures(name, trips, case=f"QoS 0, {broker.name}", note=lambda: _version(name))


@pytest.mark.benchmark(group="import")
@pytest.mark.parametrize("name", _MODULES)
def test_import(bench: Bench, name: str) -> None:
    import_of(_MODULES[name], name, bench)
