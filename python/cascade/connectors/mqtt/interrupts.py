"""Ctrl-C reaches every process of a terminal's group; children that somebody ends in order must not see it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["children_deaf_to_ctrl_c"]


@contextmanager
def children_deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started within inherit a mask that blocks SIGINT; this thread gets it back afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
