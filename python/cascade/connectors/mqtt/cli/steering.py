"""What ``pause``, ``resume`` and ``limit`` share: one order to a fleet, and how far it has got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.connectors.mqtt import MqttConnector

from ..constraints import Change, ConstraintController, KeyFile, Scope
from ..errors import ConstraintError, MqttError
from .bundles import Bundle, Shared
from .durations import duration
from .login import Login
from .printable import printable

__all__ = [
    "STEERING",
    "JsonOption",
    "ScopeArgument",
    "SignKeyFileOption",
    "Steering",
    "TtlOption",
    "keys",
    "seconds_to_live",
]

Order = Callable[[ConstraintController], Awaitable[Change]]


def _scope(text: str) -> str:
    try:
        return Scope.parse(text).text
    except ConstraintError as error:
        raise typer.BadParameter(str(error)) from None


ScopeArgument = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE",
        callback=_scope,
        help="Which tasks: global (all), project:ID, run:ID, task:PATTERN (their name), source:PATTERN (their worker). "
        "In a pattern * stands for anything and ? for one character; quote it.",
    ),
]
TtlOption = Annotated[
    str | None,
    typer.Option("--ttl", metavar="DURATION", help="It ends by itself after 90s, 15m, 2h.", show_default="never"),
]
SignKeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--sign-key-file",
        help="The keys of signed control; a line is KEY-ID HEX-SECRET, and the first one signs.",
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class NotConfirmed(MqttError):
    """Fewer workers than were asked for have said that they obey."""


def seconds_to_live(ttl: str | None) -> float | None:
    """``--ttl`` in seconds.

    Raises:
        typer.BadParameter: it is no duration, or 0.
    """
    if ttl is None:
        return None
    seconds = duration(ttl, "--ttl")
    if not seconds:
        raise typer.BadParameter("what lives for no time has no effect", param_hint="--ttl")
    return seconds


def keys(file: Path | None) -> KeyFile | None:
    """The keys of ``--sign-key-file``.

    Raises:
        typer.BadParameter: a line of it is no key.
        OSError: it cannot be read.
    """
    try:
        return None if file is None else KeyFile(file)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--sign-key-file") from None


class Steering:
    """Gives orders, and prints what becomes of them.

    Args:
        wait: how many workers must confirm; 0 waits for the broker alone.
        timeout: for how long.

    Raises:
        typer.BadParameter: the time-out is none, or the file holds no keys.
    """

    def __init__(self, *, wait: int, timeout: str, sign_key_file: Path | None, as_json: bool) -> None:
        self._wait, self._timeout_s = wait, duration(timeout, "--timeout")
        self._keys, self._as_json = keys(sign_key_file), as_json

    def give(self, who: Login, order: Order, *, said: str) -> None:
        """Give an order, in words ``said``.

        Raises:
            NotConfirmed: the broker has it, but too few workers have confirmed it in time.
            typer.BadParameter: it makes no sense.
        """
        try:
            change, confirmed = asyncio.run(self._give(who, order))
        except ConstraintError as error:
            raise typer.BadParameter(str(error)) from None
        if self._as_json:
            typer.echo(json.dumps(_figures(change, confirmed), ensure_ascii=False))
        else:
            typer.echo("\n".join([said, *(f"confirmed by {printable(name)}" for name in sorted(confirmed))]))
        if len(confirmed) < self._wait:
            raise NotConfirmed(
                f"the broker has it, but only {len(confirmed)} of {self._wait} workers have confirmed "
                f"within {self._timeout_s:g} s"
            )

    async def _give(self, who: Login, order: Order) -> tuple[Change, frozenset[str]]:
        async with MqttConnector(who.host, who.port, **who.options, strict=True) as connector:
            controller = ConstraintController(connector, sign=self._keys)
            if not self._wait:
                return await order(controller), frozenset()
            async with controller.applied() as applied:
                change = await order(controller)
                return change, await applied.wait(change, workers=self._wait, timeout=self._timeout_s)


STEERING = Bundle(
    "steering",
    {
        "wait": Shared(
            Annotated[
                int,
                typer.Option(
                    "--wait",
                    metavar="N",
                    help="Return when N workers have confirmed that they obey, not just when the broker has it.",
                    min=0,
                ),
            ],
            0,
        ),
        "timeout": Shared(
            Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long --wait waits.")], "10s"
        ),
        "sign_key_file": Shared(SignKeyFileOption, None),
        "as_json": Shared(JsonOption, False),
    },
    Steering,
)
"""Decorates commands that take a ``steering``."""


def _figures(change: Change, confirmed: frozenset[str]) -> dict[str, Any]:
    return {
        "scope": change.scope,
        "set": dict(change.set),
        "lifted": list(change.lifted),
        "confirmed_by": sorted(confirmed),
    }
