"""The same events through other MQTT clients, in the groups of ours: ``pytest --benchmark --peers``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import orjson
import pytest

from .bench import Bench
from .peers import PEERS, Encode, Peer
from .receiving import Counting
from .report import REPORT
from .test_encode import stdlib

pytestmark = [
    pytest.mark.peers,
    pytest.mark.timeout(600),  # one of them is compiled first
    # Theirs, not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_MODULES = {"mqttium": "mqttium", "gmqtt": "gmqtt", "aiomqtt": "aiomqtt", "paho-mqtt": "paho", "awscrt": "awscrt"}
_QOS0_EVENTS = {"aiomqtt": 10_000, "awscrt": 20_000, "paho-mqtt": 20_000, "rumqttc loop": 300_000}
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
def make_peer(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Any]:
    """Connects a peer; one that is not installed is a line of the summary."""
    made: list[Peer] = []

    def make(name: str, encode: Encode, received: Any) -> Peer:
        try:
            if name in _MODULES:
                import_module(_MODULES[name])
            peer = PEERS[name](encode)
            bench.runner.run(peer.connect(bench.far_end.port, received))
        except (ImportError, FileNotFoundError) as error:
            request.config.stash[REPORT].absent[name] = str(error)
            pytest.skip(str(error))
        made.append(peer)
        return peer

    yield make
    for peer in made:
        bench.runner.run(peer.close())


def _publish(bench: Bench, peer: Peer, name: str, label: str, count: int, qos: int) -> None:
    async def publish_all() -> None:
        await peer.publish(bench.events(count), qos)
        await bench.far_end.arrived(count)

    bench.run(label, publish_all, events=count, floors=bench.floors.publishing, note=lambda: _version(name))


def _version(name: str) -> str:
    return metadata.version(name) if name in _MODULES else "0.25.1"


@pytest.mark.benchmark(group="publish_nowait")
@pytest.mark.parametrize(("name", "codec"), [*_WAYS, ("rumqttc loop", "ours")], ids=[*_IDS, "rumqttc loop"])
def test_publish(make_peer: Any, bench: Bench, name: str, codec: str) -> None:
    peer = make_peer(name, _ENCODERS.get(codec), lambda payload: None)
    _publish(bench, peer, name, f"{name} + {codec}", _QOS0_EVENTS.get(name, 40_000), qos=0)


@pytest.mark.benchmark(group="QoS 1 acknowledged")
@pytest.mark.parametrize(("name", "codec"), [*_WAYS, ("rumqttc loop", "ours")], ids=[*_IDS, "rumqttc loop"])
def test_publish_qos1(make_peer: Any, bench: Bench, name: str, codec: str) -> None:
    peer = make_peer(name, _ENCODERS.get(codec), lambda payload: None)
    _publish(bench, peer, name, f"{name} + {codec}", _QOS1_EVENTS.get(name, 20_000), qos=1)


@pytest.mark.benchmark(group="receive")
@pytest.mark.parametrize(("name", "codec"), _WAYS, ids=_IDS)
def test_receive(make_peer: Any, bench: Bench, recorded: Path, name: str, codec: str) -> None:
    count = 20_000
    arrivals = _Arrivals(_DECODERS[codec])
    peer = make_peer(name, None, arrivals)
    bench.runner.run(peer.subscribe())

    async def receive_all() -> None:
        arrivals.counting.expect(count)
        bench.far_end.send(count, 0, recorded)
        await arrivals.counting.wait()

    floors = {"orjson.loads": bench.floors.loads}
    bench.run(f"{name} + {codec}, QoS 0", receive_all, events=count, floors=floors, note=lambda: _version(name))
