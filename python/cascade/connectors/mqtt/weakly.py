"""Callbacks for an event loop that do not keep alive whose methods they are."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["weakly"]


def weakly(method: Callable[..., None]) -> Callable[..., None]:
    """Call it as long as its object lives: a loop must not keep a connector that nobody holds any longer."""
    weak = weakref.WeakMethod(method)

    def call(*args: Any) -> None:
        strong = weak()
        if strong is not None:
            strong(*args)

    return call
