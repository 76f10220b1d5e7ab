"""One connector in one process, as its events name it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

from .options import Options
from .presence import source_id

__all__ = ["Incarnation"]


class Incarnation:
    """Source, epoch and the numbers of each run's events; a fork makes a new one. Safe in any thread."""

    def __init__(self, options: Options) -> None:
        self.epoch = os.urandom(8).hex()
        self._options = options
        self._sequences: dict[str, Iterator[int]] = {}

    @property
    def source(self) -> str:
        return source_id(self._options.source_id)

    def next_in_run(self, run_id: str) -> int:
        """The next ``seq`` of (source, epoch, run), from 0; atomic, whoever shares the connector."""
        sequence = self._sequences.get(run_id)
        if sequence is None:
            sequence = self._sequences.setdefault(run_id, itertools.count())
        return next(sequence)
