"""Unsigned constraints: readers and controllers of both forms come to the same state, whoever was away when."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_fleet import NewController, OldController, OldReader, Reader, SimulatedBroker, all_of

from cascade.connectors.mqtt.constraints.reading import read
from cascade.connectors.mqtt.constraints.retained_board import RetainedBoard
from cascade.connectors.mqtt.constraints.signing import Refusal

SCOPES = ["global", "task:a/b"]
KINDS = ["pause", "concurrency", "rate_limit"]
commands = st.lists(
    st.tuples(
        st.sampled_from(["put", "resume", "resume all"]),
        st.sampled_from(SCOPES),
        st.sampled_from(KINDS),
        st.integers(0, 3),
    ),
    max_size=12,
)


@given(commands, st.randoms(use_true_random=False))
def test_controllers_of_the_new_form_are_read_alike_by_all(orders: Any, chance: random.Random):
    """Readers that stay, that come back in the middle of a command, that come last; and there is no gap."""
    broker, model = SimulatedBroker(), {}
    controller, stays, comes = NewController(broker), Reader(broker), Reader(broker)
    away = False
    for what, scope, kind, limit in orders:
        before = dict(model)
        if what == "put":
            model[scope, kind] = {"limit": limit}
            steps = controller.put(scope, kind, {"limit": limit})
        else:
            model = {
                key: params for key, params in model.items() if key[0] != scope or (what == "resume" and key[1] != kind)
            }
            steps = controller.resume(scope, [kind] if what == "resume" else None)
        lasting = {key: params for key, params in before.items() if model.get(key) == params}
        for _ in steps:
            assert lasting.items() <= stays.state.items(), "what stays in force had a gap"
            if chance.random() < 0.3:
                if away:
                    comes.connect(lambda topics: chance.sample(topics, len(topics)))
                    comes.complete()
                    assert lasting.items() <= comes.state.items(), "there was a gap for who came back"
                else:
                    comes.disconnect()
                away = not away
        assert stays.state == model
    if away:
        comes.connect()
        comes.complete()
    late = Reader(broker)
    broker.pass_time()
    assert stays.state == comes.state == late.state == model


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["old put", "old resume", "new put", "new resume", "new resume all", "reconnect"]),
            st.sampled_from(SCOPES),
            st.sampled_from(KINDS),
            st.integers(0, 3),
        ),
        max_size=15,
    )
)
def test_a_mixed_fleet_agrees(orders: Any):
    """After each command the engine's old reader and ours have the same in force, also where ours reconnects."""
    broker = SimulatedBroker()
    old, new = OldController(broker), NewController(broker)
    old_reader, new_reader = OldReader(broker), Reader(broker)
    for what, scope, kind, limit in orders:
        scope = scope.replace("/", "_")  # the old reader cannot find its way back from a scope with a slash
        match what:
            case "old put":
                old.put(scope, kind, {"limit": limit})
            case "old resume":
                old.resume(scope)
            case "new put":
                all_of(new.put(scope, kind, {"limit": limit}))
            case "new resume":
                all_of(new.resume(scope, [kind]))
            case "new resume all":
                all_of(new.resume(scope, None))
            case "reconnect":
                new_reader.disconnect()
                new_reader.connect(reversed)
                new_reader.complete()
        broker.pass_time()
        state = new_reader.state
        assert state == old_reader.state
        if what.endswith("put"):
            assert state[scope, kind] == {"limit": limit}
        elif what == "new resume":
            assert (scope, kind) not in state
        elif what != "reconnect":
            assert not [key for key in state if key[0] == scope]


@pytest.fixture
def broker() -> SimulatedBroker:
    return SimulatedBroker()


def test_all_types_of_a_scope_reach_a_late_joiner(broker):
    controller = NewController(broker)
    for kind in KINDS:
        all_of(controller.put("global", kind, {}))
    assert Reader(broker).state == {("global", kind): {} for kind in KINDS}


def test_a_limit_of_an_older_controller_is_adopted_before_it_is_overwritten(broker):
    OldController(broker).put("global", "concurrency", {"limit": 2})
    all_of(NewController(broker).put("global", "pause", {}))
    assert Reader(broker).state == {("global", "concurrency"): {"limit": 2}, ("global", "pause"): {}}


