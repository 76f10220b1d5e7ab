"""Whom a constraint concerns: scopes, compiled once, and what they are matched against."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import translate
from functools import partial
from operator import eq
from typing import Any, NamedTuple
from urllib.parse import unquote

from ..errors import ConstraintError

__all__ = ["Scope", "Subject", "is_map", "split_type", "topic_form"]

_KINDS = ("project", "task", "source", "run")
_WILD = re.compile(r"[*?\[]")


class Subject(NamedTuple):
    """What a task is known by; also the key under which its constraints are remembered."""

    name: str
    project_id: str
    source_id: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope; ``task:`` and ``source:`` hold shell patterns (``*``, ``?``, ``[a-z]``), the others are exact.

    ``known`` is False for a kind that a later version may have brought: it matches nothing here.
    """

    text: str
    matches: Callable[[Subject], bool]
    known: bool = True

    @classmethod
    def read(cls, text: str) -> Scope:
        """The scope of a message, of whatever kind."""
        if text == "global":
            return cls(text, lambda subject: True)
        kind, _, value = text.partition(":")
        if kind not in _KINDS or not value:
            return cls(text, lambda subject: False, known=False)
        wanted = _pattern(value) if kind in ("task", "source") else partial(eq, value)
        if kind == "task":
            return cls(text, lambda subject: wanted(subject.name))
        if kind == "source":
            return cls(text, lambda subject: wanted(subject.source_id))
        if kind == "project":
            return cls(text, lambda subject: wanted(subject.project_id))
        return cls(text, lambda subject: wanted(subject.run_id))

    @classmethod
    def parse(cls, text: str) -> Scope:
        """The scope that somebody has typed.

        Raises:
            ConstraintError: it is of no kind that is known here.
        """
        scope = cls.read(text)
        if not scope.known:
            raise ConstraintError(
                f"scope must be global, project:<id>, task:<pattern>, source:<pattern> or run:<id>, not {text!r}",
                field="scope",
            )
        return scope


def topic_form(scope: str) -> str:
    """The scope as its topic has it: there ``:`` is ``/``, so two scopes may look the same."""
    return scope.replace(":", "/")


def split_type(scope: str) -> tuple[str, str | None]:
    """``"S:@type"``, as it comes from a typed topic, is scope S and that type; percent-encoding is decoded.

    An ``@`` at the front of an id is percent-encoded in a topic, so it is not taken for a type.
    """
    rest, _, last = scope.rpartition(":")
    if last.startswith("@") and (rest == "global" or ":" in rest):
        return unquote(rest), unquote(last[1:])
    return unquote(scope), None


def is_map(task: Any) -> bool:
    """Whether this only maps a task over items: it is charged nothing, since each item is."""
    return getattr(task, "node_type", None) == "map"


def _pattern(value: str) -> Callable[[Any], Any]:
    if not _WILD.search(value):
        return partial(eq, value)
    start = value[:-1]
    if value.endswith("*") and not _WILD.search(start):
        # The usual pattern, and a hundred times as fast to make.
        return lambda name: name.startswith(start)
    return re.compile(translate(value)).match
