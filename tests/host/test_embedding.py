"""Interpreters that are strict, are left in the middle, or are not the main one."""

from __future__ import annotations

import wire


def test_development_mode_with_warnings_as_errors(start_program, peer, backend):
    """No ResourceWarning, no coroutine that nobody awaited, no task that is destroyed while it is pending."""
    # Not ours: what paho and aiomqtt do at their import.
    theirs = ("-W", "ignore::DeprecationWarning:paho", "-W", "ignore::DeprecationWarning:aiomqtt")
    program = start_program("tidy", peer, python=("-X", "dev", "-W", "error", *theirs))
    assert program.heard() == {"ready": True}
    peer.send(wire.publish("a/b", b"1") + wire.publish("b", b"2"))
    ended = program.end()
    # In this mode asyncio also tells of every step that took long on a busy machine.
    errors = [line for line in ended.errors.splitlines() if not line.startswith("Executing <")]
    assert (ended.status, errors) == (0, [])
    assert ended.said == [{"got": [1, 2]}]
    assert peer.open_connections == 0


def test_daemon_threads_at_the_end(run_program, peer):
    """They publish while the interpreter is taken down: no crash, no hang."""
    ended = run_program("daemon_threads", peer)
    assert ended.said == [{"ends": True}]
    assert "Traceback" not in ended.errors
    assert peer.published()[0].topic == "first"


def test_an_isolated_subinterpreter(run_program, peer, backend):
    """Not supported, and no harm: the connector of the main interpreter goes on. The fallback names the reason;
    the compiled core loads where Python lets it (3.11), and is refused from 3.12 on."""
    *inner, outer = run_program("subinterpreter", peer).said
    assert outer == {"left": 0}
    why = "the compiled core cannot be loaded" if backend == "native" else "the I/O thread cannot be started"
    assert all(said["refused"].startswith(why) for said in inner)
    assert inner or backend == "native"
