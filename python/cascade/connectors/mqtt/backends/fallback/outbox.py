"""The bounded outbound queue: two lanes, caps, what is dropped, and an account of every event.

No I/O and no clock. Every method is atomic. The lock is re-entrant because a signal handler or a
finaliser may publish while its own thread is in here.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from ...options import OnFull
from .batch import Batch
from .flushes import Flushes
from .lane import OVERHEAD, Lane, Message
from .losses import Losses

__all__ = ["Outbox"]

# The lanes whose new messages wake the driver: those up to this number.
_EVERYTHING, _QOS_0_ONLY, _NOBODY = 1, 0, -1


class Outbox:
    """What waits to be sent, is being written, or is in flight.

    Args:
        max_bytes: cap on the memory of all events, queued and in flight.
        max_events: cap on the number of queued events, or None.
        on_full: what gives way when a cap is reached.
        emit: called with kind, token and detail of a ``backends.base.Event``.
    """

    def __init__(
        self, max_bytes: int, max_events: int | None, on_full: OnFull, emit: Callable[[str, int, Any], None]
    ) -> None:
        self._max_bytes, self._max_events, self._on_full, self._emit = max_bytes, max_events, on_full, emit
        self._lock = threading.RLock()
        self._intake = "not_connected"
        self._wakes = _NOBODY
        self._lanes = (Lane(), Lane())
        self._writing: deque[Message] = deque()
        self._in_flight: dict[int, Message] = {}
        self._in_flight_bytes = self._in_flight_events = 0
        self._resend: deque[Message] = deque()
        self._tracked: dict[int, Message] = {}
        self._flushes = Flushes(lambda token: emit("flushed", token, None))
        self._losses = Losses()
        self._connected = False
        self._accepted = self._written = self._acknowledged = self._uncertain = 0
        self._queued = self._bytes = self._last_token = 0
        self._rejected: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._space_wanted = False
        self._dropped_before: int | None = None

    def open(self) -> None:
        """Accept events from now on."""
        with self._lock:
            self._intake = "open"

    def close(self) -> None:
        """Refuse events from now on."""
        with self._lock:
            if self._intake == "open":
                self._intake = "closed"
            self._close_batches()

    def closed_reason(self) -> str | None:
        """Why nothing is accepted, as a rejection; None while events are."""
        return None if self._intake == "open" else self._intake

    def reject(self, reason: str) -> str:
        """Count a message that is not even offered."""
        with self._lock:
            self._rejected[reason] += 1
        return reason

    def add(self, message: Message, now: float, *, track: bool = False) -> tuple[str | None, bool]:
        """Queue a message, or a batch of one event; returns the reason of a refusal, or None, and whether to wake the
        driver."""
        with self._lock:
            message.born = now
            reason = self._refusal(message)
            if reason is not None:
                return self.reject(reason), False
            self._accepted += 1
            self._queued += 1
            message.number = self._accepted
            if track:
                message.token = self._new_token()
                self._tracked[message.token] = message
            lane = self._lanes[message.lane]
            if isinstance(message, Batch):
                # First the call, in which a signal's handler may publish, and then the sum.
                grown = lane.append_event(message)
                self._bytes += grown
            else:
                self._bytes += message.size
                lane.append(message)
            # An event that another one waits with for the end of their batch is nothing new to the driver.
            wake = message.lane <= self._wakes and (lane.open is None or lane.open is message)
            if wake:
                self._wakes = _NOBODY
            return None, wake

    def take(self, window: int, qos_2: int, budget: int, now: float) -> list[Message]:
        """Up to ``budget`` bytes to send now, with no more than ``window`` messages of QoS 1 and 2, ``qos_2`` of QoS 2.

        Unacknowledged messages of a former connection come first. QoS 0 is answered by ``written``, the others
        by ``acknowledge`` or ``drop``. After an empty list, ``add`` says when to come back, or ``due``.
        """
        batch: list[Message] = []
        with self._lock:
            for lane in self._lanes:
                lane.close_due(now)
            while budget > 0 and (message := self._next(window, qos_2)) is not None:
                window -= message.lane
                qos_2 -= message.qos == 2
                budget -= message.size
                batch.append(message)
            if batch:
                self._wakes = _NOBODY
                self._tell_space()
            else:
                self._wakes = _EVERYTHING if self._lanes[1].sendable() is None else _QOS_0_ONLY
        return batch

    def due(self) -> float | None:
        """When an open batch is to be sent, whether or not it is full."""
        with self._lock:
            return min((lane.open.due for lane in self._lanes if lane.open is not None), default=None)

    def compressed(self, batch: Batch, payload: bytes) -> None:
        """A batch that is being sent has become smaller, for good."""
        with self._lock:
            freed = len(batch.payload) - len(payload)
            batch.payload = payload
            self._shrink(batch, freed)

    def take_replay(self) -> Message | None:
        """The next unacknowledged message of a former connection, without regard to windows; None: all were sent."""
        with self._lock:
            return self._resend.popleft() if self._to_resend() else None

    def written(self, count: int) -> None:
        """The operating system has taken that many of the QoS 0 messages, oldest first."""
        with self._lock:
            for _ in range(count):
                message = self._writing.popleft()
                self._queued -= message.events
                self._written += message.events
                self._finish(message, "acknowledged", None)
            self._say_room()

    def release(self, message: Message) -> None:
        """PUBREC came for a message in flight: the broker has it, so it is not kept (MQTT 3.1.1 section 4.3.3)."""
        with self._lock:
            if message.number in self._in_flight and not message.released:
                message.topic = message.payload = b""
                message.released = True
                self._shrink(message, message.size - OVERHEAD)

    def acknowledge(self, message: Message, *, uncertain: bool = False) -> None:
        """PUBACK or PUBCOMP came for a message in flight; ``uncertain``: PUBREC alone, and no PUBCOMP can come."""
        with self._lock:
            if self._land(message):
                self._acknowledged += message.events
                self._uncertain += message.events if uncertain else 0
                self._finish(message, "acknowledged", None)
                self._say_room()

    def drop(self, message: Message, reason: str) -> None:
        """Give up a message in flight, or one that is being written."""
        with self._lock:
            if not self._land(message):
                self._writing.remove(message)
                self._queued -= message.events
            self._losses.count(message, reason)
            self._give_up(message, reason)
            self._say_room()

    def connection_made(self) -> bool:
        """Observers can be told of losses again; returns whether unacknowledged messages are to be sent again."""
        with self._lock:
            self._connected = True
            self._say_room()
            return bool(self._resend)

    def connection_lost(self) -> None:
        """What was not wholly written is queued again; what the broker has not is resent first."""
        with self._lock:
            self._connected = False
            while self._writing:
                message = self._writing.pop()
                message.sent = False
                self._lanes[0].give_back(message)
            self._resend = deque(message for message in self._in_flight.values() if not message.released)
            self._wakes = _NOBODY

    def discard(self, reason: str) -> None:
        """Give up everything that is still here; what the broker has for certain counts as acknowledged."""
        with self._lock:
            self.connection_lost()
            self._resend.clear()
            for message in list(self._in_flight.values()):
                if message.released:
                    self.acknowledge(message, uncertain=True)
                else:
                    self._land(message)
                    self._give_up(message, reason)
            for lane in self._lanes:
                while (head := lane.head()) is not None:
                    lane.pop(head)
                    self._queued -= head.events
                    self._give_up(head, reason)

    def withdraw(self, token: int) -> bool:
        """Take a tracked message back while it is unsent, as ``expired``."""
        with self._lock:
            message = self._tracked.get(token)
            if message is None or message.sent:
                return False
            self._lanes[message.lane].protected.remove(message)
            self._queued -= 1
            del self._tracked[token]
            message.token = 0
            self._give_up(message, "expired")
            self._say_room()
            return True

    def flush(self) -> int:
        """Watch what has been accepted so far; ``flushed`` follows when none of it is left."""
        with self._lock:
            token = self._new_token()
            self._close_batches()
            self._flushes.begin(token, self._accepted, self._queued + self._in_flight_events)
            return token

    def flush_left(self, token: int) -> int:
        with self._lock:
            return self._flushes.left(token)

    def end_flush(self, token: int) -> None:
        with self._lock:
            self._flushes.forget(token)

    def is_empty(self) -> bool:
        with self._lock:
            return not self._queued and not self._in_flight

    def snapshot(self, now: float) -> dict[str, Any]:
        """The outbound half of ``backends.base.RawStats``, consistent in itself."""
        with self._lock:
            heads = [message for lane in self._lanes if (message := lane.head()) is not None]
            heads += [self._writing[0]] if self._writing else []
            return {
                "submitted": self._accepted + sum(self._rejected.values()),
                "rejected": dict(self._rejected),
                "accepted": self._accepted,
                "written": self._written,
                "acknowledged": self._acknowledged,
                "dropped": dict(self._dropped),
                "queued_events": self._queued,
                "queued_bytes": self._bytes,
                "in_flight": self._in_flight_events,
                "uncertain": self._uncertain,
                "oldest_queued_s": max([0.0, *(now - message.born for message in heads)]),
            }

    def _close_batches(self) -> None:
        for lane in self._lanes:
            lane.close()

    def _new_token(self) -> int:
        self._last_token += 1
        return self._last_token

    def _refusal(self, message: Message) -> str | None:
        if self._intake != "open":
            return self._intake
        cap = self._share(self._max_bytes, message.protected)
        if message.size > cap:
            # Waiting for room could not help.
            return "too_large"
        if self._on_full == "drop_oldest":
            ordinary = sum(lane.ordinary_bytes for lane in self._lanes)
            if self._bytes - ordinary + message.size <= cap:
                while not self._fits(message.size, message.protected) and self._drop_oldest():
                    pass
        if self._fits(message.size, message.protected):
            return None
        if self._on_full == "wait":
            # Not a loss: whoever is told so tries again.
            self._space_wanted = True
        else:
            self._losses.count(message, "queue_full")
        return "queue_full"

    def _share(self, cap: int, protected: bool) -> int:
        """The last twentieth of a cap is for what matters most."""
        return cap if protected else cap - cap // 20

    def _fits(self, size: int, protected: bool) -> bool:
        if self._max_events is not None and self._queued >= self._share(self._max_events, protected):
            return False
        return self._bytes + size <= self._share(self._max_bytes, protected)

    def _drop_oldest(self) -> bool:
        lane = next((lane for lane in self._lanes if lane.ordinary), None)
        if lane is None:
            return False
        if self._dropped_before is None:
            self._dropped_before = self._dropped["queue_full"]
            self._emit("full", 0, None)
        message = lane.pop_ordinary()
        self._queued -= message.events
        self._losses.count(message, "queue_full")
        self._give_up(message, "queue_full")
        return True

    def _next(self, window: int, qos_2: int) -> Message | None:
        head = self._to_resend() or self._lanes[1].sendable()
        if head is not None and (window <= 0 or (head.qos == 2 and qos_2 <= 0)):
            head = None
        if self._resend:
            if head is not None:
                return self._resend.popleft()
        elif self._in_flight_bytes > self._max_bytes // 2:
            head = None
        other = self._lanes[0].sendable()
        if head is None or (other is not None and other.number < head.number):
            head = other
        if head is None:
            return None
        self._lanes[head.lane].pop(head)
        head.sent = True
        if head.qos == 0:
            self._writing.append(head)
        else:
            self._queued -= head.events
            self._in_flight[head.number] = head
            self._in_flight_bytes += head.size
            self._in_flight_events += head.events
        return head

    def _to_resend(self) -> Message | None:
        """The first message to be sent again that was not acknowledged from a session's memory meanwhile."""
        while self._resend and (self._resend[0].released or self._resend[0].number not in self._in_flight):
            self._resend.popleft()
        return self._resend[0] if self._resend else None

    def _shrink(self, message: Message, freed: int) -> None:
        message.size -= freed
        self._bytes -= freed
        if message.number in self._in_flight:
            self._in_flight_bytes -= freed
        self._tell_space()

    def _land(self, message: Message) -> bool:
        if self._in_flight.pop(message.number, None) is None:
            return False
        self._in_flight_bytes -= message.size
        self._in_flight_events -= message.events
        return True

    def _give_up(self, message: Message, reason: str) -> None:
        self._dropped[reason] += message.events
        self._finish(message, "given_up", reason)

    def _finish(self, message: Message, outcome: str, detail: str | None) -> None:
        self._bytes -= message.size
        if message.token:
            self._tracked.pop(message.token, None)
            self._emit(outcome, message.token, detail)
        self._flushes.ended(message.number, message.events)
        self._tell_space()

    def _tell_space(self) -> None:
        # Room for one small message would wake who waits for every message again.
        if self._space_wanted and self._fits(self._max_bytes // 16, False):
            self._space_wanted = False
            self._emit("space", 0, None)

    def _say_room(self) -> None:
        """Once it is half empty, the end of an episode of dropping, and to observers what was lost."""
        if self._bytes * 2 > self._max_bytes:
            return
        if self._max_events is not None and self._queued * 2 > self._max_events:
            return
        if self._dropped_before is not None:
            lost, self._dropped_before = self._dropped["queue_full"] - self._dropped_before, None
            self._emit("drained", 0, lost)
        if self._connected:
            for gap in self._losses.take():
                self._emit("gap", 0, tuple(gap))
