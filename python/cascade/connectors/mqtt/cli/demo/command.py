"""``cascade-mqtt demo``: everything at once, on real work."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from contextlib import ExitStack, suppress
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ...batching import BatchOptions
from ...broker import EmbeddedBroker
from ..login import Backend, BackendOption, Login, PasswordFileOption, UsernameOption, login
from .fleet import Fleet, FleetError
from .live import Display, LiveDisplay, PlainDisplay, SilentDisplay, render_progress
from .outcome import Outcome, Progress
from .report import render_report
from .settings import Settings
from .workflow import library_files, library_root

__all__ = ["demo"]

_SVG_WIDTH = 100


def demo(
    broker: Annotated[
        str | None,
        typer.Option(
            "--broker",
            "-b",
            metavar="HOST[:PORT]",
            help="Your own broker. The demo steers its own run, nobody else.",
            show_default="one that comes and goes with the demo",
        ),
    ] = None,
    backend: BackendOption = Backend.AUTO,
    qos: Annotated[int, typer.Option(help="Of the telemetry; with 0 what was lost is listed.", min=0, max=2)] = 1,
    batch: Annotated[bool, typer.Option("--batch", help="Many events in one message, as far as they wait.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures alone, as one JSON object.")] = False,
    svg: Annotated[
        Path | None,
        typer.Option("--svg", help="Save the last picture and the report.", dir_okay=False, show_default=False),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Work on so many modules only, the smallest.", min=1, show_default="all")
    ] = None,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
) -> None:
    """Run a workflow of thousands of tasks over Python's own standard library, and watch its telemetry.

    Four worker processes read, parse and measure every module, each task telling over MQTT what becomes of it. An
    observer process counts what arrives. On the way control messages pause the fleet, limit how many tasks it runs at
    a time, limit how often one starts, and let it go; the observer tells what was seen of that.

    Examples:

        cascade-mqtt demo

        cascade-mqtt demo --json --backend python

        cascade-mqtt demo --broker 127.0.0.1:1883 --qos 0

        cascade-mqtt demo --batch
    """
    console = Console(highlight=False)
    display: Display = (
        SilentDisplay() if as_json else LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
    )
    with ExitStack() as stack:
        if broker is None:
            embedded = stack.enter_context(EmbeddedBroker())
            broker = f"{embedded.host}:{embedded.port}"
        who = login(broker, backend, username, password_file)
        if batch:
            who.options["batch"] = BatchOptions()
        if not as_json:
            console.print(
                f"the broker is {broker}; to see each event: cascade-mqtt watch demo --broker {broker}", soft_wrap=True
            )
        try:
            outcome, last = asyncio.run(_run(who, qos, limit, display))
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise FleetError("stopped before the end") from None
    if as_json:
        print(json.dumps(outcome.figures()))
    else:
        console.print(render_report(outcome))
        console.print(outcome.closing_line(), soft_wrap=True)
    if svg is not None:
        _save_picture(svg, outcome, last)
    _judge(outcome, qos)


async def _run(who: Login, qos: int, limit: int | None, display: Display) -> tuple[Outcome, Progress]:
    running = asyncio.current_task()
    assert running is not None
    with suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    settings = Settings(
        host=who.host, port=who.port, options=who.options, run_id=f"demo-{secrets.token_hex(4)}", qos=qos
    )
    root = library_root()
    shown: list[Progress] = []

    def show(progress: Progress) -> None:
        shown[:] = [progress]
        display.show(progress)

    with display:
        outcome = await Fleet(settings, root, library_files(root, limit), show).run()
    return outcome, shown[0]


def _judge(outcome: Outcome, qos: int) -> None:
    """At QoS 1 a loss or a duplicate on an unbroken connection is a failure, and so is an event never queued.

    So is a constraint without its effect; without all events nobody can say.
    """
    figures = outcome.figures()
    wrong = {
        "lost": figures["events_lost"] if qos else 0,
        "doubled": figures["duplicates"] if qos else 0,
        "refused": outcome.refused,
    }
    broken = [effect.phase.ask.words for effect in outcome.effects if not effect.holds]
    if broken and not figures["events_lost"]:
        raise FleetError(f"not obeyed: {', '.join(broken)}")
    if any(wrong.values()):
        raise FleetError("events " + ", ".join(f"{what}: {count:,}" for what, count in wrong.items() if count))


def _save_picture(path: Path, outcome: Outcome, last: Progress) -> None:
    console = Console(record=True, width=_SVG_WIDTH, file=StringIO(), force_terminal=True, highlight=False)
    rates = (last.published / last.elapsed_s, last.received / last.elapsed_s)
    console.print(render_progress(last, rates))
    console.print(render_report(outcome))
    console.print(outcome.closing_line())
    console.save_svg(str(path), title="cascade-mqtt demo")
