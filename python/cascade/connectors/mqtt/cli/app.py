"""The commands together, and what ``--help`` says first."""

from __future__ import annotations

import typer

from .broker import broker
from .demo.command import demo
from .limit import limit
from .pause import pause
from .publish import publish
from .resume import resume
from .status import status
from .watch import watch
from .workers import workers

__all__ = ["app"]

app = typer.Typer(
    name="cascade-mqtt",
    help="Workflow telemetry over MQTT: see it work, watch it, and steer it.",
    epilog="Start with: cascade-mqtt demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, broker, watch, workers, status, pause, resume, limit, publish):
    app.command()(command)
