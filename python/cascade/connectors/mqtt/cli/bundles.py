"""Options that several commands share, and what they are made into before a command sees them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Bundle", "Shared"]

Command = Callable[..., None]


class Shared(NamedTuple):
    """One option: its annotation, as Typer reads it, and its default."""

    annotation: Any
    default: Any


class Bundle:
    """Decorates commands: each takes these options behind its own, and is called with what ``make`` makes of them.

    Args:
        name: the parameter of the command that gets it.
        options: by name, as ``make`` takes them.
    """

    def __init__(self, name: str, options: Mapping[str, Shared], make: Callable[..., Any]) -> None:
        self._name, self._options, self._make = name, options, make

    def __call__(self, command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.name != self._name]
        shared = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=option.annotation
            )
            for name, option in self._options.items()
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            made = self._make(**{name: given.pop(name) for name in self._options})
            command(**given, **{self._name: made})

        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + shared
        # Typer asks for both, by its version.
        run.__dict__["__signature__"] = signature.replace(parameters=parameters)
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run
