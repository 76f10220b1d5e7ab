"""What every benchmark is given: a backend, a connector to the far end, and the way to measure."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from cascade.connectors.mqtt import MqttConnector

from . import built
from .bench import Bench
from .events import distinct
from .farend import FarEnd
from .floors import Floors
from .report import REPORT

BACKENDS = ("native", "python")
WANTED = os.environ.get("CASCADE_TEST_BACKENDS", ",".join(BACKENDS)).split(",")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "peers: measures another MQTT client; runs with --peers")


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
def events() -> Iterator[list[dict[str, Any]]]:
    """100,000 events, no two alike, which the garbage collector does not walk."""
    made = distinct(100_000)
    gc.collect()
    gc.freeze()
    yield made
    gc.unfreeze()


@pytest.fixture(scope="session")
def recorded(events: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Payloads to receive, one a line."""
    file = tmp_path_factory.mktemp("recorded") / "payloads"
    file.write_bytes(b"\n".join(map(orjson.dumps, events[:50_000])))
    return file


@pytest.fixture(scope="session")
def far_end() -> Iterator[FarEnd]:
    with FarEnd(built.sink()) as far_end:
        yield far_end


@pytest.fixture(scope="session")
def floors(events: list[dict[str, Any]]) -> Iterator[Floors]:
    # A far end of its own: a floor may be asked for while the other's counts are in use.
    with FarEnd(built.sink()) as far_end:
        yield Floors(events, far_end)


@pytest.fixture
def bench(
    benchmark: Any, request: pytest.FixtureRequest, far_end: FarEnd, floors: Floors, events: list[dict[str, Any]]
) -> Iterator[Bench]:
    group = request.node.get_closest_marker("benchmark").kwargs["group"]
    report = request.config.stash[REPORT]
    with asyncio.Runner() as runner:
        yield Bench(
            benchmark=benchmark,
            group=group,
            report=report,
            runner=runner,
            far_end=far_end,
            floors=floors,
            all_events=events,
        )


@pytest.fixture
def connector(backend: str, bench: Bench) -> Iterator[MqttConnector]:
    """Connected; it makes publishers wait rather than drop, so that all that was sent arrives."""
    made = MqttConnector("127.0.0.1", bench.far_end.port, backend=backend, on_full="wait")
    bench.runner.run(made.connect())
    yield made
    bench.runner.run(made.disconnect())
