"""``cascade-mqtt watch``: the events of a project and the constraints of its fleet, as they come."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from cascade.connectors.mqtt import MqttConnector

from ..constraints import GlobalConstraint
from ..topics import encode_id
from .login import Backend, BackendOption, BrokerOption, Login, PasswordFileOption, UsernameOption, login
from .news import constraints_told
from .printable import printable
from .wording import effect, expiry, meaning

__all__ = ["line", "watch"]

_CLOCK = "%H:%M:%S.%f"
_COLOURS = {"RUNNING": typer.colors.CYAN, "COMPLETED": typer.colors.GREEN, "FAILED": typer.colors.RED}


def watch(
    project: Annotated[
        str, typer.Argument(help="Whose events.", envvar="CASCADE_PROJECT_ID", show_envvar=True)
    ] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line: the event as it came.")] = False,
    broker: BrokerOption = "127.0.0.1:1883",
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    backend: BackendOption = Backend.AUTO,
) -> None:
    """Show the events of all runs of a project, until Ctrl-C; those that come in batches too.

    Constraints are told as they come into force and go; with --json as objects with "constraint" and "in_force".

    Examples:

        cascade-mqtt watch

        cascade-mqtt watch nightly --broker mqtt.example.org --username ops --password-file ~/.mqtt

        cascade-mqtt watch --json | jq 'select(.body.state == "FAILED")'
    """
    who = login(broker, backend, username, password_file)
    try:
        asyncio.run(_watch(who, project, as_json))
    except KeyboardInterrupt:
        pass  # the normal end
    except BrokenPipeError:
        # As good an end: whoever read our output (`| head`) has left. Nothing may meet the broken pipe again on the
        # way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def line(event: Any) -> str:
    """An event for a reader: time, source, what happened."""
    if not isinstance(event, Mapping) or not isinstance(event.get("body"), Mapping):
        return printable(json.dumps(event, ensure_ascii=False))
    body = event["body"]
    return f"{_clock(event.get('ts'))}  {printable(event.get('source', '?'))}  {_what(body)}"


async def _watch(who: Login, project: str, as_json: bool) -> None:
    topic_filter = f"cascade/telemetry/+/{encode_id(project)}/+/events"
    options = {**who.options, "strict": True, "on_state_change": _say_state}
    async with (
        MqttConnector(who.host, who.port, **options) as connector,
        connector.messages(topic_filter, batches=True) as messages,
        constraints_told(connector, _say_constraint_as_json if as_json else _say_constraint),
    ):
        async for message in messages:
            event = message.payload
            typer.echo(json.dumps(event, ensure_ascii=False) if as_json else line(event))


def _say_constraint_as_json(constraint: GlobalConstraint, in_force: bool) -> None:
    typer.echo(json.dumps({"constraint": constraint.payload(), "in_force": in_force}, ensure_ascii=False))


def _say_constraint(constraint: GlobalConstraint, in_force: bool) -> None:
    what = f"{printable(constraint.type)} of {printable(constraint.scope)}"
    now = datetime.now().strftime(_CLOCK)[:-3]
    if in_force:
        typer.echo(f"{now}  {what}: {meaning(constraint.scope)} {effect(constraint)}, {expiry(constraint)}")
    else:
        typer.echo(f"{now}  {what}: no longer")


def _say_state(state: str) -> None:
    """On stderr, so that a pipe gets the events alone."""
    if state in ("connected", "disconnected"):
        print(f"cascade-mqtt: {state}", file=sys.stderr)


def _what(body: Mapping[str, Any]) -> str:
    match body:
        case {"type": "TaskStateEvent", "state": str(state)}:
            name, task_id = str(body.get("task_name") or ""), str(body.get("task_id") or "")
            took = body.get("duration_ms")
            # An id that somebody chose says more than the name; one that was made up says nothing.
            what = task_id if name in task_id else f"{name} {task_id}"
            parts = [typer.style(f"{state:<9}", fg=_COLOURS.get(state)), printable(what)]
            if isinstance(took, int | float) and took:
                parts.append(f"{took:.1f} ms")
            if state == "BLOCKED" and isinstance(body.get("metadata"), Mapping):
                parts.append(printable(body["metadata"].get("reason", "")))
            if body.get("error"):
                parts.append(printable(body["error"]))
            return "  ".join(parts)
        case {"type": "LifecycleEvent", "event": str(event)}:
            return printable(event)
        case {"type": "ResourceEvent"}:
            usage = printable(body.get("current_usage"))
            return f"{printable(body.get('action'))}  {printable(body.get('resource_name'))}  in use {usage}"
        case {"type": "GapEvent", "lost": dict() as lost}:
            counts = ", ".join(f"{count} {printable(reason)}" for reason, count in lost.items())
            return f"{typer.style('LOST', fg=typer.colors.RED)}       {printable(counts)}"
    return printable(json.dumps(body, ensure_ascii=False))


def _clock(timestamp: Any) -> str:
    try:
        return datetime.fromisoformat(timestamp).astimezone().strftime(_CLOCK)[:-3]
    except (TypeError, ValueError):
        return "--:--:--.---"
