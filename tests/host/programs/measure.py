"""What this process takes of the machine (Linux)."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_PAGE_BYTES = 4096


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def threads() -> list[str]:
    """The names of the threads, Python's and others."""
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


class MostThreads:
    """``with MostThreads() as most``: ``most.more`` is by how many there were more than at the beginning."""

    def __enter__(self) -> Self:
        self.more, self._before = 0, len(threads()) + 1
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            self.more = max(self.more, len(list(Path("/proc/self/task").iterdir())) - self._before)
