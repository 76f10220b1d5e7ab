"""What is in force by the messages heard so far. No I/O and no clock: a board is told the time."""

from __future__ import annotations

from .constraint import GlobalConstraint
from .reading import Heard, Key
from .signing import Refusal

__all__ = ["MOST", "Board"]

MOST = 10_000


class Board:
    """Takes messages, says what has changed. A *round* is what a broker sends of retained messages after SUBSCRIBE."""

    def __init__(self) -> None:
        self._held: dict[Key, GlobalConstraint] = {}
        self._changed: set[Key] = set()

    def hear(self, heard: Heard, now: float) -> None:
        """Take one message.

        Raises:
            Refusal: it is not obeyed.
        """
        raise NotImplementedError

    def disregard(self, topic: str) -> None:
        """A message on this topic was refused: what was in force by the one before it stays so."""

    def begin_round(self, now: float) -> None:
        """A new connection: what the broker retains is going to come, in any order."""

    def end_round(self, now: float, *, complete: bool) -> None:
        """It is through, or with ``complete=False`` it has broken off."""

    def settle(self, now: float) -> float | None:
        """Do what is due; returns when to call again, if at all."""
        return None

    def in_force(self, now: float) -> list[GlobalConstraint]:
        """What is in force, the latest change last."""
        return [c for c in self._held.values() if c.expires_at is None or c.expires_at > now]

    def take_changes(self) -> dict[Key, GlobalConstraint | None]:
        """What has changed since the last call: the constraint that is in force now, or None for none."""
        changes = {key: self._held.get(key) for key in self._changed}
        self._changed.clear()
        return changes

    def take_back(self, key: Key, before: GlobalConstraint | None) -> None:
        """What was put in force cannot be read by who was to obey it: what was in force before it stays so."""
        self._held.pop(key, None)
        if before is not None:
            self._held[key] = before

    def _put(self, key: Key, constraint: GlobalConstraint) -> None:
        if self._held.get(key) != constraint:
            self._changed.add(key)
            self._held.pop(key, None)
            self._held[key] = constraint

    def _drop(self, key: Key) -> None:
        if self._held.pop(key, None) is not None:
            self._changed.add(key)

    @staticmethod
    def _need_room(count: int) -> None:
        """Whoever may write constraints must not fill the memory of those who read them."""
        if count >= MOST:
            raise Refusal("too_many", f"there are {MOST} constraints already")
