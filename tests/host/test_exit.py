"""A process that ends without disconnect: what was published leaves, and the will is sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

import wire
from waiting import eventually_blocking

EVENTS = 2_000
PROGRAM = """
import asyncio, os, signal, sys
from cascade.connectors.mqtt import MqttConnector

async def main():
    connector = MqttConnector("127.0.0.1", {port}, backend={backend!r}, source_id={prefix!r})
    await connector.connect()
    for number in range({events}):
        connector.publish_nowait("{prefix}/out", {{"n": number}}, qos={qos})
    {ending}

asyncio.run(main())
"""


def run(broker: Any, backend: str, prefix: str, *, qos: int = 0, events: int = EVENTS, ending: str = "pass") -> Any:
    program = PROGRAM.format(port=broker.port, backend=backend, prefix=prefix, events=events, qos=qos, ending=ending)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize(
    ("ending", "status"),
    [("pass", 0), ("raise LookupError('the workflow failed')", 1), ("sys.exit(3)", 3)],
    ids=["end", "exception", "sys.exit"],
)
def test_exit_flushes_and_the_will_is_sent(backend, mosquitto_broker, new_observer, prefix, qos, ending, status):
    events = new_observer(mosquitto_broker, f"{prefix}/out")
    will = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    ended = run(mosquitto_broker, backend, prefix, qos=qos, ending=ending)
    assert ended.returncode == status, ended.stderr
    eventually_blocking(lambda: len(events.seen) >= EVENTS)
    assert [message.json["n"] for message in events.seen] == list(range(EVENTS))
    eventually_blocking(lambda: will.payloads == [b'{"status": "offline"}'])
    assert not will.seen[0].retain
    if status == 0:
        assert ended.stderr == ""


def test_disconnect_sends_no_will(backend, mosquitto_broker, new_observer, prefix):
    events = new_observer(mosquitto_broker, f"{prefix}/#")
    will = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    ended = run(mosquitto_broker, backend, prefix, ending="await connector.disconnect()")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    eventually_blocking(lambda: len(events.seen) == EVENTS)
    mark = new_observer(mosquitto_broker)
    mark.publish(f"cascade/status/{prefix}", "mark")
    eventually_blocking(lambda: will.payloads)
    assert will.payloads == [b"mark"]


def test_a_frozen_broker_does_not_hold_the_exit(backend, peer, prefix):
    """The exit waits for the flush no longer than a disconnect would."""
    peer.puback = False
    ended = run(peer, backend, prefix, qos=1, events=1)
    assert ended.returncode == 0, ended.stderr
    assert len(peer.published()) == 1
    assert peer.of(wire.DISCONNECT) == []


def test_a_connector_that_never_connected_does_not_hold_the_exit(backend):
    program = f"from cascade.connectors.mqtt import MqttConnector\nMqttConnector('127.0.0.1', backend={backend!r})"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_sigterm_with_a_handler_flushes(backend, mosquitto_broker, new_observer, prefix):
    """The default action of a signal ends a process at once; a handler that exits gives the flush its time."""
    events = new_observer(mosquitto_broker, f"{prefix}/out")
    ending = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); os.kill(os.getpid(), signal.SIGTERM)"
    ended = run(mosquitto_broker, backend, prefix, qos=1, ending=ending)
    assert ended.returncode == 0, ended.stderr
    eventually_blocking(lambda: len(events.seen) == EVENTS)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_sigkill_sends_the_will(backend, mosquitto_broker, new_observer, prefix):
    will = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    ended = run(mosquitto_broker, backend, prefix, ending="os.kill(os.getpid(), signal.SIGKILL)")
    assert ended.returncode == -signal.SIGKILL
    eventually_blocking(lambda: will.payloads == [b'{"status": "offline"}'])
