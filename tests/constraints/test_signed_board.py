"""Signed constraints: the numbers decide, in whatever order messages come, and nobody can play them again."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.connectors.mqtt import GlobalConstraint, SigningKey
from cascade.connectors.mqtt.constraints.plain_commands import Publication, renewed
from cascade.connectors.mqtt.constraints.reading import read
from cascade.connectors.mqtt.constraints.signed_board import SignedBoard
from cascade.connectors.mqtt.constraints.signed_commands import Pen, SignedCommands
from cascade.connectors.mqtt.constraints.signing import Refusal

KEY = SigningKey.generate("k")
NOW = 1_800_000_000.0
Heard = tuple[str, dict[str, Any]]


class Fleet:
    """A signing controller and all it has published; what is retained is the last of each topic."""

    def __init__(self, ttl: float = 3_600.0) -> None:
        self.pen = Pen(KEY, ttl)
        self.published: list[Publication] = []

    @property
    def retained(self) -> list[Publication]:
        return list({one.topic: one for one in self.published}.values())

    def put(self, scope: str, kind: str, params: dict[str, Any], now: float = NOW, until: float | None = None) -> None:
        constraint = renewed(GlobalConstraint(f"{kind}-{scope}", scope, kind, params, until))
        self.published += self._read(now).put(scope, [constraint], now)

    def lift(self, scope: str, kinds: list[str], now: float = NOW) -> None:
        self.published += self._read(now).lift(scope, kinds, now)

    def _read(self, now: float) -> SignedCommands:
        commands = SignedCommands(self.pen)
        for one in self.retained:
            hear(commands.board, one, now)
        return commands


def hear(board: SignedBoard, one: Publication, now: float = NOW) -> None:
    assert one.payload
    board.hear(read(one.topic, one.payload, {KEY.id: KEY.secret}.get, now=now), now)


def state(board: SignedBoard, now: float = NOW) -> dict[tuple[str, str], Any]:
    return {(one.scope, one.type): dict(one.params) for one in board.in_force(now)}


def reason(board: SignedBoard, one: Publication, now: float = NOW) -> str:
    with pytest.raises(Refusal) as refusal:
        hear(board, one, now)
    return refusal.value.reason


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(["global", "task:a"]), st.sampled_from(["pause", "concurrency"])),
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_in_any_order_the_same_is_in_force(orders: Any, chance: random.Random):
    """Live, from what is retained, and with messages that come late and twice; a refusal changes nothing."""
    fleet, live, model = Fleet(), SignedBoard(), {}
    for number, (puts, scope, kind) in enumerate(orders):
        begin = len(fleet.published)
        if puts:
            model[scope, kind] = {"limit": number}
            fleet.put(scope, kind, {"limit": number})
        else:
            model.pop((scope, kind), None)
            fleet.lift(scope, [kind])
        for one in fleet.published[begin:]:
            hear(live, one)
        assert state(live) == model
    late, muddled = SignedBoard(), SignedBoard()
    for one in chance.sample(fleet.retained, len(fleet.retained)):
        hear(late, one)
    for one in [*chance.choices(fleet.published, k=2 * len(fleet.published)), *fleet.published] if orders else []:
        with suppress(Refusal):  # replayed
            hear(muddled, one)
    assert state(late) == state(muddled) == model


def test_a_message_played_again_is_refused_and_one_retained_is_heard_again():
    fleet, board = Fleet(), SignedBoard()
    fleet.put("global", "pause", {})
    fleet.lift("global", ["pause"])
    for one in fleet.published:
        hear(board, one)
    for one in fleet.retained:
        hear(board, one)
    pause_again = fleet.published[0]
    assert reason(board, pause_again) == "replayed"
    assert state(board) == {}


def test_an_old_message_on_a_topic_that_was_not_heard_before_changes_nothing():
    """The retained resume on the scope's topic is enough for who comes late."""
    fleet, late = Fleet(), SignedBoard()
    fleet.put("global", "pause", {})
    fleet.lift("global", ["pause"])
    (resume,) = [one for one in fleet.retained if one.topic == "cascade/constraints/global"]
    hear(late, resume)
    hear(late, fleet.published[0])
    assert state(late) == {}


def test_a_resume_is_valid_as_long_as_what_it_lifts():
    fleet, late = Fleet(ttl=60.0), SignedBoard()
    fleet.put("global", "pause", {}, until=NOW + 86_400)
    fleet.lift("global", ["pause"])
    for one in fleet.retained:
        hear(late, one, NOW + 3_600)
    assert state(late, NOW + 3_600) == {}
    assert reason(late, fleet.published[0], NOW + 3_600) == "replayed"
    assert reason(late, fleet.published[0], NOW + 86_401) == "stale"


def test_what_has_no_end_lapses_for_all_at_the_same_time():
    fleet, early = Fleet(ttl=60.0), SignedBoard()
    fleet.put("global", "pause", {})
    hear(early, fleet.published[0])
    assert state(early, NOW + 59.9) == {("global", "pause"): {}}
    assert state(early, NOW + 61) == {}
    assert reason(SignedBoard(), fleet.published[0], NOW + 61) == "stale"


def test_a_controller_with_a_slow_clock_is_heard():
    fleet, board = Fleet(), SignedBoard()
    fleet.put("global", "pause", {})
    fleet.lift("global", ["pause"])
    slow = Fleet()
    slow.published = list(fleet.published)
    slow.put("global", "pause", {"from": "slow"}, now=NOW - 30)
    for one in [*fleet.published, *slow.published[len(fleet.published) :]]:
        hear(board, one)
    assert state(board) == {("global", "pause"): {"from": "slow"}}


def test_memory_is_bounded_and_what_has_lapsed_is_forgotten():
    board, find_key = SignedBoard(), {KEY.id: KEY.secret}.get
    pen = Pen(KEY, 60.0)

    def tell(number: int, now: float) -> None:
        pen.count_from(0, now)
        constraint = GlobalConstraint("c", f"task:{number}", "pause")
        topic, payload = pen.write(f"cascade/constraints/task/{number}", constraint, now + 60, now)
        board.hear(read(topic, payload, find_key, now=now), now)

    for number in range(10_000):
        tell(number, NOW)
    with pytest.raises(Refusal, match="already"):
        tell(10_000, NOW)
    tell(10_001, NOW + 100)
    assert [one.scope for one in board.in_force(NOW + 100)] == ["task:10001"]
    assert len(board.take_changes()) == 10_001
