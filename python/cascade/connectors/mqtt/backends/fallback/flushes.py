"""Flushes: how much is left of what had been accepted when each began."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Flushes"]


@dataclass
class _Flush:
    mark: int
    left: int


class Flushes:
    """Not locked: the outbox's lock covers it.

    Args:
        flushed: called with the token of a flush of which nothing is left.
    """

    def __init__(self, flushed: Callable[[int], None]) -> None:
        self._flushed = flushed
        self._flushes: dict[int, _Flush] = {}

    def begin(self, token: int, mark: int, left: int) -> None:
        """Count down ``left`` events, of those up to number ``mark``."""
        self._flushes[token] = _Flush(mark, left)
        if not left:
            self._flushed(token)

    def ended(self, number: int, events: int) -> None:
        """A message of so many events, the first of which has this number, is acknowledged, written, or given up."""
        for token, flush in list(self._flushes.items()):
            if number <= flush.mark and flush.left:
                flush.left -= events
                if not flush.left:
                    self._flushed(token)

    def left(self, token: int) -> int:
        """What is left of a flush, which ends with the answer 0."""
        flush = self._flushes.get(token)
        if flush is not None and flush.left:
            return flush.left
        self.forget(token)
        return 0

    def forget(self, token: int) -> None:
        self._flushes.pop(token, None)
