"""The fallback's protocol state by its clock: keep-alive through pauses of its own, answers, retained copies."""

from __future__ import annotations

from typing import Any

from cascade.connectors.mqtt.backends.fallback.events import Events
from cascade.connectors.mqtt.backends.fallback.inbox import Inbound, Inbox
from cascade.connectors.mqtt.backends.fallback.session import Session

KEEP_ALIVE = 10.0


class Ear:
    """The broker's end of a session, with what the session told its owner."""

    def __init__(self, *, persistent: bool = False) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.told: list[tuple[str, int, Any]] = []
        self.last_sent = 0.0
        self.session = Session(5.0, 1.0, persistent, lambda *event: self.told.append(event), lambda line: None)
        self._last_id = 0

    def connect(self, *, session_present: bool = False) -> None:
        self.session.connected(self, KEEP_ALIVE, session_present=session_present, now=0.0)

    def subscribe(self, topic_filter: str, qos: int) -> int:
        return self._hear("subscribe", (topic_filter, qos))

    def unsubscribe(self, topic_filter: str) -> int:
        return self._hear("unsubscribe", topic_filter)

    def ping(self) -> None:
        self._hear("ping", None)

    def _hear(self, kind: str, what: Any) -> int:
        self.heard.append((kind, what))
        self._last_id += 1
        return self._last_id

    def tick(self, now: float, *, paused: bool) -> bool:
        before = len(self.heard)
        alive = self.session.tick(self.last_sent, 0.0, paused, now)
        if len(self.heard) > before:
            self.last_sent = now
        return alive

    def inbox(self, number: int, topic_filter: str) -> Inbox:
        return Inbox(
            number,
            topic_filter,
            1,
            "bytes",
            batches=False,
            max_bytes=1_000,
            max_messages=None,
            inbound=Inbound(),
            events=Events(),
            on_room=lambda: None,
        )


def test_a_broker_that_does_not_answer_is_gone():
    ear = Ear()
    ear.connect()
    assert ear.tick(KEEP_ALIVE - 0.1, paused=False)
    assert ear.heard == []
    assert ear.tick(KEEP_ALIVE, paused=False)
    assert ear.heard == [("ping", None)]
    assert ear.tick(1.5 * KEEP_ALIVE - 0.1, paused=False)
    assert not ear.tick(1.5 * KEEP_ALIVE, paused=False)


def test_the_broker_hears_from_us_through_pauses_of_our_own():
    """Also where each is so short that the unanswered PINGREQ is forgiven every time (MQTT 3.1.1 section 3.1.2.10)."""
    ear = Ear()
    ear.connect()
    for step in range(1, 2_000):
        now = step / 10
        assert ear.tick(now, paused=bool(step % 2))
        if not step % 2:
            ear.session.reading_resumed(now)
        assert now - ear.last_sent <= KEEP_ALIVE
    assert len(ear.heard) <= 20
    end = 200.0
    ear.session.reading_resumed(end)
    assert ear.tick(end + KEEP_ALIVE / 2 - 0.1, paused=False)
    assert not ear.tick(end + KEEP_ALIVE / 2, paused=False)


def test_answered_is_said_when_no_subscribe_and_no_ping_is_open():
    ear = Ear()
    ear.session.add(ear.inbox(1, "a"), 0.0)
    ear.session.add(ear.inbox(2, "b"), 0.0)
    ear.connect()
    assert not ear.session.is_answered
    ear.session.suback(1, b"\x00", 0.1)
    assert not ear.session.is_answered
    # Refused, and one that is never answered.
    ear.session.suback(2, b"\x80", 0.1)
    assert not ear.session.is_answered
    ear.session.pingresp(0.2)
    assert ear.session.is_answered
    ear.session.disconnected()
    ear.connect()
    ear.session.pingresp(0.2)
    assert not ear.session.is_answered
    ear.tick(5.0, paused=False)
    assert ear.session.is_answered


def test_what_a_session_may_still_know_is_ended_when_it_is_there():
    for session_present, wanted in ((True, [("unsubscribe", "a")]), (False, [])):
        ear = Ear(persistent=True)
        ear.session.add(ear.inbox(1, "a"), 0.0)
        ear.session.remove(1, 0.0)
        assert ear.told == [("unsubscribed", 1, None)]
        ear.connect(session_present=session_present)
        assert ear.heard == wanted
        ear.session.disconnected()
        ear.heard.clear()
        # Not answered: once more. Forgotten by the broker: never again.
        ear.connect(session_present=True)
        assert ear.heard == wanted
        assert len(ear.told) == 1
