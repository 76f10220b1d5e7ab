"""Programs of their own: what a host does to a connector often ends the process, or forks it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cascade.connectors.mqtt import MqttConnector

PROGRAMS = Path(__file__).parent / "programs"
# Forking with threads is what these tests are about (Python 3.12 and later warn of it).
QUIET = ("-W", "ignore:This process:DeprecationWarning")


class Ended(NamedTuple):
    """A program that has ended, and what it said: one JSON object a line."""

    status: int
    said: list[dict[str, Any]]
    errors: str


class Program:
    """A program that runs; ``heard`` reads what it says, ``end`` waits for it."""

    def __init__(self, name: str, python: tuple[str, ...], given: dict[str, Any], **pipes: Any) -> None:
        command = [sys.executable, *QUIET, *python, str(PROGRAMS / f"{name}.py"), json.dumps(given)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **pipes
        )

    def heard(self) -> dict[str, Any]:
        """The next thing it says; waits for it."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else pytest.fail(f"it ended instead:\n{self.end().errors}")

    def tell(self, line: str = "") -> None:
        """A line for its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self, timeout: float = 90.0) -> Ended:
        out, errors = self.process.communicate(timeout=timeout)
        return Ended(self.process.returncode, [json.loads(line) for line in out.splitlines()], errors)


@pytest.fixture
def start_program(backend: str) -> Iterator[Callable[..., Program]]:
    """``start_program(name, to, **given)`` runs tests/host/programs/{name}.py for this backend."""
    started: list[Program] = []

    def start(
        name: str, to: Any = None, *, python: tuple[str, ...] = (), pipes: dict[str, Any] | None = None, **given: Any
    ) -> Program:
        facts = {"backend": backend, "port": to.port if to is not None else 1, **given}
        started.append(Program(name, python, facts, **(pipes or {})))
        return started[-1]

    yield start
    for program in started:
        if program.process.poll() is None:
            program.process.kill()
        program.process.communicate()


@pytest.fixture
def run_program(start_program: Callable[..., Program]) -> Callable[..., Ended]:
    """The same, until it has ended; what it says must not be a failure, unless ``status`` says so."""

    def run(name: str, to: Any = None, *, status: int = 0, **given: Any) -> Ended:
        ended = start_program(name, to, **given).end()
        assert ended.status == status, ended.errors
        return ended

    return run


@pytest.fixture
def connected_here(backend: str) -> Iterator[Callable[..., MqttConnector]]:
    """``connected_here(to, **options)``: a connector opened without an event loop."""
    made: list[MqttConnector] = []

    def make(to: Any, **options: Any) -> MqttConnector:
        made.append(MqttConnector(to.host, to.port, **{"backend": backend, "reconnect_max_delay": 0.3, **options}))
        made[-1].open(10)
        return made[-1]

    yield make
    for connector in made:
        connector.close(0.2)
