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
from .durations import duration
from .login import Login
from .printable import printable

__all__ = [
    "JsonOption",
    "ScopeArgument",
    "SignKeyFileOption",
    "TimeoutOption",
    "TtlOption",
    "WaitOption",
    "give",
    "keys",
    "seconds_to_live",
]


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
WaitOption = Annotated[
    int,
    typer.Option(
        "--wait",
        metavar="N",
        help="Return when N workers have confirmed that they obey it, not just when the broker has it.",
        min=0,
    ),
]
TimeoutOption = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long --wait waits.")]
SignKeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--sign-key-file",
        help="Sign with the first key of this file; a line is KEY-ID HEX-SECRET.",
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


def give(
    who: Login,
    order: Callable[[ConstraintController], Awaitable[Change]],
    *,
    said: str,
    sign_key_file: Path | None,
    wait: int,
    timeout: str,
    as_json: bool,
) -> None:
    """Give an order, and print what became of it.

    Args:
        order: gives it through a controller.
        said: the order in words.
        wait: how many workers must confirm; 0 waits for the broker alone.

    Raises:
        NotConfirmed: fewer have, within ``timeout``.
        typer.BadParameter: the order makes no sense.
    """
    timeout_s = duration(timeout, "--timeout")
    try:
        change, confirmed = asyncio.run(_give(who, order, sign_key_file, wait, timeout_s))
    except ConstraintError as error:
        raise typer.BadParameter(str(error)) from None
    if as_json:
        typer.echo(json.dumps(_figures(change, confirmed), ensure_ascii=False))
    else:
        typer.echo(said)
        for source_id in sorted(confirmed):
            typer.echo(f"confirmed by {printable(source_id)}")
    if len(confirmed) < wait:
        raise NotConfirmed(
            f"the broker has it, but only {len(confirmed)} of {wait} workers have confirmed within {timeout_s:g} s"
        )


async def _give(
    who: Login,
    order: Callable[[ConstraintController], Awaitable[Change]],
    sign_key_file: Path | None,
    wait: int,
    timeout_s: float,
) -> tuple[Change, frozenset[str]]:
    async with MqttConnector(who.host, who.port, **who.options, strict=True) as connector:
        controller = ConstraintController(connector, sign=keys(sign_key_file))
        if not wait:
            return await order(controller), frozenset()
        async with controller.applied() as applied:
            change = await order(controller)
            return change, await applied.wait(change, workers=wait, timeout=timeout_s)


def _figures(change: Change, confirmed: frozenset[str]) -> dict[str, Any]:
    return {
        "scope": change.scope,
        "set": dict(change.set),
        "lifted": list(change.lifted),
        "confirmed_by": sorted(confirmed),
    }
