"""What every benchmark is given: a backend, a connector to the far end, and the way to measure."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from cascade.connectors.mqtt import MqttConnector
from cascade.connectors.mqtt.broker import BrokerUnavailable

from . import brokers, built
from .bench import Bench
from .events import Event, workflow
from .farend import FarEnd
from .floors import Floors
from .report import REPORT

BACKENDS = ("native", "python")
WANTED = os.environ.get("CASCADE_TEST_BACKENDS", ",".join(BACKENDS)).split(",")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "peers: measures another MQTT client; runs with --peers")
    config.addinivalue_line("markers", "full: one more of its kind; runs with --full or --peers")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each way there is; one that is left out, or not built, is a line of the summary."""
    name = str(request.param)
    reason = None
    if name not in WANTED:
        reason = "left out by CASCADE_TEST_BACKENDS"
    elif name == "native":
        try:
            importlib.import_module("cascade.connectors.mqtt._native")
        except ImportError as error:
            reason = str(error)
    if reason:
        request.config.stash[REPORT].absent[f"backend {name}"] = reason
        pytest.skip(reason)
    return name


@pytest.fixture(scope="session")
def events() -> Iterator[Sequence[Event]]:
    """100,000 events, no two alike, which the garbage collector does not walk."""
    made = workflow(100_000)
    gc.collect()
    gc.freeze()
    yield made
    gc.unfreeze()


@pytest.fixture(scope="session")
def payloads(events: Sequence[Event]) -> list[bytes]:
    """Half of them, as JSON."""
    return [orjson.dumps(event) for event in events[:50_000]]


@pytest.fixture(scope="session")
def payload_file(payloads: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The payloads to receive, one a line."""
    file = tmp_path_factory.mktemp("recorded") / "payloads"
    file.write_bytes(b"\n".join(payloads))
    return file


@pytest.fixture(scope="session")
def far_end() -> Iterator[FarEnd]:
    with FarEnd(built.sink()) as far_end:
        yield far_end


@pytest.fixture(scope="session")
def floors() -> Iterator[Floors]:
    # A far end of its own: a floor may be asked for while the other's counts are in use.
    with FarEnd(built.sink()) as far_end:
        yield Floors(far_end)


@pytest.fixture
def bench(
    benchmark: Any, request: pytest.FixtureRequest, far_end: FarEnd, floors: Floors, events: Sequence[Event]
) -> Iterator[Bench]:
    with asyncio.Runner() as runner:
        yield Bench(
            benchmark=benchmark,
            group=request.node.get_closest_marker("benchmark").kwargs["group"],
            report=request.config.stash[REPORT],
            runner=runner,
            far_end=far_end,
            floors=floors,
            all_events=events,
        )


@pytest.fixture
def connect(backend: str, bench: Bench) -> Iterator[Callable[..., MqttConnector]]:
    """Connects to a port; publishers are made to wait rather than to drop, so that all that was sent arrives."""
    made: list[MqttConnector] = []

    def connect(port: int, **options: Any) -> MqttConnector:
        made.append(MqttConnector("127.0.0.1", port, backend=backend, on_full="wait", **options))
        bench.runner.run(made[-1].connect())
        return made[-1]

    yield connect
    for connector in made:
        bench.runner.run(connector.disconnect())


@pytest.fixture
def connector(connect: Callable[..., MqttConnector], bench: Bench) -> MqttConnector:
    """Connected to the far end that counts."""
    return connect(bench.far_end.port)


@pytest.fixture(params=brokers.BROKERS)
def broker(request: pytest.FixtureRequest, bench: Bench, tmp_path: Path) -> Iterator[brokers.Running]:
    """Each real broker there is, of this benchmark's own."""
    try:
        with brokers.running(request.param, tmp_path) as broker:
            yield broker
    except (BrokerUnavailable, FileNotFoundError) as error:
        bench.absent(request.param, error)
