"""What the protocol remembers over a connection: subscriptions, their retained messages, keep-alive.

No I/O and no clock: time comes in as seconds, packets go out through ``Wire``. Used on the I/O
thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ...topics import matches
from .inbox import Inbox
from .rounds import REFUSED, Ending, Round

__all__ = ["Session", "Wire"]

_ROUTES = 1024
"""Topics whose subscriptions are remembered."""


class Wire(Protocol):
    """What a session says to the broker; subscribe and unsubscribe return the packet identifier."""

    def subscribe(self, topic_filter: str, qos: int) -> int: ...

    def unsubscribe(self, topic_filter: str) -> int: ...

    def ping(self) -> None: ...


class Session:
    """The subscriptions of one connector.

    Args:
        timeout_s: how long SUBACK may take, in seconds.
        retained_timeout_s: how long to wait for retained messages after SUBACK, in seconds.
        persistent: the broker is asked to keep the session (MQTT 3.1.1 section 3.1.2.4), so that it may know
            subscriptions that have ended meanwhile.
        emit: called with kind, token and detail of a ``backends.base.Event``.
        warn: called with a line to log.
    """

    def __init__(
        self,
        timeout_s: float,
        retained_timeout_s: float,
        persistent: bool,
        emit: Callable[[str, int, Any], None],
        warn: Callable[[str], None],
    ) -> None:
        self._timeout_s, self._retained_timeout_s, self._persistent = timeout_s, retained_timeout_s, persistent
        self._emit, self._warn = emit, warn
        self._members: dict[int, Inbox] = {}
        self._routes: dict[str, list[Inbox]] = {}
        self._wire: Wire | None = None
        self._rounds: dict[int, Round] = {}
        # By subscription: one for each of its filters, over or not.
        self._asked: dict[int, list[Round]] = {}
        self._unserved: set[str] = set()
        self._unsubscribing: dict[int, Ending] = {}
        self._ended_offline: set[str] = set()
        # Sent on this connection and not answered, some of them long ago.
        self._unanswered: set[int] = set()
        self._keepalive_s = 0.0
        self._pings_sent = self._pings_answered = 0
        self._ping_since: float | None = None
        self._last_ping = 0.0

    @property
    def is_answered(self) -> bool:
        """Whether no SUBSCRIBE waits for its SUBACK, and no PINGREQ for its PINGRESP."""
        return self._ping_since is None and all(round_.granted_at is not None for round_ in self._rounds.values())

    def connected(
        self, wire: Wire, keepalive_s: float, *, session_present: bool, probing: bool = False, now: float
    ) -> None:
        """CONNACK came: subscribe to everything (again), and unsubscribe from what a session has kept in vain.

        ``probing``: send a PINGREQ in any case, so that what ends every connection at once is not taken for the
        effect of a message that follows.
        """
        self._wire, self._keepalive_s = wire, keepalive_s
        self._pings_sent = self._pings_answered = 0
        self._ping_since = None
        ended, self._ended_offline = self._ended_offline, set()
        for topic_filter in sorted(ended) if session_present else ():
            self._unsubscribe(topic_filter, None, now)
        filters: dict[str, list[Inbox]] = {}
        for inbox in self._members.values():
            for topic_filter in inbox.filters:
                filters.setdefault(topic_filter, []).append(inbox)
        for topic_filter, members in filters.items():
            self._subscribe(topic_filter, members, now)
        if filters or probing:
            self._ping(now)

    def disconnected(self) -> None:
        """The connection is gone, and with it what belonged to it alone."""
        self._wire = None
        self._rounds.clear()
        self._asked.clear()
        self._unanswered.clear()
        for packet_id, ending in list(self._unsubscribing.items()):
            self._end_offline(ending.topic_filter)
            self._finish_unsubscribe(packet_id)

    def add(self, inbox: Inbox, now: float) -> None:
        self._members[inbox.subscription] = inbox
        self._routes.clear()
        self._ended_offline.difference_update(inbox.filters)
        if self._wire is not None:
            for topic_filter in inbox.filters:
                self._subscribe(topic_filter, [inbox], now)
            self._ping(now)

    def remove(self, subscription: int, now: float) -> Inbox | None:
        """End a subscription, and its filter when it was the last one of it."""
        inbox = self._members.pop(subscription, None)
        if inbox is None:
            return None
        self._routes.clear()
        for round_ in self._asked.pop(subscription, ()):
            round_.members.remove(inbox)
        ending = [topic_filter for topic_filter in inbox.filters if not self._is_wanted(topic_filter)]
        for topic_filter in ending:
            if self._wire is not None:
                self._unsubscribe(topic_filter, subscription, now)
            else:
                self._end_offline(topic_filter)
        if self._wire is None or not ending:
            self._emit("unsubscribed", subscription, None)
        return inbox

    def route(self, topic: str, payload: bytes, retain: bool, now: float) -> list[Inbox]:
        """The inboxes that a message goes to, each once.

        The RETAIN flag says that a SUBSCRIBE asked for the message (MQTT 3.1.1 section 3.3.1.3):
        while one of ours waits for such messages, only those who asked get it, and once.
        """
        if retain and self._rounds:
            asked = [round_ for round_ in self._rounds.values() if matches(round_.topic_filter, topic)]
            targets: dict[Inbox, None] = {}
            for round_ in asked:
                round_.last_retained_at = now
                if round_.is_new(topic, payload):
                    targets.update((inbox, None) for inbox in round_.members if inbox.matches(topic))
            if asked:
                return list(targets)
        found = self._routes.get(topic)
        if found is None:
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            found = [inbox for inbox in self._members.values() if inbox.matches(topic)]
            self._routes[topic] = found
        return found

    def suback(self, packet_id: int, codes: bytes, now: float) -> bool:
        """SUBACK came, with a code for each filter; False: it answers nothing that was asked."""
        if packet_id not in self._unanswered or packet_id in self._unsubscribing or len(codes) != 1:
            return False
        self._unanswered.discard(packet_id)
        round_ = self._rounds.get(packet_id)
        if round_ is None:
            # It took longer than anybody waited.
            return True
        round_.granted_at = now
        self._answer(round_, min(codes[0], REFUSED))
        if codes[0] >= REFUSED:
            self._finish_round(packet_id)
        return True

    def unsuback(self, packet_id: int) -> bool:
        """UNSUBACK came; False: it answers nothing that was asked."""
        if packet_id not in self._unanswered or packet_id in self._rounds:
            return False
        self._unanswered.discard(packet_id)
        self._finish_unsubscribe(packet_id)
        return True

    def _finish_unsubscribe(self, packet_id: int) -> None:
        ending = self._unsubscribing.pop(packet_id, None)
        if ending is None or ending.subscription is None:
            return
        if all(other.subscription != ending.subscription for other in self._unsubscribing.values()):
            self._emit("unsubscribed", ending.subscription, None)

    def pingresp(self, now: float) -> None:
        # One that nothing asked for is none in advance.
        self._pings_answered = min(self._pings_sent, self._pings_answered + 1)
        self._ping_since = now if self._pings_answered < self._pings_sent else None
        for round_ in self._rounds.values():
            if round_.answered_at is None and round_.ping <= self._pings_answered:
                round_.answered_at = now

    def reading_resumed(self, now: float) -> None:
        """What lay unread during a pause of our own is not the broker's silence."""
        if self._ping_since is not None:
            self._ping_since = now

    def tick(self, last_sent: float, last_received: float, paused: bool, now: float) -> bool:
        """Do what is due; False: the broker is gone, it has not answered a PINGREQ.

        Args:
            last_sent, last_received: when bytes were.
            paused: reading is paused, so answers cannot be seen.
        """
        self._finish_rounds(now)
        for packet_id, ending in list(self._unsubscribing.items()):
            if now >= ending.sent_at + self._timeout_s:
                self._end_offline(ending.topic_filter)
                self._finish_unsubscribe(packet_id)
        if not self._keepalive_s or self._wire is None:
            return True
        if self._ping_since is not None and not paused and now >= self._ping_since + self._keepalive_s / 2:
            return False
        if now >= self._ping_due(last_sent, last_received):
            self._ping(now)
        return True

    def deadline(self, last_sent: float, last_received: float, paused: bool) -> float | None:
        """When ``tick`` is due next, if at all."""
        due = [
            round_.sent_at + self._timeout_s if done is None else done
            for round_ in self._rounds.values()
            for done in [round_.done_at(self._retained_timeout_s)]
        ]
        due += [ending.sent_at + self._timeout_s for ending in self._unsubscribing.values()]
        if self._keepalive_s and self._wire is not None:
            due.append(self._ping_due(last_sent, last_received))
            if self._ping_since is not None and not paused:
                due.append(self._ping_since + self._keepalive_s / 2)
        return min(due, default=None)

    def _ping_due(self, last_sent: float, last_received: float) -> float:
        """When the next PINGREQ goes out.

        With one unanswered, which a pause of ours can make last, the broker must hear from us none the less
        (MQTT 3.1.1 section 3.1.2.10).
        """
        idle_since = min(last_sent, last_received) if self._ping_since is None else max(last_sent, self._last_ping)
        return idle_since + self._keepalive_s

    def _finish_rounds(self, now: float) -> None:
        for packet_id, round_ in list(self._rounds.items()):
            done_at = round_.done_at(self._retained_timeout_s)
            if done_at is not None and now >= done_at:
                self._finish_round(packet_id)
            elif done_at is None and now >= round_.sent_at + self._timeout_s:
                self._warn(f"the broker did not answer SUBSCRIBE to {round_.topic_filter}")
                self._answer(round_, REFUSED)
                self._finish_round(packet_id)

    def _answer(self, round_: Round, code: int) -> None:
        """Tell whose SUBSCRIBEs are all answered by now; the answer is that of the filter itself."""
        round_.code = code
        for inbox in round_.members:
            asked = self._asked[inbox.subscription]
            if any(one.code is None for one in asked):
                continue
            refused = {one.topic_filter for one in asked if one.code == REFUSED}
            own = next(one.code for one in asked if one.topic_filter == inbox.topic_filter)
            self._emit("subscribed", inbox.subscription, own)
            if inbox.topic_filter not in refused and not refused <= self._unserved:
                self._warn(f"the broker refused {', '.join(refused)}: events in batches do not come")
            self._unserved.difference_update(inbox.filters)
            self._unserved |= refused

    def _finish_round(self, packet_id: int) -> None:
        """Tell whose retained messages are all through by now."""
        round_ = self._rounds.pop(packet_id)
        round_.over = True
        for inbox in round_.members:
            asked = self._asked[inbox.subscription]
            refused = any(one.code == REFUSED for one in asked if one.topic_filter == inbox.topic_filter)
            if not refused and all(one.over for one in asked):
                self._emit("retained", inbox.subscription, inbox.given())

    def _subscribe(self, topic_filter: str, members: list[Inbox], now: float) -> None:
        assert self._wire is not None
        qos = max(inbox.qos for inbox in self._members.values() if topic_filter in inbox.filters)
        packet_id = self._wire.subscribe(topic_filter, qos)
        self._unanswered.add(packet_id)
        round_ = self._rounds[packet_id] = Round(topic_filter, members, self._pings_sent + 1, now)
        for inbox in members:
            self._asked.setdefault(inbox.subscription, []).append(round_)

    def _unsubscribe(self, topic_filter: str, subscription: int | None, now: float) -> None:
        assert self._wire is not None
        packet_id = self._wire.unsubscribe(topic_filter)
        self._unsubscribing[packet_id] = Ending(topic_filter, subscription, now)
        self._unanswered.add(packet_id)

    def _end_offline(self, topic_filter: str) -> None:
        """Remember a filter that nobody wants any longer, and that a session may still know."""
        if self._persistent and not self._is_wanted(topic_filter):
            self._ended_offline.add(topic_filter)

    def _is_wanted(self, topic_filter: str) -> bool:
        return any(topic_filter in inbox.filters for inbox in self._members.values())

    def _ping(self, now: float) -> None:
        assert self._wire is not None
        self._wire.ping()
        self._pings_sent += 1
        self._last_ping = now
        if self._ping_since is None:
            self._ping_since = now
