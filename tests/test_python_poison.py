"""The fallback's way to find the message that a broker dies of, end by end of its connections."""

from __future__ import annotations

import pytest

from cascade.connectors.mqtt.backends.fallback.lane import Message
from cascade.connectors.mqtt.backends.fallback.poison import Poison


def message(number: int) -> Message:
    made = Message(b"t", b"x", 1, False, False)
    made.number = number
    return made


def end(
    poison: Poison,
    *,
    replay: bool = True,
    alone: Message | None = None,
    by_peer: bool = True,
    part_written: Message | None = None,
    after: float = 1.0,
) -> list[Message]:
    """A connection from CONNACK to its end ``after`` so many seconds."""
    poison.connected(replay=replay, now=100.0)
    if alone is not None:
        poison.alone(alone)
    return poison.ended(by_peer=by_peer, part_written=part_written, now=100.0 + after)


@pytest.fixture
def probing() -> Poison:
    poison = Poison()
    for _ in range(3):
        assert end(poison) == []
    assert poison.probing
    return poison


@pytest.mark.parametrize(
    "innocent",
    [{"by_peer": False}, {"after": 5.0}, {"replay": False}],
    ids=["a time-out of ours", "5 s later", "nothing was replayed"],
)
def test_three_deaths_in_a_row_begin_the_search(innocent):
    poison = Poison()
    for ending in ({}, {}, innocent, {}, {}):
        end(poison, **ending)
        assert not poison.probing
    end(poison)
    assert poison.probing


def test_who_is_alone_at_two_deaths_in_a_row_is_the_culprit(probing):
    first, second = message(1), message(2)
    assert end(probing, alone=first) == []
    probing.connected(replay=True, now=0.0)
    probing.alone(first)
    probing.acknowledged()
    assert end(probing, alone=second) == []
    assert end(probing, alone=first) == []
    assert end(probing, alone=second) == []
    assert end(probing, alone=second) == [second]
    assert probing.probing
    probing.replayed()
    assert not probing.probing


def test_time_outs_of_ours_accuse_nobody(probing):
    suspect = message(1)
    for _ in range(5):
        assert end(probing, alone=suspect) == []
        assert end(probing, alone=suspect, by_peer=False) == []


def test_after_the_search_three_deaths_are_needed_again(probing):
    probing.replayed()
    for _ in range(2):
        end(probing)
        assert not probing.probing


def test_qos_0_part_written_at_three_ends_in_a_row():
    poison, telemetry = Poison(), message(7)
    assert end(poison, replay=False, part_written=telemetry) == []
    assert end(poison, replay=False, part_written=telemetry) == []
    assert end(poison, replay=False, part_written=telemetry, after=6.0) == []
    assert end(poison, replay=False, part_written=telemetry) == []
    assert end(poison, replay=False, part_written=telemetry) == []
    assert end(poison, replay=False, part_written=telemetry) == [telemetry]
