"""Waiting for a condition, with a deadline that says what never came true."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

_STEP_S = 0.01


async def eventually(predicate: Callable[[], Any], timeout: float = 20.0) -> Any:
    """Let the loop run until ``predicate()`` is true; its value is returned."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            pytest.fail(_complaint(predicate, timeout))
        await asyncio.sleep(_STEP_S)
    return value


def eventually_blocking(predicate: Callable[[], Any], timeout: float = 20.0) -> Any:
    """The same for a test without a loop."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            pytest.fail(_complaint(predicate, timeout))
        time.sleep(_STEP_S)
    return value


async def settled(reading: Callable[[], Any], still_s: float = 0.3) -> Any:
    """Let the loop run until ``reading()`` has not changed for a while: for what must *not* happen."""
    last, since = reading(), time.monotonic()
    while time.monotonic() - since < still_s:
        await asyncio.sleep(_STEP_S)
        if (now := reading()) != last:
            last, since = now, time.monotonic()
    return last


def _complaint(predicate: Callable[[], Any], timeout: float) -> str:
    try:
        text = inspect.getsource(predicate).strip()
    except (OSError, TypeError):
        text = repr(predicate)
    seen = inspect.getclosurevars(predicate).nonlocals
    shown = ", ".join(f"{name}={str(value)[:300]}" for name, value in seen.items())
    return f"not true within {timeout} s: {text}\nwith {shown}"
