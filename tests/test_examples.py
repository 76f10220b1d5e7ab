"""The examples as a reader runs them: what they do is told, and they obey."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from commands import in_this_process
from observer import Observer
from waiting import eventually

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# With another broker than the one that they name.
RUN = """
import asyncio, runpy, sys
done = runpy.run_path(sys.argv[1])["main"](port=int(sys.argv[2]))
if done is not None:
    asyncio.run(done)
"""
_PATIENCE_S = 60.0


@contextlib.contextmanager
def process(*command: object, environment: Mapping[str, str], folder: Path | None = None) -> Iterator[Any]:
    """A process of its own, in a group of its own; ended if it does not end."""
    with subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=folder, env=os.environ | environment, start_new_session=True
    ) as started:
        try:
            yield started
        finally:
            if started.poll() is None:
                started.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(_PATIENCE_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, 9)


@pytest.fixture
def environment(backend: str, prefix: str, embedded_broker: Any) -> dict[str, str]:
    return {
        "CASCADE_MQTT_BACKEND": backend,
        "CASCADE_PROJECT_ID": prefix,
        "CASCADE_BROKER": f"{embedded_broker.host}:{embedded_broker.port}",
        "CASCADE_MQTT_CONNECT_TIMEOUT": "30",
    }


class Fleet:
    """What the workers of one project tell, and what they are told."""

    def __init__(self, project: str, broker: Any, new_observer: Any) -> None:
        self._scope, self._broker = f"project:{project}", broker
        self._events: Observer = new_observer(broker, f"cascade/telemetry/+/{project}/+/events")
        self._reports: Observer = new_observer(broker, "cascade/applied/+")

    async def order(self, *words: str) -> float:
        """Give an order; returns when."""
        at = time.time()
        options = ("--broker", f"{self._broker.host}:{self._broker.port}")
        done = await asyncio.to_thread(in_this_process, words[0], self._scope, *words[1:], *options)
        assert (done.returncode, done.stderr) == (0, "")
        return at

    async def obeyed_by(self, workers: int) -> None:
        """Wait until so many report that they obey something here."""
        await eventually(lambda: len(self._obeying()) >= workers, _PATIENCE_S)

    async def told(self, state: str, count: int) -> list[dict[str, Any]]:
        """Wait for so many events of this state, and no more."""
        await eventually(lambda: len(self._of(state)) >= count, _PATIENCE_S)
        assert len(self._of(state)) == count
        return self._of(state)

    def _of(self, state: str) -> list[dict[str, Any]]:
        return [message.json for message in self._events.seen if message.json["body"].get("state") == state]

    def _obeying(self) -> set[str]:
        reports = {message.topic: message.json for message in self._reports.seen if message.payload}
        return {
            topic for topic, told in reports.items() if self._scope in [one["scope"] for one in told["constraints"]]
        }


@pytest.fixture
def fleet(prefix: str, embedded_broker: Any, new_observer: Any) -> Fleet:
    return Fleet(prefix, embedded_broker, new_observer)


@pytest.mark.parametrize(
    ("name", "tasks", "workers"),
    [("plain_asyncio", 10, 1), ("futures_executor", 20, 1), ("dask_cluster", 50, 2)],
)
async def test_it_is_held_by_a_pause_and_tells_what_it_does(name, tasks, workers, environment, embedded_broker, fleet):
    await fleet.order("pause")
    with process("-c", RUN, EXAMPLES / f"{name}.py", embedded_broker.port, environment=environment) as example:
        await fleet.obeyed_by(workers)
        resumed_at = await fleet.order("resume")
        running = await fleet.told("RUNNING", tasks)
        await fleet.told("COMPLETED", tasks)
        assert await asyncio.to_thread(example.wait, _PATIENCE_S) == 0
    assert min(datetime.fromisoformat(event["ts"]).timestamp() for event in running) >= resumed_at
    assert len({event["source"] for event in running}) == workers


async def test_celery_is_held_by_a_pause_and_its_children_tell_what_they_do(environment, fleet, tmp_path):
    (tmp_path / "queue").mkdir()
    environment["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")])
    app = ("-m", "celery", "--app", "celery_prefork", "--quiet", "worker", "--concurrency", 2, "--loglevel", "WARNING")
    await fleet.order("pause")
    with process(*app, environment=environment, folder=tmp_path) as worker:
        await fleet.obeyed_by(1)
        send = "from celery_prefork import square; [square.delay(number) for number in range(10)]"
        with process("-c", send, environment=environment, folder=tmp_path) as sender:
            assert await asyncio.to_thread(sender.wait, _PATIENCE_S) == 0
        resumed_at = await fleet.order("resume")
        running = await fleet.told("RUNNING", 10)
        await fleet.told("COMPLETED", 10)
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, _PATIENCE_S) == 0
    assert min(datetime.fromisoformat(event["ts"]).timestamp() for event in running) >= resumed_at
    assert worker.pid not in {int(event["source"].rpartition("-")[2]) for event in running}


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_it_is_short(example):
    assert len(example.read_text("utf-8").splitlines()) < 60
