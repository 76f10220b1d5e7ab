"""The fallback's session as a machine: a broker that answers, or does not, over one connection after another."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from cascade.connectors.mqtt.backends.fallback.events import Events
from cascade.connectors.mqtt.backends.fallback.inbox import Inbound, Inbox
from cascade.connectors.mqtt.backends.fallback.rounds import REFUSED
from cascade.connectors.mqtt.backends.fallback.session import Session
from cascade.connectors.mqtt.topics import matches

KEEP_ALIVE, TIMEOUT, RETAINED_TIMEOUT = 10.0, 5.0, 1.0
FILTERS = st.sampled_from(["a", "a/b", "a/#", "+/b", "#", "$share/g/a", "a/@batch", "+/+"])
TOPICS = st.sampled_from(["a", "a/b", "c/b", "d", "$SYS/b", "a/@batch", "a/b/@batch", "d/@batch"])


def filters(inbox: Inbox) -> set[str]:
    """What is subscribed to for it."""
    own = inbox.topic_filter
    return {own} if not inbox.batches or own.endswith(("#", "/@batch")) else {own, f"{own}/@batch"}


def wants(inbox: Inbox, topic: str) -> bool:
    """A batch goes where each of its events would; who did not ask for batches has topics like any other."""
    own, of_events = inbox.topic_filter, topic.removesuffix("/@batch")
    return matches(own, of_events if inbox.batches else topic) or (own.endswith("/@batch") and matches(own, topic))


class SessionMachine(RuleBasedStateMachine):
    """What was asked and answered, and what each subscription is owed."""

    @initialize(persistent=st.booleans())
    def begin(self, persistent: bool) -> None:
        self.persistent = persistent
        self.session = Session(TIMEOUT, RETAINED_TIMEOUT, persistent, self.tell, lambda line: None)
        self.now = self.last_sent = self.last_received = self.asking_until = 0.0
        self.connected = self.paused = False
        self.pings = 0
        self.ids = itertools.count(1)
        self.members: dict[int, Inbox] = {}
        self.answered: set[int] = set()
        self.gathering: set[int] = set()
        self.leaving: set[int] = set()
        # What was asked on this connection; the broker takes it in order, whichever it answers first.
        self.requests: list[tuple[str, bool]] = []
        self.taken = 0
        self.asked: dict[int, tuple[int, float]] = {}
        self.held: set[str] = set()

    # --- the broker's end (session.Wire)

    def ask(self, topic_filter: str, subscribes: bool) -> int:
        assert self.connected
        packet_id = next(self.ids)
        self.asked[packet_id] = len(self.requests), self.now
        self.requests.append((topic_filter, subscribes))
        self.last_sent = self.now
        return packet_id

    def subscribe(self, topic_filter: str, qos: int) -> int:
        assert qos == max(inbox.qos for inbox in self.members.values() if topic_filter in filters(inbox))
        self.asking_until = self.now + TIMEOUT + RETAINED_TIMEOUT
        return self.ask(topic_filter, True)

    def unsubscribe(self, topic_filter: str) -> int:
        return self.ask(topic_filter, False)

    def ping(self) -> None:
        assert self.connected
        self.pings += 1
        self.last_sent = self.now

    def take(self, end: int) -> None:
        for topic_filter, subscribes in self.requests[self.taken : end]:
            (self.held.add if subscribes else self.held.discard)(topic_filter)
        self.taken = max(self.taken, end)

    # --- the owner's end

    def tell(self, kind: str, token: int, detail: Any) -> None:
        if kind == "subscribed":
            assert token in self.members
            assert token not in self.answered, "once on a connection"
            self.answered.add(token)
            if detail < REFUSED:
                self.gathering.add(token)
        elif kind == "retained":
            self.gathering.remove(token)
        else:
            assert kind == "unsubscribed"
            self.leaving.remove(token)

    # --- what happens

    @precondition(lambda self: not self.connected)
    @rule(session_present=st.booleans())
    def connect(self, session_present: bool) -> None:
        session_present &= self.persistent
        self.connected, self.paused, self.pings = True, False, 0
        self.last_sent = self.last_received = self.now
        if not session_present:
            self.held.clear()
        self.answered.clear()
        self.gathering.clear()
        self.session.connected(self, KEEP_ALIVE, session_present=session_present, now=self.now)

    @precondition(lambda self: self.connected)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        """What was on its way may have arrived, or some of it."""
        self.take(data.draw(st.integers(self.taken, len(self.requests))))
        self.cut()

    def cut(self) -> None:
        self.requests, self.taken = [], 0
        self.asked.clear()
        self.connected = False
        self.session.disconnected()
        assert not self.leaving, "without a connection nothing is waited for"

    @rule(topic_filter=FILTERS, qos=st.integers(0, 2), batches=st.booleans())
    def add(self, topic_filter: str, qos: int, batches: bool) -> None:
        inbox = Inbox(
            next(self.ids),
            topic_filter,
            qos,
            "bytes",
            batches=batches,
            max_bytes=1_000,
            max_messages=None,
            inbound=Inbound(),
            events=Events(),
            on_room=lambda: None,
        )
        self.members[inbox.subscription] = inbox
        self.session.add(inbox, self.now)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.members)))
        self.leaving.add(number)
        self.gathering.discard(number)
        inbox = self.members.pop(number)
        assert self.session.remove(number, self.now) is inbox
        assert self.session.remove(number, self.now) is None

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), refused=st.booleans())
    def answer(self, data: st.DataObject, refused: bool) -> None:
        self.answer_one(data.draw(st.sampled_from(sorted(self.asked))), REFUSED if refused else 1)

    def answer_one(self, packet_id: int, code: int) -> None:
        place, _ = self.asked.pop(packet_id)
        self.take(place)
        if self.requests[place][1]:
            self.taken = max(self.taken, place + (code == REFUSED))
            assert self.session.suback(packet_id, bytes([code]), self.now)
        else:
            assert self.session.unsuback(packet_id)
        self.take(place + 1)
        assert not self.session.suback(packet_id, b"\x01", self.now), "answered once"
        assert not self.session.unsuback(packet_id)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def answer_otherwise(self, data: st.DataObject) -> None:
        packet_id = data.draw(st.sampled_from(sorted(self.asked)))
        if self.requests[self.asked[packet_id][0]][1]:
            assert not self.session.unsuback(packet_id)
            assert not self.session.suback(packet_id, b"\x00\x00", self.now)
        else:
            assert not self.session.suback(packet_id, b"\x00", self.now)

    @precondition(lambda self: self.connected)
    @rule()
    def pingresp(self) -> None:
        self.pings = max(0, self.pings - 1)
        self.session.pingresp(self.now)

    @precondition(lambda self: self.connected)
    @rule(topic=TOPICS, payload=st.sampled_from([b"1", b"2"]), retain=st.booleans())
    def publish(self, topic: str, payload: bytes, retain: bool) -> None:
        found = [inbox.subscription for inbox in self.session.route(topic, payload, retain, self.now)]
        matching = {number for number, inbox in self.members.items() if wants(inbox, topic)}
        assert len(set(found)) == len(found), "each once"
        if retain and self.now < self.asking_until:
            # A SUBSCRIBE may have asked for it, perhaps one of a subscription that has ended.
            assert set(found) <= matching
        else:
            assert set(found) == matching

    @precondition(lambda self: self.connected)
    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        if self.paused and not paused:
            self.last_received = self.now
            self.session.reading_resumed(self.now)
        self.paused = paused

    @rule(seconds=st.one_of(st.none(), st.floats(0, 2 * KEEP_ALIVE)), hears=st.booleans())
    def wait(self, seconds: float | None, hears: bool) -> None:
        """Until the session asks for a turn, or for some time."""
        due = self.session.deadline(self.last_sent, self.last_received, self.paused)
        self.now = max(self.now, due) if seconds is None and due is not None else self.now + (seconds or 0.0)
        if hears:
            self.last_received = self.now
        self.tick()

    def tick(self) -> None:
        if not self.session.tick(self.last_sent, self.last_received, self.paused, self.now):
            assert self.pings, "given up without reason"
            assert not self.paused
            self.cut()
            return
        self.asked = {
            packet_id: asked for packet_id, asked in self.asked.items() if self.now < asked[1] + TIMEOUT
        }  # fmt: skip
        due = self.session.deadline(self.last_sent, self.last_received, self.paused)
        assert due is None or due > self.now, "a turn asked for again and again"
        assert not self.connected or self.now < self.last_sent + KEEP_ALIVE, "silent for longer than was agreed"

    def teardown(self) -> None:
        """Over a good connection everybody gets what is owed, and the broker holds what is wanted, and no more."""
        if not hasattr(self, "session"):
            return
        if self.connected:
            self.cut()
        self.connect(True)
        for packet_id in list(self.asked):
            self.answer_one(packet_id, 1)
        while self.pings:
            self.pingresp()
        assert self.session.is_answered
        self.now += RETAINED_TIMEOUT
        self.tick()
        assert not self.leaving | self.gathering
        assert self.answered == self.members.keys()
        assert self.held == {topic_filter for inbox in self.members.values() for topic_filter in filters(inbox)}


TestSession = SessionMachine.TestCase
