"""The topics of constraints: one for each scope, and one for each type in a scope."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..topics import decode_id, encode_id

__all__ = ["ALL", "TYPES", "Place", "own_topics", "place", "scope_topic", "scope_topics", "typed_key", "typed_topic"]

_ROOT = "cascade/constraints/"
# What a topic to publish to cannot hold (MQTT 3.1.1 section 4.7).
_NO_NAME = frozenset("+#\0")

ALL = f"{_ROOT}#"
"""The filter that matches every topic of constraints."""

TYPES = ("pause", "concurrency", "rate_limit", "capacity")
"""The types that are known to every reader."""


class Place(NamedTuple):
    """What a topic is for: a scope, or with ``type`` one type of constraints in it."""

    scope: str
    type: str | None


def scope_topic(scope: str) -> str:
    """The topic that all types of a scope share: its ``:`` are written ``/``, its parts are made safe for a level."""
    return f"{_ROOT}{'/'.join(map(encode_id, scope.split(':')))}"


def typed_topic(scope: str, kind: str) -> str:
    """The topic of one type alone, so that a limit does not take the place of a pause for who comes later."""
    return f"{scope_topic(scope)}/@{encode_id(kind)}"


def typed_key(scope: str, kind: str) -> str:
    """One type of a scope as ``ConstraintManager.remove_constraints_by_scope`` takes it: ``task:a*:@pause``."""
    return typed_topic(scope, kind).removeprefix(_ROOT).replace("/", ":")


def place(topic: str) -> Place:
    """What an empty message on ``topic`` speaks of; ``topic`` matches ``ALL`` and is longer."""
    *levels, last = topic.removeprefix(_ROOT).split("/")
    # The older form of task:@x is task/@x.
    if last.startswith("@") and (levels == ["global"] or len(levels) > 1):
        return Place(_scope(levels), decode_id(last[1:]))
    return Place(_scope([*levels, last]), None)


def scope_topics(scope: str) -> list[str]:
    """``scope_topic`` first, then, where it differs, what a controller of the older form writes: it encodes nothing."""
    ours, older = scope_topic(scope), _ROOT + scope.replace(":", "/")
    return [ours] if older == ours or not _NO_NAME.isdisjoint(older) else [ours, older]


def own_topics(scopes: Iterable[str]) -> list[str]:
    """Every topic of these scopes by name, for brokers that give no retained messages to wildcards."""
    return [topic for scope in scopes for topic in (scope_topic(scope), *(typed_topic(scope, kind) for kind in TYPES))]


def _scope(levels: list[str]) -> str:
    return ":".join(map(decode_id, levels))
