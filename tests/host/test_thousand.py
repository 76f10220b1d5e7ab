"""A thousand connectors in one process: threads, memory, descriptors."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

LIMIT = "too many open files: raise the limit of this process (ulimit -n)"
PROCESS_BUDGET = 256 * 1024 * 1024


def test_a_thousand_connectors(run_program, own_mosquitto, backend):
    """One I/O thread, and one more at most while they dial."""
    connected, closed = run_program("thousand", own_mosquitto(), host="localhost").said
    assert connected["more_threads"] <= 2
    if backend == "native":
        # Python names its threads for itself alone.
        assert connected["named"] == ["cascade-mqtt-io"]
    assert (connected["left"], connected["connected"], connected["acknowledged"]) == (0, 1_000, 1_000)
    assert closed == {"connected": 0}


@pytest.mark.parametrize("backend", ["native"])
@pytest.mark.parametrize("broker_is", ["unreachable", "frozen"])
def test_a_thousand_connectors_share_one_budget(start_program, own_mosquitto, broker_is):
    """400 MiB are published; what is held stays under the process's 256 MiB, and every event is accounted for."""
    broker = own_mosquitto()
    if broker_is == "unreachable":
        broker.stop()
    program = start_program("flooded", broker, connects=broker_is == "frozen")
    assert program.heard() == {"connected": 1_000 if broker_is == "frozen" else 0}
    if broker_is == "frozen":
        broker.freeze()
    program.tell()
    said = program.heard()
    assert said["queued_bytes"] <= PROCESS_BUDGET
    assert said["queued_bytes"] > PROCESS_BUDGET * 0.8, "it is the budget that bounds them"
    assert said["grown"] <= PROCESS_BUDGET * 1.1
    assert said["submitted"] == said["accounted"] == 50_000
    assert said["named"] == ["cascade-mqtt-io"]
    assert program.end().status == 0


def test_more_connectors_than_descriptors(start_program, own_mosquitto):
    """It says what to do, those that are connected go on, and the others follow when descriptors are free."""
    program = start_program("few_files", own_mosquitto())
    said = program.heard()
    assert 10 < said["connected"] < 60
    assert said["errors"] == [LIMIT]
    program.tell()
    ended = program.end()
    assert ended.status == 0, ended.errors
    assert LIMIT in ended.errors
