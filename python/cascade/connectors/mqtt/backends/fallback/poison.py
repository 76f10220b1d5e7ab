"""Finds the message that the broker ends the connection for, so that it alone is dropped.

No I/O and no clock. A connection that the broker ends within 5 s of the start of a replay is a death.
After three in a row the replay is sent one message at a time; who is alone in flight at two deaths in a
row is the culprit. So is the QoS 0 message that was part-written at three ends in a row, each within 5 s.
"""

from __future__ import annotations

from .lane import Message

__all__ = ["Poison"]

_SOON_S = 5.0
_DEATHS = 3
_ALONE = 2
_PART_WRITTEN = 3


class _Suspect:
    """How many times in a row it was the same message."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._times = 0

    def seen(self, message: Message | None) -> int:
        number = None if message is None else message.number
        self._times = self._times + 1 if number == self._number else 1
        self._number = number
        return self._times


class Poison:
    """What the ends of connections say of the messages that were sent on them."""

    def __init__(self) -> None:
        self.probing = False
        """Send what is unacknowledged one message at a time, and nothing else."""
        self._connected_at = 0.0
        self._replaying = False
        self._deaths = 0
        self._probe: Message | None = None
        self._alone, self._part_written = _Suspect(), _Suspect()

    def connected(self, *, replay: bool, now: float) -> None:
        """CONNACK came; ``replay``: what a former connection left unacknowledged is sent again."""
        self._connected_at, self._replaying, self._probe = now, replay, None

    def alone(self, message: Message) -> None:
        """While probing: this one is sent now, and nothing else is in flight."""
        self._probe = message

    def acknowledged(self) -> None:
        """While probing: the broker has lived through it."""
        self._probe = None
        self._alone.seen(None)

    def replayed(self) -> None:
        """While probing: all that was unacknowledged is through."""
        self.probing = False
        self._deaths = 0

    def ended(self, *, by_peer: bool, part_written: Message | None, now: float) -> list[Message]:
        """The connection is gone; returns the messages that the broker dies of.

        Args:
            by_peer: the broker closed or reset it. Time-outs of ours say nothing of any message.
            part_written: the QoS 0 message that had gone out in part.
        """
        soon = by_peer and now - self._connected_at < _SOON_S
        culprits = []
        if self.probing:
            probe, self._probe = self._probe if by_peer else None, None
            if self._alone.seen(probe) >= _ALONE and probe is not None:
                culprits.append(probe)
        else:
            self._deaths = self._deaths + 1 if soon and self._replaying else 0
            self.probing = self._deaths >= _DEATHS
        if not soon:
            part_written = None
        if self._part_written.seen(part_written) >= _PART_WRITTEN and part_written is not None:
            culprits.append(part_written)
        return culprits
