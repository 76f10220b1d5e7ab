"""``cascade-mqtt workers``: who is there, what each does, and who has crashed."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cascade.connectors.mqtt import MqttConnector

from ..topics import encode_id
from .durations import duration
from .login import LOGGED_IN, Login
from .printable import columns, printable, span
from .roster import Roster, Worker
from .steering import JsonOption

__all__ = ["workers"]

_HEAD = ("WORKER", "PRESENCE", "LAST EVENT", "EVENTS/S", "LOST", "OBEYS")
_TURN_IT_ON = (
    "no worker has announced itself: MqttConnector(..., presence=True), "
    "or CASCADE_MQTT_PRESENCE=yes in the workers' environment, turns that on"
)


@LOGGED_IN
def workers(
    who: Login,
    listen: Annotated[
        str, typer.Option("--listen", help="How long to listen, for rates: 2s, 1m.", metavar="DURATION")
    ] = "2s",
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove from the broker what crashed workers have left there.")
    ] = False,
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than",
            help="With --prune: workers without a sign of life for so long (a will has no time of its own); 0: all.",
            metavar="DURATION",
        ),
    ] = "1h",
    as_json: JsonOption = False,
) -> None:
    """Show the workers of a fleet: presence, last event, rate, lost events, constraints obeyed.

    What is not retained is known only as far as it is heard: workers without presence show by what they publish
    while this listens; lost events by heartbeats and gap events.

    Examples:

        cascade-mqtt workers

        cascade-mqtt workers --listen 30s --json | jq '.workers[] | select(.presence == "offline")'

        cascade-mqtt workers --prune --older-than 1h
    """
    listen_s, older_s = duration(listen, "--listen"), duration(older_than, "--older-than")
    try:
        roster, pruned = asyncio.run(_look(who, listen_s, older_s if prune else None))
    except KeyboardInterrupt:
        return
    found = sorted(roster.workers.values(), key=lambda worker: worker.source_id)
    announced = any(worker.presence for worker in found)
    if as_json:
        figures = [_figures(worker, listen_s) for worker in found]
        typer.echo(json.dumps({"workers": figures, "presence_seen": announced, "pruned": pruned}, ensure_ascii=False))
        return
    if found:
        typer.echo("\n".join(columns(_HEAD, [_row(worker, listen_s) for worker in found])))
    for source_id in pruned:
        typer.echo(f"pruned {printable(source_id)}")
    if not announced:
        print(f"cascade-mqtt: {_TURN_IT_ON}", file=sys.stderr)


async def _look(who: Login, listen_s: float, prune_older_s: float | None) -> tuple[Roster, list[str]]:
    roster = Roster()
    async with MqttConnector(who.host, who.port, **who.options, strict=True) as connector:
        await connector.subscribe("cascade/telemetry/+/+/+/events", roster.note_event, qos=0, batches=True)
        await connector.subscribe("cascade/stats/+", roster.note_heartbeat, qos=0)
        await connector.subscribe("cascade/applied/+", roster.note_applied)
        await connector.subscribe("cascade/status/+", roster.note_status)
        await asyncio.sleep(listen_s)
        pruned = [] if prune_older_s is None else await _prune(connector, roster, prune_older_s)
    return roster, pruned


async def _prune(connector: MqttConnector, roster: Roster, older_s: float) -> list[str]:
    """Clear wills and reports, each looked at right before: a worker that is back has put its birth there."""
    pruned = []
    for source_id in sorted(roster.workers):
        worker = roster.workers.get(source_id)
        if worker is None or worker.presence != "offline" or not _older(worker, older_s):
            continue
        for what in ("applied", "status"):
            await connector.publish_confirmed(f"cascade/{what}/{encode_id(source_id)}", None, retain=True)
        pruned.append(source_id)
    return pruned


def _older(worker: Worker, older_s: float) -> bool:
    """What has no time in it is of any age: only a limit of 0 takes it."""
    return not older_s or (worker.last_sign is not None and time.time() - worker.last_sign > older_s)


def _figures(worker: Worker, listened_s: float) -> dict[str, Any]:
    return {
        "source_id": worker.source_id,
        "presence": worker.presence,
        "since": worker.since,
        "last_event_at": worker.last_event_at,
        "last_event": worker.last_event,
        "events_per_s": round(worker.events / listened_s, 2) if listened_s else None,
        "lost": worker.lost,
        "obeys": worker.obeys(time.time()),
    }


def _row(worker: Worker, listened_s: float) -> tuple[str, ...]:
    now = time.time()
    since = "" if worker.since is None else f" {span(now - worker.since)}"
    return (
        printable(worker.source_id),
        f"{worker.presence}{since}" if worker.presence else "-",
        _last(worker, now),
        f"{worker.events / listened_s:.1f}" if listened_s else "-",
        "-" if worker.lost is None else str(sum(worker.lost.values())),
        "-" if (obeyed := worker.obeys(now)) is None else _list(obeyed),
    )


def _list(applied: Sequence[Mapping[str, Any]]) -> str:
    return printable(", ".join(f"{one.get('type')} {one.get('scope')}" for one in applied)) or "nothing"


def _last(worker: Worker, now: float) -> str:
    if worker.last_event is None:
        return "-"
    body = worker.last_event
    what = body.get("state") or body.get("event") or body.get("action") or body.get("type")
    name = body.get("task_name") or body.get("task_id") or body.get("resource_name") or ""
    ago = "" if worker.last_event_at is None else f"{span(now - worker.last_event_at)} ago "
    return printable(f"{ago}{what} {name}".strip())
