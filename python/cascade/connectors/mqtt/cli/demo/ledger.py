"""Loss and duplicates, by the identity that every event carries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from .messages import Identity, Tally

__all__ = ["Ledger"]


class Ledger:
    """Which events of which publisher have been seen."""

    def __init__(self) -> None:
        self.received = 0
        self._seen: defaultdict[Identity, set[int]] = defaultdict(set)

    def note(self, event: Mapping[str, Any]) -> None:
        """Enter one event; its identity is (source, epoch, run_id, seq)."""
        self.received += 1
        self._seen[Identity(event["source"], event["epoch"], event["run_id"])].add(event["seq"])

    @property
    def duplicates(self) -> int:
        """Events seen more than once."""
        return self.received - sum(len(seen) for seen in self._seen.values())

    @property
    def missing(self) -> int:
        """Gaps below the highest seq of each publisher: on their way, or lost."""
        return sum(max(seen) + 1 - len(seen) for seen in self._seen.values())

    def complete(self, published: Mapping[Identity, int]) -> bool:
        """Whether everything that was published has been seen."""
        return all(len(self._seen[identity]) >= count for identity, count in published.items())

    def close(self, published: Mapping[Identity, int]) -> Tally:
        """The account against what the publishers say they published."""
        lost = {
            identity: sorted(set(range(count)) - self._seen[identity])
            for identity, count in published.items()
            if len(self._seen[identity]) < count
        }
        return Tally(self.received, self.duplicates, lost)
