"""``cascade-mqtt status``: what is in force."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import typer

from cascade.connectors.mqtt import MqttConnector

from ..constraints import ConstraintController, GlobalConstraint, KeyFile
from .login import Backend, BackendOption, BrokerOption, Login, PasswordFileOption, UsernameOption, login
from .printable import columns, printable
from .roster import Roster
from .steering import JsonOption, SignKeyFileOption, keys
from .wording import effect, expiry, meaning

__all__ = ["status"]

_HEAD = ("SCOPE", "WHAT", "WHOM", "HOW LONG", "OBEYED BY")


def status(
    sign_key_file: SignKeyFileOption = None,
    as_json: JsonOption = False,
    broker: BrokerOption = "127.0.0.1:1883",
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    backend: BackendOption = Backend.AUTO,
) -> None:
    """Show the constraints in force, whom each concerns, until when, and how many workers say that they obey it.

    Examples:

        cascade-mqtt status

        cascade-mqtt status --json | jq '.constraints[] | select(.type == "pause") | .scope'
    """
    who = login(broker, backend, username, password_file)
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
