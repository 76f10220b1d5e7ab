"""How a plain function publishes when nothing may be lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from .events import TOPIC

__all__ = ["publish_each"]

# A queue that is full is tried again after this long.
_PAUSE_S = 0.0005


def publish_each(publish: Callable[[str, Any, int], bool], events: Iterable[Any], qos: int = 0) -> None:
    """Hand over every event, waiting while ``publish`` answers that its queue is full."""
    for event in events:
        while not publish(TOPIC, event, qos):
            time.sleep(_PAUSE_S)