def test_what_an_older_controller_has_lifted_stays_lifted(broker):
    """It does not know the typed topic, which goes on saying pause; who saw the lift remembers it over reconnects."""
    reader, old = Reader(broker), OldController(broker)
    all_of(NewController(broker).put("global", "pause", {}))
    old.resume("global")
    assert reader.state == {}
    late = Reader(broker)
    old.put("global", "concurrency", {"limit": 1})
    for _ in range(2):
        reader.disconnect()
        reader.connect()
        reader.complete()
        assert reader.state == {("global", "concurrency"): {"limit": 1}}
    late.board.settle(broker.now + 5)
    all_of(NewController(broker).put("global", "pause", {"again": 1}))
    assert reader.state["global", "pause"] == {"again": 1}


def test_a_late_joiner_does_not_take_a_lifted_pause_from_its_typed_topic(broker):
    all_of(NewController(broker).put("global", "pause", {}))
    OldController(broker).resume("global")
    late = Reader(broker)
    broker.pass_time()
    assert late.state == {}
    all_of(NewController(broker).put("global", "concurrency", {"limit": 1}))
    assert Reader(broker).state == {("global", "concurrency"): {"limit": 1}}


def test_what_was_lifted_while_away_is_lifted_here(broker):
    reader, new, old = Reader(broker), NewController(broker), OldController(broker)
    all_of(new.put("global", "pause", {}))
    all_of(new.put("task:a", "concurrency", {"limit": 1}))
    old.put("task:b", "pause", {})
    reader.disconnect()
    all_of(new.resume("global", ["pause"]))
    old.resume("task:b")
    reader.connect()
    assert len(reader.state) == 3, "nothing is lifted before the round is through"
    reader.complete()
    assert reader.state == {("task:a", "concurrency"): {"limit": 1}}


def test_a_round_that_broke_off_lifts_nothing(broker):
    reader = Reader(broker)
    all_of(NewController(broker).put("global", "pause", {}))
    reader.disconnect()
    reader.board.begin_round(broker.now)
    reader.get("cascade/constraints/task/x", {"id": "p", "scope": "task:x", "type": "pause", "params": {}})
    reader.board.begin_round(broker.now)
    reader.board.end_round(broker.now, complete=False)
    assert reader.state.keys() == {("global", "pause"), ("task:x", "pause")}


def test_what_cannot_be_read_lifts_nothing_when_it_comes_again(broker):
    """A limit that an unreadable one took the place of stays in force, over reconnects too."""
    reader = Reader(broker)
    all_of(NewController(broker).put("global", "concurrency", {"limit": 1}))
    all_of(NewController(broker).put("global", "pause", {}))
    for topic in ("cascade/constraints/global/@concurrency", "cascade/constraints/global"):
        broker.retained[topic] = {"id": "x", "scope": "global", "type": "concurrency", "params": "few"}
    reader.disconnect()
    reader.connect()
    reader.complete()
    assert reader.state == {("global", "concurrency"): {"limit": 1}, ("global", "pause"): {}}
    late = Reader(broker)
    assert late.state == {("global", "pause"): {}}


def test_a_controller_that_dies_in_the_middle_of_a_resume_leaves_nothing_behind(broker):
    """The scope's topic is empty and stays so: that is how an older controller lifts."""
    reader, new = Reader(broker), NewController(broker)
    for kind in ("pause", "concurrency"):
        all_of(new.put("global", kind, {}))
    for _ in new.resume("global", ["pause"]):
        if "cascade/constraints/global" not in broker.retained:
            break
    late = Reader(broker)
    assert reader.state == late.state == {("global", "concurrency"): {}}
    broker.pass_time()
    assert reader.state == late.state == {}


def test_memory_is_bounded():
    board = RetainedBoard()

    def pause(number: int) -> None:
        message = {"id": "c", "scope": f"task:{number}", "type": "pause", "params": {}}
        board.hear(read(f"cascade/constraints/task/{number}", message, None, now=0), 0)

    for number in range(10_000):
        pause(number)
    with pytest.raises(Refusal, match="already") as refusal:
        pause(10_000)
    assert refusal.value.reason == "too_many"
    board.hear(read("cascade/constraints/task/7", {}, None, now=0), 0)
    pause(10_000)
    assert len(board.in_force(0)) == 10_000
