"""Signed constraints: the highest sequence number speaks, in whatever order and however often messages come."""

from __future__ import annotations

from typing import NamedTuple

from .board import Board
from .reading import Heard, Key, Lift
from .signing import Refusal, Stamp

__all__ = ["SignedBoard"]


class _Register(NamedTuple):
    seq: int
    lapses_at: int


class SignedBoard(Board):
    """What is in force by signed messages alone.

    A retained message that is missing says nothing here, since whoever can write to the broker could have
    removed it: only a signed resume lifts. So rounds do not matter.
    """

    def __init__(self) -> None:
        super().__init__()
        self._registers: dict[Key, _Register] = {}
        self._last: dict[str, Stamp] = {}

    def hear(self, heard: Heard, now: float) -> None:
        stamp = heard.stamp
        assert stamp is not None
        last = self._last.get(heard.topic)
        if last is None:
            self._make_room(now)
        elif stamp == last:
            return  # retained, and sent again after a reconnect
        elif stamp.seq <= last.seq:
            raise Refusal("replayed", f"number {stamp.seq} came after {last.seq}")
        self._last[heard.topic] = stamp
        command = heard.command
        if isinstance(command, Lift):
            for kind in command.types:
                if self._is_news((command.scope, kind), stamp):
                    self._drop((command.scope, kind))
        elif command is not None and self._is_news((command.scope, command.type), stamp):
            self._put((command.scope, command.type), command)

    def highest(self, scope: str) -> int:
        """The highest number heard for a scope: the next one has to be above it."""
        return max((register.seq for key, register in self._registers.items() if key[0] == scope), default=0)

    def kinds(self, scope: str) -> list[str]:
        """The types that were ever spoken of in a scope."""
        return [kind for of, kind in self._registers if of == scope]

    def lapses_at(self, scope: str, kind: str) -> float:
        """When the last message on this type lapses, Unix seconds; 0 where there was none."""
        register = self._registers.get((scope, kind))
        return 0.0 if register is None else float(register.lapses_at)

    def _is_news(self, key: Key, stamp: Stamp) -> bool:
        register = self._registers.get(key)
        if register is not None and stamp.seq <= register.seq:
            return False
        self._registers[key] = _Register(stamp.seq, stamp.lapses_at)
        return True

    def _make_room(self, now: float) -> None:
        """Forget what has lapsed, once that matters: played again it is refused for its age."""
        try:
            self._need_room(max(len(self._last), len(self._registers)))
        except Refusal:
            self._last = {topic: stamp for topic, stamp in self._last.items() if stamp.lapses_at > now}
            self._registers = {key: kept for key, kept in self._registers.items() if kept.lapses_at > now}
            for key in self._held.keys() - self._registers.keys():
                self._drop(key)
            self._need_room(max(len(self._last), len(self._registers)))
