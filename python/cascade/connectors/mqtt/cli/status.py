"""``cascade-mqtt status``: what is in force."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import typer

from cascade.connectors.mqtt import MqttConnector

from ..constraints import ConstraintController, GlobalConstraint, KeyFile
from .login import LOGGED_IN, Login
from .printable import columns, printable
from .roster import Roster
from .steering import JsonOption, SignKeyFileOption, keys
from .wording import effect, expiry, meaning

__all__ = ["status"]

_HEAD = ("SCOPE", "WHAT", "WHOM", "HOW LONG", "OBEYED BY")


@LOGGED_IN
def status(who: Login, sign_key_file: SignKeyFileOption = None, as_json: JsonOption = False) -> None:
    """Show the constraints in force, whom each concerns, until when, and how many workers say that they obey it.

    Examples:

        cascade-mqtt status

        cascade-mqtt status --json | jq '.constraints[] | select(.type == "pause") | .scope'
    """
    found, obeyed_by = asyncio.run(_look(who, keys(sign_key_file)))
    if as_json:
        listed = [{**one.payload(), "obeyed_by": obeyed_by(one)} for one in found]
        typer.echo(json.dumps({"constraints": listed}, ensure_ascii=False))
    elif found:
        rows = [
            (printable(one.scope), effect(one), meaning(one.scope), expiry(one), str(len(obeyed_by(one))))
            for one in found
        ]
        typer.echo("\n".join(columns(_HEAD, rows)))
    else:
        typer.echo("nothing is in force: every task may start")


async def _look(who: Login, verify: KeyFile | None) -> tuple[list[GlobalConstraint], Any]:
    roster = Roster()
    async with MqttConnector(who.host, who.port, **who.options, strict=True) as connector:
        await connector.subscribe("cascade/applied/+", roster.note_applied)
        found = await ConstraintController(connector, verify=verify).in_force()
    return sorted(found, key=lambda one: (one.scope, one.type)), roster.obeying
