"""Unsigned constraints: what is retained is in force, in the older form of one topic a scope and in the typed one."""

from __future__ import annotations

from itertools import takewhile

from .board import MOST, Board
from .constraint import GlobalConstraint
from .reading import Heard, Key, Lift
from .topics import place, scope_topics

__all__ = ["RetainedBoard"]

# Within this time after the scope's topic was emptied a controller of the new form fills it again.
_GRACE_S = 1.0


class RetainedBoard(Board):
    """What is in force by what the topics hold.

    A controller of the older form knows the scope's topic alone and lifts all by emptying it. So what a typed topic
    holds counts only while the scope's topic holds anything, and what was lifted that way is remembered.
    """

    def __init__(self) -> None:
        super().__init__()
        self._typed: dict[Key, GlobalConstraint] = {}
        self._shared: dict[str, Heard] = {}
        self._lifted: dict[Key, GlobalConstraint] = {}
        self._round: dict[str, Heard] | None = None
        # Both in the order of their times.
        # Scopes of which a type was lifted just now by its own topic: who did so fills the scope's own again.
        self._resuming: dict[str, float] = {}
        # Scopes with constraints on typed topics and an empty one of their own, and when that lifts them.
        self._doubtful: dict[str, float] = {}

    def hear(self, heard: Heard, now: float) -> None:
        if self._round is None:
            self._hear_live(heard, now)
        else:
            if heard.topic not in self._round:
                self._need_room(len(self._round))
            self._round.pop(heard.topic, None)
            self._round[heard.topic] = heard

    def disregard(self, topic: str) -> None:
        if self._round is not None and topic not in self._round and len(self._round) < MOST:
            self._round[topic] = self._last_on(topic)

    def begin_round(self, now: float) -> None:
        self.end_round(now, complete=False)
        self._round = {}

    def end_round(self, now: float, *, complete: bool) -> None:
        heard, self._round = self._round, None
        if heard is None:
            return
        if complete:
            self._compare(heard, now)
            return
        for message in heard.values():
            self._hear_live(message, now)

    def settle(self, now: float) -> float | None:
        for scope in _due(self._doubtful, now):
            self._lift_all(scope)
        _due(self._resuming, now)
        return next(iter(self._doubtful.values()), None)

    def typed(self, scope: str) -> dict[str, GlobalConstraint]:
        """What the typed topics of a scope hold, by type, in force or not."""
        return {kind: constraint for (of, kind), constraint in self._typed.items() if of == scope}

    def _last_on(self, topic: str) -> Heard:
        """What was obeyed last of what came on a topic; where there is nothing, a message that says nothing."""
        scope, kind = place(topic)
        if kind is None:
            last = self._shared.get(topic)
            return last or Heard(topic, scope, None, Lift(scope, ()))
        return Heard(topic, scope, kind, self._typed.get((scope, kind)) or Lift(scope, ()))

    def _hear_live(self, heard: Heard, now: float) -> None:
        command, kinds = heard.command, self._kinds(heard)
        if isinstance(command, GlobalConstraint):
            key = (command.scope, command.type)
            if key not in self._held:
                self._need_room(len(self._held))
            if heard.type is None:
                self._need_room(len(self._shared) - (heard.topic in self._shared))
                self._shared[heard.topic] = heard
                self._doubtful.pop(command.scope, None)
            else:
                self._need_room(len(self._typed) - (key in self._typed))
                self._typed[key] = command
            self._lifted.pop(key, None)
            self._put(key, command)
            return
        if heard.type is not None:
            self._resuming.pop(heard.scope, None)
            self._resuming[heard.scope] = now + _GRACE_S
            for key in kinds:
                self._typed.pop(key, None)
                self._lifted.pop(key, None)
        elif command is not None:
            self._shared[heard.topic] = heard
            self._doubtful.pop(heard.scope, None)
        else:
            self._emptied(heard, now)
            return
        for key in kinds:
            self._drop(key)

    def _emptied(self, heard: Heard, now: float) -> None:
        """The scope's own topic holds nothing any more."""
        before = self._shared.pop(heard.topic, None)
        scope = heard.scope if before is None else before.scope
        if self._resuming.get(scope, 0.0) <= now:
            self._lift_all(scope)
            return
        for key in [key for key in self._held if key[0] == scope and key not in self._typed]:
            self._drop(key)
        if any(key[0] == scope for key in self._held):
            self._doubtful.pop(scope, None)
            self._doubtful[scope] = now + _GRACE_S

    def _lift_all(self, scope: str) -> None:
        for key in [key for key in self._held if key[0] == scope]:
            self._drop(key)
        self._lifted |= {key: constraint for key, constraint in self._typed.items() if key[0] == scope}

    def _compare(self, heard: dict[str, Heard], now: float) -> None:
        """A round is through: what is not retained was lifted while we were away."""
        before, typed_before, held_before = self._shared, self._typed, dict(self._held)
        there = [message for message in heard.values() if message.command is not None]
        self._shared = {message.topic: message for message in there if message.type is None}
        self._typed = {
            (message.scope, message.type): message.command
            for message in there
            if message.type is not None and isinstance(message.command, GlobalConstraint)
        }
        self._lifted = {key: one for key, one in self._lifted.items() if self._typed.get(key) == one}
        new = {key: one for key, one in self._typed.items() if key not in self._lifted}
        for message in self._shared.values():
            # The last one written: a controller of the new form writes the typed topic first.
            if isinstance(message.command, GlobalConstraint):
                new[message.scope, message.command.type] = message.command
            else:
                for key in self._kinds(message):
                    new.pop(key, None)
        # Where neither the scope's topic nor that of a type has changed nothing has happened: what came on the first
        # before that, and was overwritten, is in force still; what was lifted there is not.
        same = {message.scope for topic, message in self._shared.items() if before.get(topic) == message}
        for key in {*new, *held_before}:
            if key[0] in same and self._typed.get(key) == typed_before.get(key):
                new.pop(key, None)
                if key in held_before:
                    new[key] = held_before[key]
        # A controller may be in the middle of a resume.
        self._resuming = {key[0]: now + _GRACE_S for key in self._typed}
        self._doubtful = {}
        for scope in {key[0] for key in new}:
            if not any(topic in self._shared for topic in scope_topics(scope)):
                self._doubtful[scope] = now + _GRACE_S
        for key in held_before.keys() - new.keys():
            self._drop(key)
        for key, constraint in new.items():
            self._put(key, constraint)

    def _kinds(self, heard: Heard) -> list[Key]:
        """What a message that lifts speaks of, where it says so."""
        if isinstance(heard.command, Lift):
            return [(heard.scope, kind) for kind in heard.command.types]
        return [] if heard.type is None else [(heard.scope, heard.type)]


def _due(times: dict[str, float], now: float) -> list[str]:
    """Take out those whose time has come; the earliest are the first."""
    due = list(takewhile(lambda name: times[name] <= now, times))
    for name in due:
        del times[name]
    return due
