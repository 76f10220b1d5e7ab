"""From a message on a topic of constraints to what it asks for, or to why it is not obeyed."""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass
from typing import Any

from ..errors import ConstraintError
from .constraint import GlobalConstraint
from .signing import FindKey, Refusal, Stamp, verify
from .topics import place, scope_topics, typed_topic

__all__ = ["RESUME", "Heard", "Key", "Lift", "read"]

_MOST_BYTES = 8_192

Key = tuple[str, str]
"""Scope and type: the last constraint of these is the one in force."""

RESUME = "resume"
"""The type of a message that lifts; only a signed one needs it, the others are empty."""


@dataclass(frozen=True, slots=True)
class Lift:
    """These types of constraints in a scope are no more."""

    scope: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """One message: ``command`` None is an empty one; ``type`` is set on the topic of one type."""

    topic: str
    scope: str
    type: str | None
    command: GlobalConstraint | Lift | None
    stamp: Stamp | None = None


def read(topic: str, payload: Any, find_key: FindKey | None, *, now: float) -> Heard:
    """What a decoded message on ``topic`` asks for; ``find_key``: only what is signed is obeyed.

    Raises:
        Refusal: it is not to be obeyed; ``reason`` is one of ``signing.verify``'s, ``unreadable``, ``too_large`` or
            ``foreign_topic``.
    """
    if payload == {}:
        if find_key is not None:
            raise Refusal("unsigned", "it is empty: a signed resume never is")
        return Heard(topic, *place(topic), None)
    if not isinstance(payload, dict):
        raise Refusal("unreadable", f"a constraint must be a JSON object, not {type(payload).__name__}")
    _need_moderate(payload)
    stamp = None if find_key is None else verify(payload, topic, find_key, now=now)
    try:
        constraint = GlobalConstraint.parse(payload)
    except ConstraintError as error:
        raise Refusal("unreadable", str(error)) from None
    if constraint.type == RESUME:
        lift = _lift(constraint)
        return Heard(topic, lift.scope, _type(topic, lift.scope, lift.types), lift, stamp)
    if stamp is not None:
        constraint = _as_stamped(constraint, stamp)
    return Heard(topic, constraint.scope, _type(topic, constraint.scope, (constraint.type,)), constraint, stamp)


def _need_moderate(payload: dict[str, Any]) -> None:
    """What is kept, and what is signed, has a bound; each value counts for what JSON needs of it at least."""
    weight, rest = 0, deque([payload])
    while rest:
        value: Any = rest.popleft()
        weight += 1
        if isinstance(value, str | list | dict):
            weight += len(value)
        if weight > _MOST_BYTES:
            raise Refusal("too_large", f"a constraint of over {_MOST_BYTES} bytes")
        if isinstance(value, list):
            rest.extend(value)
        elif isinstance(value, dict):
            rest.extend(value)
            rest.extend(value.values())


def _as_stamped(constraint: GlobalConstraint, stamp: Stamp) -> GlobalConstraint:
    """Without the signature, which has done its work; it ends when a late reader would refuse it, so for all alike."""
    ends = [end for end in (constraint.expires_at, float(stamp.lapses_at)) if end is not None]
    extra = {name: value for name, value in constraint.extra.items() if name != "signature"}
    return dataclasses.replace(constraint, expires_at=min(ends), extra=extra)


def _lift(constraint: GlobalConstraint) -> Lift:
    types = constraint.params.get("types")
    if not isinstance(types, list) or not all(isinstance(kind, str) for kind in types):
        raise Refusal("unreadable", "params.types of a resume must be a list of types")
    return Lift(constraint.scope, tuple(types))


def _type(topic: str, scope: str, types: tuple[str, ...]) -> str | None:
    """Which type the topic is for: None for all of the scope. Who may write one topic must not speak for another."""
    if topic in scope_topics(scope):
        return None
    if len(types) == 1 and topic == typed_topic(scope, types[0]):
        return types[0]
    raise Refusal("foreign_topic", f"it speaks of {scope}, which has another topic")
