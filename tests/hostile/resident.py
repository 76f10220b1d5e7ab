"""How much memory this process came to hold while something went on."""

from __future__ import annotations

import re
from pathlib import Path


class Resident:
    """Begins at what is resident now."""

    def __init__(self) -> None:
        # Sets the peak back to the present (proc(5)).
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._read("VmRSS")

    def grown_at_most(self) -> int:
        """The largest growth since then, in bytes."""
        return self._read("VmHWM") - self._before

    @staticmethod
    def _read(name: str) -> int:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found[1]) * 1024
