"""Reading batches as docs/wire.md describes them, with nothing of ours."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

try:
    from compression import zstd
except ImportError:
    from backports import zstd

__all__ = ["Event", "array", "events", "zstd"]

SUFFIX = "/@batch"
MAGIC = b"\x28\xb5\x2f\xfd"


class Event(NamedTuple):
    topic: str
    payload: Any
    qos: int


def array(payload: bytes) -> list[Any]:
    """The events of one batch."""
    found = json.loads(zstd.decompress(payload) if payload.startswith(MAGIC) else payload)
    assert isinstance(found, list)
    assert found, "no batch is empty"
    return found


def events(messages: Iterable[Any]) -> list[Event]:
    """The single events of what anything with ``topic``, ``payload`` and ``qos`` has received, in order."""
    found: list[Event] = []
    for message in messages:
        if message.topic.endswith(SUFFIX):
            topic = message.topic.removesuffix(SUFFIX)
            found += [Event(topic, event, message.qos) for event in array(message.payload)]
        else:
            found.append(Event(message.topic, message.payload, message.qos))
    return found
