"""Real brokers, one at a time; those that are not here are named at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from kinds import KINDS, Started

from embedded import answers

# The two that every checkout of this project can have; `make test-brokers` asks for all.
ASKED = os.environ.get("CASCADE_TEST_BROKERS", "mosquitto,rumqttd").split(",")
TRIED = [kind for kind in KINDS if kind.name in ASKED or ASKED == ["all"]]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    here = [kind.name for kind in TRIED if not kind.absent()]
    terminalreporter.write_line(f"brokers tested: {', '.join(here) or 'none'}")
    for kind in TRIED:
        if why := kind.absent():
            terminalreporter.write_line(f"broker not present: {kind.name}: {why}", yellow=True)


@pytest.fixture(scope="session", params=TRIED, ids=lambda kind: kind.name)
def _started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Started]]:
    kind = request.param
    if why := kind.absent():
        required = kind.name == "mosquitto" and os.environ.get("CASCADE_TEST_REQUIRE_MOSQUITTO")
        (pytest.fail if required else pytest.skip)(why)
    broker = kind.start(tmp_path_factory.mktemp(kind.name))
    yield kind.name, broker
    broker.stop()


@pytest.fixture
def real(_started: tuple[str, Started]) -> Any:
    """A real broker; shared by tests, so each keeps to topics under ``prefix``."""
    _, broker = _started
    if not answers(broker):
        broker.restart()
    return broker


@pytest.fixture
def name(_started: tuple[str, Started]) -> str:
    """Its name."""
    return _started[0]
