"""What every test is given: a backend, a broker, connectors that are put away at the end."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from cascade.connectors.mqtt import MqttConnector
from cascade.connectors.mqtt.broker import EmbeddedBroker
from embedded import SharedBroker
from fake_peer import FakePeer
from mosquitto import PROGRAM, Mosquitto
from observer import Observer
from proxy import Proxy

BACKENDS = ("native", "python")
WANTED = os.environ.get("CASCADE_TEST_BACKENDS", ",".join(BACKENDS)).split(",")

# The same examples each time; CASCADE_TEST_HYPOTHESIS=long draws many more, other ones each time.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("long", max_examples=5_000, deadline=None)
settings.load_profile(os.environ.get("CASCADE_TEST_HYPOTHESIS", "steady"))


def pytest_configure(config: pytest.Config) -> None:
    # What runs in the background of a shell ignores SIGINT, and so would every process started here.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "every_loop: run on asyncio's loop, the same in debug mode, and uvloop's")


def pytest_report_header() -> list[str]:
    return [f"backends: {', '.join(WANTED)}", f"mosquitto: {PROGRAM or 'not installed'}"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Said at the end too: under xdist nobody else counts what was deselected."""
    if left_out := [name for name in BACKENDS if name not in WANTED]:
        terminalreporter.write_line(f"not tested here, by CASCADE_TEST_BACKENDS: {', '.join(left_out)}", yellow=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A backend that was not asked for is deselected, which pytest reports; a missing one fails."""
    unwanted = [
        item for item in items if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        and not {item.callspec.params.get(name, WANTED[0]) for name in ("backend", "reader")} <= set(WANTED)
    ]  # fmt: skip
    if unwanted:
        config.hook.pytest_deselected(items=unwanted)
        items[:] = [item for item in items if item not in set(unwanted)]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.get_closest_marker("every_loop"):
        import uvloop

        loops |= {"debug": _DebugLoop, "uvloop": uvloop.new_event_loop}
    return loops


class _DebugLoop(asyncio.SelectorEventLoop):
    """In debug mode for good: pytest-asyncio's runner sets the mode of any loop to its own option's."""

    def set_debug(self, enabled: bool) -> None:
        super().set_debug(True)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=BACKENDS)
def reader(request: pytest.FixtureRequest) -> str:
    """The backend of the other end, where two meet."""
    return str(request.param)


@pytest.fixture(scope="session")
def _shared_broker() -> Iterator[SharedBroker]:
    shared = SharedBroker()
    yield shared
    shared.stop()


@pytest.fixture
def embedded_broker(_shared_broker: SharedBroker) -> EmbeddedBroker:
    return _shared_broker.living()


@pytest.fixture(scope="session")
def mosquitto_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    _need_mosquitto()
    broker = Mosquitto(tmp_path_factory.mktemp("mosquitto"))
    yield broker
    broker.stop()


@pytest.fixture(params=["embedded", "mosquitto"])
def broker(request: pytest.FixtureRequest) -> Any:
    """Each real broker there is; shared by all tests, so each test keeps to topics under ``prefix``."""
    return request.getfixturevalue(f"{request.param}_broker")


@pytest.fixture
def own_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Makes a mosquitto for this test alone, to be restarted, frozen or configured."""
    _need_mosquitto()
    made: list[Mosquitto] = []
    count = itertools.count()

    def make(*settings: str, persistence: bool = False) -> Mosquitto:
        made.append(Mosquitto(tmp_path / f"mosquitto{next(count)}", *settings, persistence=persistence))
        return made[-1]

    yield make
    for broker in made:
        broker.stop()


def _need_mosquitto() -> None:
    if PROGRAM is None:
        if os.environ.get("CASCADE_TEST_REQUIRE_MOSQUITTO"):
            pytest.fail("mosquitto is not installed, and CASCADE_TEST_REQUIRE_MOSQUITTO is set")
        pytest.skip("mosquitto is not installed")


@pytest.fixture
def peer() -> Iterator[FakePeer]:
    with FakePeer() as peer:
        yield peer


@pytest.fixture
def new_proxy() -> Iterator[Callable[[Any], Proxy]]:
    """Makes a controllable proxy in front of a broker."""
    made: list[Proxy] = []

    def make(broker: Any) -> Proxy:
        made.append(Proxy((broker.host, broker.port)))
        return made[-1]

    yield make
    for proxy in made:
        proxy.stop()


@pytest.fixture
def prefix() -> str:
    """A topic level of this test's own."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def new_observer() -> Iterator[Callable[..., Observer]]:
    made: list[Observer] = []

    def make(broker: Any, topic_filter: str = "", **options: Any) -> Observer:
        made.append(Observer(broker.host, broker.port, topic_filter, **options))
        return made[-1]

    yield make
    for observer in made:
        observer.close()


@pytest.fixture
async def new_connector(backend: str) -> AsyncIterator[Callable[..., MqttConnector]]:
    """Makes connectors to anything that has ``host`` and ``port``."""
    made: list[MqttConnector] = []

    def make(to: Any, **options: Any) -> MqttConnector:
        # Tests wait for reconnects: the back-off stays short.
        options = {"backend": backend, "reconnect_max_delay": 0.3, **options}
        made.append(MqttConnector(to.host, to.port, **options))
        return made[-1]

    yield make
    for connector in made:
        await connector.disconnect(timeout=0.2)


@pytest.fixture
def connected(new_connector: Callable[..., MqttConnector]) -> Callable[..., Any]:
    """``await connected(to, **options)``: a connector that is connected."""

    async def make(to: Any, **options: Any) -> MqttConnector:
        connector = new_connector(to, **options)
        await connector.connect()
        return connector

    return make
