"""Publishing while the broker stands still: what a call takes, and how much memory the queue comes to."""

from __future__ import annotations

import os
import signal
from array import array
from itertools import cycle, islice
from time import perf_counter_ns

import pytest

from cascade.connectors.mqtt import MqttConnector

from . import fresh
from .bench import Bench
from .events import TOPIC, workflow
from .percentiles import percentiles

# Twice what the queue's 64 MiB hold.
_EVENTS = 300_000


@pytest.mark.benchmark(group="outage")
def test_outage(backend: str, bench: Bench) -> None:
    bench.figures(backend, lambda: fresh.run(_publish_in_vain, backend, bench.far_end.port, bench.far_end.pid))


def _publish_in_vain(backend: str, port: int, pid: int) -> dict[str, float]:
    connector = MqttConnector("127.0.0.1", port, backend=backend)
    connector.open()
    events = workflow(20_000)
    took = array("q", [1]) * _EVENTS
    before = fresh.resident()
    os.kill(pid, signal.SIGSTOP)
    try:
        for number, event in enumerate(islice(cycle(events), _EVENTS)):
            start = perf_counter_ns()
            connector.publish_nowait(TOPIC, event)
            took[number] = perf_counter_ns() - start
        grown = fresh.resident() - before
    finally:
        os.kill(pid, signal.SIGCONT)
    stats = connector.stats()
    connector.close()
    seconds = (nanoseconds / 1e9 for nanoseconds in took)
    return {
        **percentiles(seconds, "us", 50, 99, 99.9, 100),
        "MiB grown": grown / 2**20,
        "dropped, % of events": 100 * sum(stats.dropped.values()) / _EVENTS,
    }
