"""The fallback's outbound queue: every event is in exactly one place, under every policy."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cascade.connectors.mqtt.backends.fallback.lane import OVERHEAD, Message
from cascade.connectors.mqtt.backends.fallback.outbox import Outbox

SIZE = OVERHEAD + 100
CAP = 20 * SIZE
POLICIES = ["drop_oldest", "drop_newest", "wait"]


class Desk:
    """An outbox with what it emitted."""

    def __init__(self, on_full: Any = "drop_oldest", *, max_bytes: int = CAP, max_events: int | None = None) -> None:
        self.emitted: list[tuple[str, int, Any]] = []
        self.outbox = Outbox(max_bytes, max_events, on_full, lambda *event: self.emitted.append(event))
        self.outbox.open()

    def add(self, qos: int = 0, *, size: int = SIZE, protected: bool = False, track: bool = False) -> str | Message:
        message = Message(b"t", bytes(size - OVERHEAD - 1), qos, False, protected or track)
        reason, _ = self.outbox.add(message, 0.0, track=track)
        return message if reason is None else reason

    def stats(self) -> dict[str, Any]:
        stats = self.outbox.snapshot(1.0)
        assert stats["submitted"] == stats["accepted"] + sum(stats["rejected"].values())
        placed = stats["written"] + stats["acknowledged"] + sum(stats["dropped"].values())
        assert stats["accepted"] == placed + stats["queued_events"] + stats["in_flight"]
        return stats

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.emitted if kind != "log"]


def take(desk: Desk, window: int = 1000, qos_2: int = 20) -> list[Message]:
    return desk.outbox.take(window, qos_2, CAP * 2, 0.0)


@pytest.mark.parametrize("on_full", POLICIES)
@pytest.mark.parametrize("max_events", [None, 10])
@pytest.mark.parametrize("seed", range(5))
def test_the_account_balances_whatever_happens(on_full, max_events, seed):
    chance = random.Random(seed)
    desk = Desk(on_full, max_events=max_events)
    flying: list[Message] = []
    writing = 0
    for _ in range(3000):
        match chance.randrange(9):
            case 0 | 1 | 2 | 3:
                size = chance.randrange(OVERHEAD + 1, SIZE * 4)
                desk.add(chance.randrange(3), size=size, protected=chance.random() < 0.2, track=chance.random() < 0.1)
            case 4:
                batch = desk.outbox.take(chance.randrange(5), chance.randrange(3), chance.randrange(1, SIZE * 6), 0.0)
                writing += sum(message.qos == 0 for message in batch)
                flying += [message for message in batch if message.qos]
            case 5:
                done = chance.randint(0, writing)
                desk.outbox.written(done)
                writing -= done
            case 6 if flying:
                desk.outbox.acknowledge(flying.pop(chance.randrange(len(flying))))
            case 7 if any(message.qos == 2 for message in flying):
                desk.outbox.release(chance.choice([message for message in flying if message.qos == 2]))
            case 8 if chance.random() < 0.1:
                desk.outbox.connection_lost()
                flying, writing = [], 0
        stats = desk.stats()
        assert stats["queued_bytes"] <= CAP
        assert max_events is None or stats["queued_events"] <= max_events
    desk.outbox.discard("closed")
    stats = desk.stats()
    assert (stats["queued_events"], stats["in_flight"], stats["queued_bytes"]) == (0, 0, 0)


def test_qos_0_gives_way_before_qos_1_and_the_oldest_first():
    desk = Desk()
    reliable = [desk.add(1) for _ in range(9)]
    telemetry = [desk.add(0) for _ in range(10)]
    newer = [desk.add(1) for _ in range(4)]
    assert desk.stats()["dropped"] == {"queue_full": 4}
    assert take(desk, window=0) == telemetry[4:]

    desk = Desk()
    reliable = [desk.add(1) for _ in range(19)]
    newer = [desk.add(0), desk.add(1)]
    assert desk.stats()["dropped"] == {"queue_full": 2}
    # The QoS 0 message pushed out a QoS 1 message, and was itself the next to go.
    assert take(desk) + take(desk) == [*reliable[1:12]]
    assert isinstance(newer[1], Message)


def test_protected_ones_have_the_last_twentieth_and_are_not_dropped():
    desk = Desk("drop_newest")
    for _ in range(19):
        assert isinstance(desk.add(), Message)
    assert desk.add() == "queue_full"
    assert isinstance(desk.add(protected=True), Message)
    assert desk.add(protected=True) == "queue_full"

    full = Desk()
    for _ in range(20):
        full.add(1, protected=True)
    assert full.add() == "queue_full"
    assert full.stats()["dropped"] == {}


def test_what_is_in_flight_is_never_dropped():
    desk = Desk()
    for _ in range(19):
        desk.add(1)
    flying = take(desk)
    # No more than half of the memory may be in flight.
    assert len(flying) == 11
    for _ in range(30):
        desk.add(1)
    stats = desk.stats()
    assert stats["in_flight"] == 11
    assert stats["dropped"] == {"queue_full": 30}


def test_what_can_never_fit_is_refused_as_too_large():
    desk = Desk("wait")
    assert desk.add(size=CAP + 1, protected=True) == "too_large"
    assert desk.add(size=CAP) == "too_large"
    assert isinstance(desk.add(size=CAP, protected=True), Message)


def test_waiting_is_told_once_when_there_is_room():
    desk = Desk("wait")
    while desk.add() != "queue_full":
        pass
    assert desk.add() == "queue_full"
    batch = take(desk)
    assert "space" not in desk.kinds()
    desk.outbox.written(len(batch))
    assert desk.kinds() == ["space"]
    assert isinstance(desk.add(), Message)


def test_after_a_cut_unacknowledged_ones_come_first_and_unwritten_ones_again():
    desk = Desk()
    sent = [desk.add(qos) for qos in (1, 0, 1, 0)]
    assert take(desk) == sent
    desk.outbox.written(1)
    later = desk.add(1)
    desk.outbox.connection_lost()
    assert desk.stats()["in_flight"] == 2
    assert take(desk, window=1) == [sent[0], sent[3]]
    assert take(desk, window=5) == [sent[2], later]


def test_the_window_holds_qos_1_back_but_not_qos_0():
    desk = Desk()
    first, second, telemetry = desk.add(1), desk.add(1), desk.add(0)
    assert take(desk, window=1) == [first, telemetry]
    assert take(desk, window=0) == []
    assert isinstance(first, Message)
    desk.outbox.acknowledge(first)
    assert take(desk, window=1) == [second]


def test_the_window_of_qos_2_holds_the_lane_back():
    desk = Desk()
    first, second, third = desk.add(2), desk.add(2), desk.add(1)
    assert take(desk, qos_2=1) == [first]
    assert take(desk, qos_2=0) == []
    assert take(desk, qos_2=1) == [second, third]


def test_what_the_broker_has_received_is_not_kept_and_not_sent_again():
    desk = Desk()
    message, other = desk.add(2), desk.add(2)
    assert isinstance(message, Message)
    take(desk)
    desk.outbox.release(message)
    assert desk.stats()["queued_bytes"] == OVERHEAD + SIZE
    desk.outbox.connection_lost()
    assert take(desk) == [other]
    assert desk.stats()["in_flight"] == 2
    desk.outbox.discard("closed")
    stats = desk.stats()
    assert (stats["acknowledged"], stats["uncertain"], stats["dropped"]) == (1, 1, {"closed": 1})


def test_what_a_session_acknowledges_before_it_is_sent_again_is_not():
    desk = Desk()
    sent = [desk.add(qos) for qos in (1, 2, 1)]
    assert take(desk) == sent
    desk.outbox.connection_lost()
    first, second, _ = sent
    assert isinstance(first, Message)
    assert isinstance(second, Message)
    desk.outbox.acknowledge(first)
    desk.outbox.release(second)
    assert desk.outbox.take_replay() is sent[2]
    assert desk.outbox.take_replay() is None


def test_any_of_what_is_being_written_can_be_dropped():
    desk = Desk()
    first, second, third = (desk.add() for _ in range(3))
    assert take(desk) == [first, second, third]
    assert isinstance(second, Message)
    desk.outbox.drop(second, "rejected_by_peer")
    desk.outbox.written(2)
    stats = desk.stats()
    assert (stats["written"], stats["queued_events"], stats["dropped"]) == (2, 0, {"rejected_by_peer": 1})


def test_losses_are_told_by_topic_when_connected_and_half_empty_again():
    desk = Desk("drop_newest")
    topic = b"cascade/telemetry/o/p/r/events"
    lost = 0
    for _ in range(30):
        lost += desk.outbox.add(Message(topic, bytes(100), 0, False, False), 0.0)[0] == "queue_full"
        desk.add()
    while batch := take(desk):
        desk.outbox.written(len(batch))
    assert "gap" not in desk.kinds()
    desk.outbox.connection_made()
    [(name, reasons, since, until)] = [detail for kind, _, detail in desk.emitted if kind == "gap"]
    assert name == topic.decode()
    assert lost
    assert reasons == {"queue_full": lost}
    assert since <= until
    desk.outbox.connection_made()
    assert desk.kinds().count("gap") == 1


def test_the_driver_is_woken_only_when_it_waits():
    desk = Desk()

    def add(qos: int) -> bool:
        return desk.outbox.add(Message(b"t", b"", qos, False, False), 0.0)[1]

    assert not add(0)
    take(desk)
    assert take(desk) == []
    assert add(1)
    assert not add(0)
    assert take(desk, window=0)
    assert take(desk, window=0) == []
    assert not add(1)
    assert add(0)


def test_tracked_ones_are_reported_or_withdrawn():
    desk = Desk()
    acknowledged, dropped, withdrawn = (desk.add(1, track=True) for _ in range(3))
    assert isinstance(acknowledged, Message)
    assert isinstance(dropped, Message)
    assert isinstance(withdrawn, Message)
    assert take(desk, window=2) == [acknowledged, dropped]
    assert not desk.outbox.withdraw(acknowledged.token)
    token = withdrawn.token
    assert desk.outbox.withdraw(token)
    assert not desk.outbox.withdraw(token)
    desk.outbox.acknowledge(acknowledged)
    desk.outbox.discard("closed")
    assert desk.emitted == [("acknowledged", 1, None), ("given_up", 2, "closed")]
    assert desk.stats()["dropped"] == {"expired": 1, "closed": 1}


def test_a_flush_covers_what_was_accepted_before_it():
    desk = Desk()
    before = desk.add(1)
    token = desk.outbox.flush()
    desk.add(1)
    assert desk.outbox.flush_left(token) == 1
    take(desk)
    assert isinstance(before, Message)
    desk.outbox.acknowledge(before)
    assert desk.emitted == [("flushed", token, None)]
    assert desk.outbox.flush_left(token) == 0
    desk.outbox.end_flush(token)
    empty = Desk()
    token = empty.outbox.flush()
    assert empty.emitted == [("flushed", token, None)]


def test_nothing_is_accepted_before_open_and_after_close():
    outbox = Outbox(CAP, None, "drop_oldest", lambda *_: None)
    message = Message(b"t", b"", 0, False, False)
    assert outbox.add(message, 0.0) == ("not_connected", False)
    outbox.open()
    assert outbox.add(message, 0.0) == (None, False)
    outbox.close()
    assert outbox.add(message, 0.0) == ("closed", False)
    assert outbox.snapshot(0.0)["rejected"] == {"not_connected": 1, "closed": 1}


def test_an_episode_of_dropping_is_told_once():
    desk = Desk()
    for _ in range(100):
        desk.add()
    batch = take(desk)
    desk.outbox.written(len(batch))
    told = [(kind, detail) for kind, _, detail in desk.emitted if kind in ("full", "drained")]
    assert told == [("full", None), ("drained", 81)]
