"""A function in a process of its own, where memory and threads are nobody else's."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

__all__ = ["resident", "run", "threads"]


def run(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function, one of a module's, returns there."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result(120)


def resident() -> int:
    """Bytes of memory that this process has resident."""
    return _status("VmRSS") * 1024


def threads() -> int:
    """Threads of this process, the pool's own among them."""
    return _status("Threads")


def _status(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
