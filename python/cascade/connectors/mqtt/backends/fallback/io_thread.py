"""The process's one I/O thread for this backend, with its event loop."""

from __future__ import annotations

import asyncio
import os
import threading

__all__ = ["io_loop"]

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_inherited: list[asyncio.AbstractEventLoop] = []


def io_loop() -> asyncio.AbstractEventLoop:
    """The loop that all connectors of this process share; its thread is a daemon, started at first use.

    Raises:
        OSError: the operating system refuses the descriptors of a loop.
        RuntimeError: it refuses the thread.
    """
    global _loop
    with _lock:
        if _loop is None:
            loop = asyncio.SelectorEventLoop()
            try:
                threading.Thread(target=_run, args=(loop,), name="cascade-mqtt-io", daemon=True).start()
            except RuntimeError:
                loop.close()
                raise
            _loop = loop
        return _loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _forget() -> None:
    """In a forked child: its thread is gone, and its selector is the parent's, so it is never touched again."""
    global _lock, _loop
    _lock = threading.Lock()
    if _loop is not None:
        _inherited.append(_loop)
        _loop = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
