"""A process that ends without disconnect: what was published leaves, and the will is sent."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

import wire
from waiting import eventually_blocking

EVENTS = [b"%d" % number for number in range(500)]
# How it ends, whether in an event loop, its exit status, and what it says about that on standard error.
ENDINGS = [
    ("end", True, 0, ""),
    ("end", False, 0, ""),
    ("exception", True, 1, "LookupError: the workflow failed"),
    ("sys.exit", True, 5, ""),
    ("SIGINT", False, -signal.SIGINT, "KeyboardInterrupt"),
    ("SIGTERM handled", True, 4, ""),
    ("sys.exit in a thread", False, 0, ""),
    ("a thread goes on", True, 0, ""),
    ("at exit", False, 0, ""),
]


@pytest.mark.parametrize(
    ("ending", "loop", "status", "says"),
    [pytest.param(*ending, id=ending[0] if ending[1] else f"{ending[0]}, no loop") for ending in ENDINGS],
)
def test_exit_flushes_and_the_will_is_sent(
    run_program, mosquitto_broker, new_observer, prefix, loop, ending, status, says
):
    """Also what a thread, or a function that was registered with atexit later, publishes at the end."""
    seen = new_observer(mosquitto_broker, f"{prefix}/#")
    will = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    ended = run_program("ends", mosquitto_broker, status=status, ending=ending, loop=loop, prefix=prefix)
    assert says in ended.errors
    assert bool(says) == bool(ended.errors), ended.errors
    more = 2 if ending in ("sys.exit in a thread", "a thread goes on", "at exit") else 0
    eventually_blocking(lambda: len(seen.seen) >= 500 + more)
    for qos in (0, 1):
        out = [seen.payload for seen in seen.seen if seen.topic == f"{prefix}/out" and seen.qos == qos]
        assert out == EVENTS[qos::2], "in order at each QoS"
    assert len(seen.seen) == 500 + more
    eventually_blocking(lambda: will.payloads == [b'{"status": "offline"}'])
    assert not will.seen[0].retain


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(("ending", "status"), [("SIGTERM", -signal.SIGTERM), ("os._exit", 7)])
def test_what_leaves_python_no_time_is_not_flushed(
    start_program, mosquitto_broker, new_observer, prefix, ending, status
):
    """The default action of a signal, and ``os._exit``: the will is sent, the queue may be lost; no core, no hang."""
    will = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    ended = start_program("ends", mosquitto_broker, ending=ending, loop=True, prefix=prefix).end()
    assert (ended.status, ended.errors) == (status, "")
    eventually_blocking(lambda: will.payloads == [b'{"status": "offline"}'])


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_sigkill_sends_the_will(start_program, mosquitto_broker, new_observer, prefix):
    will = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    program = start_program("stays", mosquitto_broker, prefix=prefix)
    assert program.heard() == {"connected": True}
    program.process.kill()
    eventually_blocking(lambda: will.payloads == [b'{"status": "offline"}'])


def test_disconnect_sends_no_will(start_program, mosquitto_broker, new_observer, prefix):
    events = new_observer(mosquitto_broker, f"{prefix}/#")
    will = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    program = start_program("stays", mosquitto_broker, prefix=prefix)
    assert program.heard() == {"connected": True}
    program.tell("disconnect")
    ended = program.end()
    assert (ended.status, ended.errors) == (0, "")
    eventually_blocking(lambda: events.payloads == EVENTS)
    mark = new_observer(mosquitto_broker)
    mark.publish(f"cascade/status/{prefix}", "mark")
    eventually_blocking(lambda: will.payloads)
    assert will.payloads == [b"mark"]


def test_a_broker_that_does_not_answer_does_not_hold_the_exit(run_program, peer, prefix):
    """The exit waits for the flush no longer than a disconnect would."""
    peer.puback = False
    began = time.monotonic()
    run_program("ends", peer, ending="end", loop=True, prefix=prefix)
    # 2 s and the start of the program; far more is allowed to a machine that is busy with other tests.
    assert time.monotonic() - began < 20
    assert len(peer.published()) == 500
    assert peer.of(wire.DISCONNECT) == []


def test_connectors_that_were_not_connected_do_not_hold_the_exit(run_program):
    ended = run_program("never_connected")
    assert "publish before connect() is ignored" in ended.errors
    assert len(ended.errors.splitlines()) == 1


def test_ctrl_c_reaches_the_program_and_then_the_broker(start_program, mosquitto_broker, new_observer, prefix):
    """SIGINT from outside, while the loop runs: asyncio cancels the main task, and the exit flushes."""
    seen: Any = new_observer(mosquitto_broker, f"{prefix}/#")
    program = start_program("stays", mosquitto_broker, prefix=prefix)
    assert program.heard() == {"connected": True}
    program.process.send_signal(signal.SIGINT)
    ended = program.end()
    assert ended.status == -signal.SIGINT
    assert "KeyboardInterrupt" in ended.errors
    eventually_blocking(lambda: seen.payloads == EVENTS)
