"""fork(): the child has a connection of its own, and the parent does not notice."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from typing import Any

import pytest

import wire
from waiting import eventually_blocking

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")

NUMBERS = [b"%d" % number for number in range(100)]


def payloads(peer: Any, topic: str) -> list[bytes]:
    return [packet.payload for packet in peer.published() if packet.topic == topic]


@pytest.mark.parametrize("first", ["child", "parent"])
def test_the_child_opens_a_connection_of_its_own(run_program, peer, first):
    """Whichever of the two ends first."""
    (child,) = run_program("fork_once", peer, options={"after_fork": "reopen"}, first=first).said
    assert child == {"queued": 100, "acknowledged": 100, "rejected": {}}
    eventually_blocking(lambda: len(payloads(peer, "child")) == 100)
    assert payloads(peer, "child") == NUMBERS
    assert payloads(peer, "parent") == [b"before", *NUMBERS, b"after"]
    one, other = peer.of(wire.CONNECT)
    assert one.body[10:34] != other.body[10:34], "the identifier is its own"
    assert peer.connections == 2
    eventually_blocking(lambda: len(peer.of(wire.DISCONNECT)) == 2)


@pytest.mark.parametrize("first", ["child", "parent"])
def test_after_fork_close_refuses_and_counts(run_program, peer, first):
    (child,) = run_program("fork_once", peer, options={"after_fork": "close"}, first=first).said
    assert child == {"queued": 0, "acknowledged": 0, "rejected": {"forked": 100}}
    assert payloads(peer, "child") == []
    assert payloads(peer, "parent") == [b"before", *NUMBERS, b"after"]
    assert peer.connections == 1


def test_a_given_identifier_is_not_used_twice(run_program, peer):
    run_program("fork_once", peer, options={"identifier": "mine"}, first="child")
    identifiers = [packet.body[12 : 12 + packet.body[11]] for packet in peer.of(wire.CONNECT)]
    assert identifiers[0] == b"mine"
    assert identifiers[1].startswith(b"mine-")


@pytest.mark.parametrize("first", ["child", "parent"])
def test_forks_under_load(run_program, peer, backend, first):
    """Two threads publish all the while; no child hangs, and nobody's events are lost or sent twice."""
    children = 8 if first == "parent" else 40 if backend == "native" else 12
    (parent,) = run_program("fork_under_load", peer, children=children, first=first).said
    assert parent["left"] == 0
    for which, count in enumerate(parent["counts"]):
        assert payloads(peer, f"parent/{which}") == [b"%d" % number for number in range(count)]
    topics = Counter(packet.topic for packet in peer.published() if packet.topic.startswith("child"))
    assert topics == {f"child/{number}": 5 for number in range(children)}
    assert peer.connections == 1 + children


def test_a_child_of_a_child(run_program, peer):
    said = run_program("fork_tree", peer).said
    assert [(one["depth"], one["acknowledged"]) for one in said] == [(3, 2), (2, 2), (1, 2), (0, 2)]
    assert len({one["epoch"] for one in said}) == 4
    for depth in range(4):
        assert payloads(peer, f"depth/{depth}") == [b"before", b"after"]
    assert peer.connections == 4


def test_epoch_and_seq_over_a_fork(run_program, mosquitto_broker, new_observer, prefix):
    """An event is known by source, epoch, run and seq: the child begins anew, the parent goes on unbroken."""
    observer = new_observer(mosquitto_broker, f"cascade/telemetry/{prefix}/#")
    run_program("fork_telemetry", mosquitto_broker, org_id=prefix)
    eventually_blocking(lambda: len(observer.seen) >= 20)
    events = {who: [seen.json for seen in observer.seen if seen.json["body"]["task_name"] == who] for who in NAMES}
    assert [event["seq"] for event in events["parent"]] == list(range(15))
    assert [event["seq"] for event in events["child"]] == list(range(5))
    (of_parent,), (of_child,) = ({(event["epoch"], event["source"]) for event in events[who]} for who in NAMES)
    assert of_parent[0] != of_child[0]
    assert of_parent[1] != of_child[1], "the source names the process"


NAMES = ("parent", "child")


def test_the_child_does_not_hide_that_the_parent_died(start_program, peer):
    gate, opener = os.pipe()
    with os.fdopen(gate), os.fdopen(opener, "w"):
        parent = start_program("orphan", peer, gate=gate, pipes={"pass_fds": (gate,)})
        assert parent.heard()["child"]
        assert peer.open_connections == 1
        parent.tell()
        eventually_blocking(lambda: peer.open_connections == 0)
        assert not peer.of(wire.DISCONNECT)
    assert parent.process.wait(20) == -9


def test_programs_started_by_a_connected_program_inherit_nothing(connected_here, peer):
    """``subprocess`` closes descriptors, but ``close_fds=False`` is a choice that a host may make."""
    connector = connected_here(peer)
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        connector.publish_nowait("t", "x", qos=1)
        assert connector.flush(10) == 0
        connector.close(5)
        eventually_blocking(lambda: peer.open_connections == 0)
    finally:
        child.kill()
        child.wait()


def test_a_method_that_was_taken_before_the_fork(run_program, peer):
    """It publishes to the process it is called in. A call whose hook forks belongs to the parent."""
    (child,) = run_program("fork_kept_method", peer).said
    assert child == {"queued": [True, True], "acknowledged": 2}
    topics = ["before", "first", "second", "in a hook", "after the hook"]
    assert Counter(packet.topic for packet in peer.published()) == dict.fromkeys(topics, 1)
    assert payloads(peer, "in a hook") == [b'"parent"']


def test_a_child_does_not_take_back_what_its_parent_obeys(run_program, peer):
    assert run_program("fork_synchronised", peer).said == [{"child": "left"}, {"parent": "left"}]
    eventually_blocking(lambda: len(peer.of(wire.DISCONNECT)) == 2)
    told = [(one.topic, bool(one.payload)) for one in peer.published()]
    report = "cascade/applied/parent"
    assert told == [(report, True), ("child", True), ("parent", True), (report, False)]


def test_subscriptions_stay_with_the_parent(start_program, peer):
    """Handles and iterators that the child inherits may be ended there; the parent's go on."""
    program = start_program("fork_subscribed", peer)
    assert program.heard() == {"child": "unsubscribed"}
    peer.send(wire.publish("a", b"1"))
    assert program.heard() == {"parent": 1}
    assert program.end().status == 0
    assert peer.of(wire.UNSUBSCRIBE) == []
