"""The fallback's outbound queue as a machine: whatever happens to it, it owes what this simple model owes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cascade.connectors.mqtt import BatchOptions
from cascade.connectors.mqtt.backends.fallback.batch import Batch
from cascade.connectors.mqtt.backends.fallback.lane import OVERHEAD, Message
from cascade.connectors.mqtt.backends.fallback.outbox import Outbox

CAP = 20 * (OVERHEAD + 100)
SIZES = st.one_of(st.integers(1, 200), st.integers(1, CAP))


def events_of(messages: list[Message]) -> int:
    return sum(message.events for message in messages)


class OutboxMachine(RuleBasedStateMachine):
    """Lists of messages, in the order in which they were accepted."""

    @initialize(
        on_full=st.sampled_from(["drop_oldest", "drop_newest", "wait"]),
        max_events=st.one_of(st.none(), st.integers(1, 30)),
        limits=st.builds(
            BatchOptions,
            max_events=st.integers(1, 5),
            max_bytes=st.integers(2, 500),
            linger=st.sampled_from([0.0, 60.0]),
        ),
    )
    def begin(self, on_full: Any, max_events: int | None, limits: BatchOptions) -> None:
        self.on_full, self.max_events, self.limits = on_full, max_events, limits
        self.emitted: list[tuple[str, int, Any]] = []
        self.outbox = Outbox(CAP, max_events, on_full, lambda *event: self.emitted.append(event))
        self.outbox.open()
        self.waiting: tuple[list[Message], list[Message]] = ([], [])
        self.open: list[Batch | None] = [None, None]
        self.writing: list[Message] = []
        self.flying: list[Message] = []
        self.resend: list[Message] = []
        self.counts: Counter[str] = Counter()
        self.tracked: dict[int, Message] = {}
        self.owed: list[tuple[str, int, str | None]] = []
        self.flushes: dict[int, list[Message]] = {}

    # --- what happens

    @rule(qos=st.integers(0, 2), size=SIZES, important=st.booleans(), confirmed=st.booleans())
    def publish(self, qos: int, size: int, important: bool, confirmed: bool) -> None:
        track = confirmed and qos > 0
        message = Message(b"t", bytes(size - 1), qos, False, important or track)
        expected = self.admit(message)
        reason, _ = self.outbox.add(message, 0.0, track=track)
        assert reason == expected
        self.counts["submitted"] += 1
        if reason is None:
            self.counts["accepted"] += 1
            self.open[message.lane] = None
            self.waiting[message.lane].append(message)
            if track:
                self.tracked[message.token] = message
        else:
            self.counts[f"rejected {reason}"] += 1

    @rule(topic=st.sampled_from([b"t", b"u"]), qos=st.integers(0, 2), size=st.integers(1, 200))
    def publish_event(self, topic: bytes, qos: int, size: int) -> None:
        batch = Batch(topic, b"1" * size, qos, self.limits)
        expected = self.admit(batch)
        self.counts["submitted"] += 1
        into = self.open[batch.lane]
        events = into.events if into is not None else 0
        held = len(into.payload) if into is not None else 0
        reason, _ = self.outbox.add(batch, 0.0)
        assert reason == expected
        if reason is not None:
            self.counts[f"rejected {reason}"] += 1
            return
        self.counts["accepted"] += 1
        alike = into is not None and (into.topic, into.qos) == (batch.topic, batch.qos)
        if into is not None and alike and events < self.limits.max_events and held + 1 + size <= self.limits.max_bytes:
            assert (into.events, len(into.payload)) == (events + 1, held + 1 + size)
        else:
            assert into is None or (into.events, len(into.payload)) == (events, held)
            assert batch.payload == b"[%b]" % (b"1" * size)
            into = batch
            self.waiting[batch.lane].append(batch)
        full = into.events == self.limits.max_events or len(into.payload) + 2 > self.limits.max_bytes
        self.open[batch.lane] = None if full else into

    def admit(self, message: Message) -> str | None:
        """Drop what has to give way; the reason why the message is refused none the less."""

        def share(cap: int) -> int:
            return cap if message.protected else cap - cap // 20

        def fits() -> bool:
            if self.max_events is not None and events_of(self.queued()) >= share(self.max_events):
                return False
            return self.held_bytes() + message.size <= share(CAP)

        if message.size > share(CAP):
            return "too_large"
        droppable = [one for lane in self.waiting for one in lane if not one.protected]
        enough = self.held_bytes() - sum(one.size for one in droppable) + message.size <= share(CAP)
        if self.on_full == "drop_oldest" and enough:
            # QoS 0 first, the oldest first.
            while not fits() and droppable:
                oldest = droppable.pop(0)
                self.waiting[oldest.lane].remove(oldest)
                self.counts["dropped queue_full"] += oldest.events
                if oldest is self.open[oldest.lane]:
                    self.open[oldest.lane] = None
        return None if fits() else "queue_full"

    @rule(window=st.integers(0, 8), qos_2=st.integers(0, 3), budget=st.integers(1, CAP))
    def take(self, window: int, qos_2: int, budget: int) -> None:
        if self.limits.linger == 0:
            self.close()
        waiting = [[one for one in lane if one not in self.open] for lane in self.waiting]
        lanes = {0: waiting[0], 1: self.resend + waiting[1]}
        batch = self.outbox.take(window, qos_2, budget, 0.0)
        assert sum(message.size for message in batch[:-1]) < budget
        for lane, expected in lanes.items():
            found = [message for message in batch if message.lane == lane]
            assert found == expected[: len(found)], "first in, first out, and first what is sent again"
        kept = [message for message in batch if message.qos]
        assert len(kept) <= window
        assert sum(message.qos == 2 for message in kept) <= qos_2
        if not batch:
            assert not waiting[0], "nothing holds QoS 0 back but a batch that is open"
            head = next(iter(lanes[1]), None)
            half = sum(message.size for message in self.flying) > CAP // 2
            assert head is None or not window or (head.qos == 2 and not qos_2) or (half and not self.resend)
        for message in batch:
            if message in self.resend:
                self.resend.remove(message)
            else:
                self.waiting[message.lane].remove(message)
                (self.flying if message.qos else self.writing).append(message)

    @rule(data=st.data())
    def compress(self, data: st.DataObject) -> None:
        """One that is being sent takes less, for good."""
        sent = [one for one in self.writing + self.flying if isinstance(one, Batch) and not one.released]
        if sent:
            batch = data.draw(st.sampled_from(sent))
            self.outbox.compressed(batch, bytes(batch.payload[: len(batch.payload) // 2]))

    def close(self) -> None:
        self.open = [None, None]

    @precondition(lambda self: self.writing)
    @rule(data=st.data())
    def written(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, len(self.writing)))
        self.outbox.written(count)
        self.counts["written"] += events_of(self.writing[:count])
        del self.writing[:count]

    def pick(self, data: st.DataObject, *, qos: tuple[int, ...] = (1, 2)) -> Message | None:
        """One that was sent on this connection, or that the broker has from the last one."""
        sent = [one for one in self.flying if one not in self.resend and one.qos in qos]
        return data.draw(st.sampled_from(sent)) if sent else None

    @rule(data=st.data())
    def pubrec(self, data: st.DataObject) -> None:
        if message := self.pick(data, qos=(2,)):
            self.outbox.release(message)
            assert message.released
            assert message.size == OVERHEAD

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        if message := self.pick(data):
            self.flying.remove(message)
            self.counts["acknowledged"] += message.events
            self.ends(message, "acknowledged", None)
            self.outbox.acknowledge(message)
            # Twice is once.
            self.outbox.acknowledge(message)

    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        if message := self.pick(data):
            self.flying.remove(message)
            self.give_up(message, "rejected_by_peer")
            self.outbox.drop(message, "rejected_by_peer")

    @rule()
    def reconnect(self) -> None:
        self.outbox.connection_lost()
        self.waiting[0][:0] = self.writing
        self.writing.clear()
        self.resend = [message for message in self.flying if not message.released]
        assert self.outbox.connection_made() is bool(self.resend)

    @precondition(lambda self: self.tracked)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.tracked)))
        message = self.tracked[token]
        unsent = message in self.waiting[message.lane]
        assert self.outbox.withdraw(token) is unsent, "what was sent may have arrived"
        if unsent:
            self.waiting[message.lane].remove(message)
            del self.tracked[token]
            self.counts["dropped expired"] += 1
            assert not self.outbox.withdraw(token)

    @rule()
    def flush(self) -> None:
        self.close()
        self.flushes[self.outbox.flush()] = self.queued() + self.flying

    @rule()
    def discard(self) -> None:
        for message in self.queued() + self.flying:
            if message.released:
                self.counts["acknowledged"] += message.events
                self.counts["uncertain"] += message.events
                self.ends(message, "acknowledged", None)
            else:
                self.give_up(message, "closed")
        for place in (*self.waiting, self.writing, self.flying, self.resend):
            place.clear()
        self.close()
        self.outbox.discard("closed")

    # --- what is known of it

    def queued(self) -> list[Message]:
        return self.waiting[0] + self.waiting[1] + self.writing

    def held_bytes(self) -> int:
        return sum(message.size for message in self.queued() + self.flying)

    def give_up(self, message: Message, reason: str) -> None:
        self.counts[f"dropped {reason}"] += message.events
        self.ends(message, "given_up", reason)

    def ends(self, message: Message, how: str, why: str | None) -> None:
        if self.tracked.pop(message.token, None):
            self.owed.append((how, message.token, why))

    @invariant()
    def the_account_is_that_of_the_model(self) -> None:
        stats = self.outbox.snapshot(1.0)
        assert stats["submitted"] == stats["accepted"] + sum(stats["rejected"].values())
        ended = stats["written"] + stats["acknowledged"] + sum(stats["dropped"].values())
        assert stats["accepted"] == ended + stats["queued_events"] + stats["in_flight"]
        found = Counter(
            {name: stats[name] for name in ("submitted", "accepted", "written", "acknowledged", "uncertain")}
        )
        for kind in ("rejected", "dropped"):
            found.update({f"{kind} {reason}": count for reason, count in stats[kind].items()})
        assert +found == +self.counts
        assert (stats["queued_events"], stats["in_flight"]) == (events_of(self.queued()), events_of(self.flying))
        assert stats["queued_bytes"] == self.held_bytes() <= CAP

    @invariant()
    def whoever_waits_is_told_once(self) -> None:
        told = [event for event in self.emitted if event[0] in ("acknowledged", "given_up")]
        assert sorted(told, key=str) == sorted(self.owed, key=str)
        held = self.queued() + self.flying
        for token, covered in self.flushes.items():
            over = not any(message in held for message in covered)
            assert self.emitted.count(("flushed", token, None)) == over


TestOutbox = OutboxMachine.TestCase
