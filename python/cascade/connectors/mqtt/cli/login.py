"""Which broker, and who is asking: the options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from ..options import Options
from .bundles import Bundle, Shared

__all__ = [
    "LOGGED_IN",
    "Backend",
    "BackendOption",
    "BrokerOption",
    "Login",
    "PasswordFileOption",
    "UsernameOption",
    "login",
]

_DEFAULT_PORT = 1883


class Backend(StrEnum):
    """What moves the bytes."""

    AUTO = "auto"
    NATIVE = "native"
    PYTHON = "python"


BrokerOption = Annotated[
    str, typer.Option("--broker", "-b", metavar="HOST[:PORT]", help="Where the broker is.", show_default=True)
]
BackendOption = Annotated[
    Backend, typer.Option("--backend", help="The compiled core, the pure Python path, or whichever loads.")
]
UsernameOption = Annotated[
    str | None,
    typer.Option(
        "--username",
        "-u",
        help="User name. Its password comes from --password-file or CASCADE_MQTT_PASSWORD, never from an argument.",
        show_default=False,
    ),
]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        help="A file whose first line is the password.",
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]


class Login(NamedTuple):
    """An address, and the options of ``MqttConnector`` that go with it."""

    host: str
    port: int
    options: dict[str, Any]


def login(
    broker: str, backend: Backend = Backend.AUTO, username: str | None = None, password_file: Path | None = None
) -> Login:
    """What was given on the command line, checked.

    Raises:
        typer.BadParameter: an address that is none, or options that do not go together.
        OSError: the password file cannot be read.
    """
    host, port = _address(broker)
    options: dict[str, Any] = {"backend": backend.value}
    if username is not None:
        options["username"] = username
    if password_file is not None:
        options["password"] = password_file.read_text().partition("\n")[0].rstrip("\r")
    try:
        Options.build(host, port, **options)
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    return Login(host, port, options)


LOGGED_IN = Bundle(
    "who",
    {
        "broker": Shared(BrokerOption, "127.0.0.1:1883"),
        "username": Shared(UsernameOption, None),
        "password_file": Shared(PasswordFileOption, None),
        "backend": Shared(BackendOption, Backend.AUTO),
    },
    login,
)
"""Decorates commands that take a ``who``."""


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(_DEFAULT_PORT)
    if not host or not port.isdecimal():
        raise typer.BadParameter(f"{text!r} is not HOST:PORT", param_hint="--broker")
    return host.strip("[]"), int(port)
