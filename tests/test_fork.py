"""fork(): the child has a connection of its own, and the parent does not notice."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

import wire
from waiting import eventually_blocking

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")

PROGRAM = """
import os, sys, warnings
from cascade.connectors.mqtt import MqttConnector
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what this is about

connector = MqttConnector("127.0.0.1", {port}, backend={backend!r}, after_fork={after_fork!r})
connector.open(10)
connector.publish_nowait("parent", "before", qos=1)
pid = os.fork()
if pid == 0:
    queued = [connector.publish_nowait("child", str(number), qos=1) for number in range(100)]
    connector.close(10)
    stats = connector.stats()
    print(sum(queued), stats.acknowledged, stats.rejected.get("forked", 0), flush=True)
    sys.exit(0)
for number in range(100):
    connector.publish_nowait("parent", str(number), qos=1)
status = os.waitpid(pid, 0)[1]
connector.publish_nowait("parent", "after", qos=1)
connector.close(10)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run(peer: Any, backend: str, after_fork: str) -> str:
    program = PROGRAM.format(port=peer.port, backend=backend, after_fork=after_fork)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def _payloads(peer: Any, topic: str) -> list[bytes]:
    return [packet.payload for packet in peer.published() if packet.topic == topic]


def test_the_child_opens_a_connection_of_its_own(backend, peer):
    assert run(peer, backend, "reopen") == "100 100 0"
    numbers = [b"%d" % number for number in range(100)]
    eventually_blocking(lambda: len(_payloads(peer, "child")) == 100)
    assert _payloads(peer, "child") == numbers
    assert _payloads(peer, "parent") == [b"before", *numbers, b"after"]
    parent, child = peer.of(wire.CONNECT)
    assert parent.body[10:34] != child.body[10:34]
    assert peer.connections == 2
    assert len(peer.of(wire.DISCONNECT)) == 2


def test_after_fork_close_refuses_and_counts(backend, peer):
    assert run(peer, backend, "close") == "0 0 100"
    assert _payloads(peer, "child") == []
    assert _payloads(peer, "parent")[-1] == b"after"
    assert peer.connections == 1


ORPHAN = """
import os, signal, sys, warnings
from cascade.connectors.mqtt import MqttConnector
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what this is about

connector = MqttConnector("127.0.0.1", {port}, backend={backend!r})
connector.open(10)
if os.fork() == 0:
    print("child", flush=True)
    os.read({gate}, 1)  # until the test has seen enough; stdin is the parent's alone
    os._exit(0)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_child_does_not_hide_that_the_parent_died(backend, peer):
    gate, opener = os.pipe()
    program = ORPHAN.format(port=peer.port, backend=backend, gate=gate)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "pass_fds": (gate,)}
    with (
        subprocess.Popen([sys.executable, "-c", program], **pipes) as parent,
        os.fdopen(gate), os.fdopen(opener, "w"),
    ):  # fmt: skip
        assert parent.stdout is not None
        assert parent.stdin is not None
        assert parent.stdout.readline() == "child\n"
        assert peer.open_connections == 1
        parent.stdin.write("\n")
        parent.stdin.flush()
        eventually_blocking(lambda: peer.open_connections == 0)
        assert not peer.of(wire.DISCONNECT)
