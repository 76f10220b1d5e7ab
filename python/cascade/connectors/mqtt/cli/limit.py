"""``cascade-mqtt limit``: how many tasks of a scope run, and how often one starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..constraints.controller import limit_params
from ..errors import ConstraintError
from .login import LOGGED_IN, Login
from .steering import STEERING, ScopeArgument, Steering, TtlOption, seconds_to_live
from .wording import meaning

__all__ = ["limit"]

_OFF = "off"
_TYPES = {"concurrency": "concurrency", "rate": "rate_limit", "capacity": "capacity"}


@LOGGED_IN
@STEERING
def limit(
    who: Login,
    steering: Steering,
    scope: ScopeArgument = "global",
    concurrency: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="At most N at a time in each process; 0 pauses. off lifts any of these.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="N/UNIT", help="So many starts a second, minute or hour: 5/s, 10/m, 300/h.", show_default=False
        ),
    ] = None,
    burst: Annotated[
        float | None,
        typer.Option(help="With --rate: so many may start at once.", min=1, show_default="one second's worth"),
    ] = None,
    capacity: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=AMOUNT", help="So much of a resource in each process.", show_default=False),
    ] = None,
    ttl: TtlOption = None,
) -> None:
    """Limit the tasks of a scope: how many at a time, how often one starts, how much of a resource they may take.

    Each process of the fleet keeps it for itself. Limits of different kinds stand side by side.

    Examples:

        cascade-mqtt limit --concurrency 8

        cascade-mqtt limit 'task:call_*' --rate 30/m --burst 5 --ttl 2h

        cascade-mqtt limit source:gpu-7 --capacity gpu=2 --capacity memory_gb=48

        cascade-mqtt limit 'task:call_*' --rate off
    """
    ttl_s = seconds_to_live(ttl)
    given: dict[str, Any] = {"concurrency": concurrency, "rate": rate, "capacity": capacity or None}
    wanted = {name: value for name, value in given.items() if value not in (None, _OFF, [_OFF])}
    lifted = tuple(_TYPES[name] for name, value in given.items() if value in (_OFF, [_OFF]))
    if bool(wanted) == bool(lifted):
        what = "one order sets limits, another one lifts some" if wanted else "give at least one of these"
        raise typer.BadParameter(what, param_hint="--concurrency, --rate, --capacity")
    if burst is not None and "rate" not in wanted:
        raise typer.BadParameter("needs --rate", param_hint="--burst")
    if lifted:
        steering.give(
            who,
            lambda controller: controller.resume(scope, types=lifted),
            said=f"lifted {', '.join(lifted)} of {scope}: {meaning(scope)}",
        )
        return
    limits = {**wanted, **_numbers(wanted), **_burst(burst)}
    try:
        limit_params(**limits)
    except ConstraintError as error:
        raise typer.BadParameter(str(error)) from None
    steering.give(
        who,
        lambda controller: controller.limit(scope, ttl=ttl_s, **limits),
        said=f"limited: {meaning(scope)}: {_words(wanted)}" + (f", for {ttl}" if ttl else ""),
    )


def _words(wanted: Mapping[str, str | list[str]]) -> str:
    return "; ".join(
        f"{name} {value if isinstance(value, str) else ', '.join(value)}" for name, value in wanted.items()
    )


def _numbers(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be a number, as one."""
    numbers: dict[str, Any] = {}
    if "concurrency" in wanted:
        numbers["concurrency"] = _number(wanted["concurrency"], "--concurrency", int)
    if "capacity" in wanted:
        numbers["capacity"] = dict(map(_amount, wanted["capacity"]))
    return numbers


def _burst(given: float | None) -> dict[str, float]:
    return {} if given is None else {"rate_capacity": int(given) if given.is_integer() else given}


def _amount(pair: str) -> tuple[str, float]:
    name, _, amount = pair.rpartition("=")
    if not name:
        raise typer.BadParameter(f"{pair!r} is not NAME=AMOUNT, like gpu=2", param_hint="--capacity")
    return name, _number(amount, "--capacity", int if amount.isdecimal() else float)


def _number(text: str, option: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number", param_hint=option) from None
