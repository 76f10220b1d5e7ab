"""What to publish so that readers who verify obey: nothing is ever empty, and each message says its place."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .constraint import GlobalConstraint
from .keys import KeyFile, SigningKey
from .plain_commands import Publication, renewed
from .reading import RESUME
from .signed_board import SignedBoard
from .signing import sign
from .topics import TYPES, scope_topic, typed_topic

__all__ = ["Pen", "SignedCommands"]

_MICROSECONDS = 1_000_000


class Pen:
    """Signs one message after another, each with a higher number.

    Args:
        key: what signs, or a file whose first key does.
        ttl: seconds for which a command is valid that does not end by itself.
    """

    def __init__(self, key: SigningKey | KeyFile, ttl: float) -> None:
        self._key = key
        self._seq = 0
        self.ttl = ttl

    def count_from(self, highest: int, now: float) -> None:
        """Number what follows above this, even where that controller's clock is ahead of this one's."""
        self._seq = max(self._seq, highest, int(now * _MICROSECONDS))

    def write(self, topic: str, message: GlobalConstraint, until: float, now: float) -> Publication:
        """A message that is valid for this topic until then; those who do not verify are told so in plain."""
        self._seq += 1
        key = self._key.signing() if isinstance(self._key, KeyFile) else self._key
        issued_at = int(now)
        ttl = max(1, math.ceil(until - issued_at))
        payload = {**message.payload(), "expires_at": until}
        return Publication(topic, sign(payload, topic, key, issued_at=issued_at, ttl=ttl, seq=self._seq))


class SignedCommands:
    """The same order of topics as unsigned; a resume is a message too, and stays so that late readers see it."""

    def __init__(self, pen: Pen) -> None:
        self.board = SignedBoard()
        """Where what the broker retains is read onto."""
        self._pen = pen

    def put(self, scope: str, constraints: Iterable[GlobalConstraint], now: float) -> list[Publication]:
        """Put constraints of one scope in force."""
        new = list(constraints)
        self._pen.count_from(self.board.highest(scope), now)
        return [
            *(self._constraint(typed_topic(scope, constraint.type), constraint, now) for constraint in new),
            *(self._constraint(scope_topic(scope), constraint, now) for constraint in new),
        ]

    def kinds(self, scope: str) -> list[str]:
        """Every type that may be in force in a scope, whatever has become of the messages that say so."""
        return list(dict.fromkeys([*TYPES, *self.board.kinds(scope)]))

    def lift(self, scope: str, kinds: Iterable[str], now: float) -> list[Publication]:
        """Lift types of one scope; what remains stands on the scope's topic again."""
        lifted = list(dict.fromkeys(kinds))
        remaining = [one for one in self.board.in_force(now) if one.scope == scope and one.type not in lifted]
        self._pen.count_from(self.board.highest(scope), now)
        return [
            *(self._resume(typed_topic(scope, kind), scope, [kind], now) for kind in lifted),
            self._resume(scope_topic(scope), scope, lifted, now),
            *(self._constraint(scope_topic(scope), renewed(one), now) for one in remaining),
        ]

    def _constraint(self, topic: str, constraint: GlobalConstraint, now: float) -> Publication:
        until = now + self._pen.ttl if constraint.expires_at is None else constraint.expires_at
        return self._pen.write(topic, constraint, until, now)

    def _resume(self, topic: str, scope: str, kinds: list[str], now: float) -> Publication:
        # No sooner than what it lifts, which could be played again once this is too old to be heard.
        until = max([now + self._pen.ttl, *(self.board.lapses_at(scope, kind) for kind in kinds)])
        resume = GlobalConstraint(f"{RESUME}-{scope}", scope, RESUME, {"types": kinds})
        return self._pen.write(topic, resume, until, now)
