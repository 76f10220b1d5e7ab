"""What to publish so that unsigned readers of both forms agree, in this order."""

from __future__ import annotations

import dataclasses
import math
import secrets
from collections.abc import Container, Iterable
from typing import Any, NamedTuple

from .constraint import GlobalConstraint
from .retained_board import RetainedBoard
from .topics import TYPES, scope_topic, scope_topics, typed_topic

__all__ = ["PlainCommands", "Publication", "renewed"]


class Publication(NamedTuple):
    """One retained message; a payload of None takes away what is retained."""

    topic: str
    payload: dict[str, Any] | None


def renewed(constraint: GlobalConstraint) -> GlobalConstraint:
    """The same constraint as a publication of its own, told from all others by its ``revision``."""
    return dataclasses.replace(constraint, extra={**constraint.extra, "revision": secrets.token_hex(8)})


class PlainCommands:
    """Each constraint goes on the topic of its type, then on the scope's, where readers of the older form look.

    Those leave one message on the scope's topic and know no other. So before it is overwritten what it holds gets a
    topic of its type, and what such a controller has lifted is taken from the typed topics.
    """

    def __init__(self) -> None:
        self.board = RetainedBoard()
        """Where what the broker retains is read onto."""

    def put(self, scope: str, constraints: Iterable[GlobalConstraint], now: float) -> list[Publication]:
        """Put constraints of one scope in force."""
        new = {constraint.type: constraint for constraint in constraints}
        return [
            *self._tidy(scope, new, now),
            *(Publication(typed_topic(scope, kind), constraint.payload()) for kind, constraint in new.items()),
            *(Publication(scope_topic(scope), constraint.payload()) for constraint in new.values()),
        ]

    def kinds(self, scope: str) -> list[str]:
        """Every type that may be in force in a scope."""
        return list(dict.fromkeys([*TYPES, *self.board.typed(scope), *self._in_force(scope, -math.inf)]))

    def lift(self, scope: str, kinds: Iterable[str], now: float) -> list[Publication]:
        """Lift types of one scope; what remains stands on the scope's topic again."""
        in_force, lifted = self._in_force(scope, now), dict.fromkeys(kinds)
        remaining = [one for kind, one in in_force.items() if kind not in lifted]
        return [
            *self._tidy(scope, lifted, now),
            *(Publication(typed_topic(scope, kind), None) for kind in lifted),
            *(Publication(topic, None) for topic in scope_topics(scope)),
            *(Publication(scope_topic(scope), renewed(one).payload()) for one in remaining),
        ]

    def _tidy(self, scope: str, spoken_for: Container[str], now: float) -> list[Publication]:
        """Make the typed topics say what is in force, except of the types that are spoken for."""
        typed, in_force = self.board.typed(scope), self._in_force(scope, now)
        gone = [kind for kind in typed if kind not in in_force and kind not in spoken_for]
        adopted = [one for kind, one in in_force.items() if typed.get(kind) != one and kind not in spoken_for]
        return [
            *(Publication(typed_topic(scope, kind), None) for kind in gone),
            *(Publication(typed_topic(scope, one.type), one.payload()) for one in adopted),
        ]

    def _in_force(self, scope: str, now: float) -> dict[str, GlobalConstraint]:
        return {one.type: one for one in self.board.in_force(now) if one.scope == scope}
