"""multiprocessing, and servers that fork their workers: each process publishes by itself."""

from __future__ import annotations

import os
import pickle
from collections import defaultdict

import pytest

from cascade.connectors.mqtt import MqttConnector
from waiting import eventually_blocking

METHODS = ["fork", "spawn", "forkserver"] if hasattr(os, "fork") else ["spawn"]


@pytest.mark.parametrize("method", METHODS)
def test_workers_of_multiprocessing(run_program, mosquitto_broker, new_observer, prefix, method):
    """All that they publish arrives, whether they close or just end; those that just end send the will."""
    events = new_observer(mosquitto_broker, f"{prefix}/#")
    will = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    (said,) = run_program("workers", mosquitto_broker, method=method, prefix=prefix, source=prefix).said
    assert said == {"exits": [0, 0, 0]}
    eventually_blocking(lambda: len(events.seen) == 200)
    by_topic = defaultdict(list)
    for message in events.seen:
        by_topic[message.topic].append(int(message.payload))
    wanted = [f"{prefix}/{name}" for name in ("0", "1", "2", "parent")]
    assert by_topic == {topic: list(range(50)) for topic in wanted}
    eventually_blocking(lambda: len(will.seen) >= 2)
    assert len(will.seen) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_workers_that_publish_synchronously(run_program, peer):
    *workers, master = run_program("prefork", peer, workers=4).said
    assert master == {"master": 0}
    assert [(worker["left"], worker["acknowledged"]) for worker in workers] == [(0, 20)] * 4
    assert len({worker["source"] for worker in workers}) == 4, "the source names the process"
    assert peer.connections == 4
    for worker in workers:
        topic = f"worker/{worker['pid']}"
        numbers = [packet.payload for packet in peer.published() if packet.topic == topic]
        assert numbers == [b"%d" % number for number in range(20)]


def test_a_connector_is_not_sent_to_another_process(backend):
    """It is made anew there: what it holds is one process's."""
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(MqttConnector("127.0.0.1", backend=backend))
