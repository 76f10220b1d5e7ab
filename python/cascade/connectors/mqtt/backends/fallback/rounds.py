"""SUBSCRIBE and UNSUBSCRIBE under way: what each waits for."""

from __future__ import annotations

from typing import NamedTuple

from .inbox import Inbox

__all__ = ["REFUSED", "Ending", "Round"]

REFUSED = 128
"""SUBACK return code of a refusal (MQTT 3.1.1 section 3.9.3)."""

_QUIET_S = 0.05
"""After the PINGRESP behind a SUBSCRIBE, so long without a retained message means that all have come."""


class Round:
    """One SUBSCRIBE, from its sending until its retained messages are through."""

    def __init__(self, topic_filter: str, members: list[Inbox], ping: int, now: float) -> None:
        self.topic_filter, self.members, self.ping = topic_filter, members, ping
        self.sent_at = self.last_retained_at = now
        self.code: int | None = None
        """The granted QoS, or ``REFUSED``; None while there is no answer."""
        self.over = False
        self.granted_at: float | None = None
        self.answered_at: float | None = None
        # Digests of the retained messages so far, payload by topic.
        self._seen: dict[int, int] = {}

    def is_new(self, topic: str, payload: bytes) -> bool:
        """False for what came before: each SUBSCRIBE that overlaps brings a copy, and none says whose it is."""
        key, digest = hash(topic), hash(payload)
        known = self._seen.get(key) == digest
        self._seen[key] = digest
        return not known

    def done_at(self, retained_timeout_s: float) -> float | None:
        if self.granted_at is None:
            return None
        bound = self.granted_at + retained_timeout_s
        if self.answered_at is None:
            return bound
        return min(bound, max(self.granted_at, self.answered_at, self.last_retained_at) + _QUIET_S)


class Ending(NamedTuple):
    """One UNSUBSCRIBE; ``subscription`` is None where nobody waits for its answer."""

    topic_filter: str
    subscription: int | None
    sent_at: float
