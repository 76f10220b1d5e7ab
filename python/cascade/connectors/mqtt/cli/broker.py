"""``cascade-mqtt broker``: the embedded broker, until Ctrl-C."""

from __future__ import annotations

import ipaddress
import sys
import time
from typing import Annotated

import typer

from ..broker import EmbeddedBroker

__all__ = ["broker"]

_LOOK_S = 0.2


def broker(
    host: Annotated[str, typer.Option(help="IPv4 address or name to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 takes a free one.", min=0, max=65_535)] = 1883,
) -> None:
    """Run a broker on this machine, for trying things out; Ctrl-C ends it.

    It keeps nothing on disk and asks nobody for a password: not for production.

    Examples:

        cascade-mqtt broker

        cascade-mqtt broker --port 0
    """
    if not _is_loopback(host):
        print(
            f"cascade-mqtt: warning: whoever reaches {host} can read and publish everything: there is no password",
            file=sys.stderr,
        )
    try:
        with EmbeddedBroker(host, port) as embedded:
            print(f"listening on {embedded.host}:{embedded.port}; Ctrl-C ends it", flush=True)
            while embedded.running:
                time.sleep(_LOOK_S)
        raise ChildProcessError("the broker's process has ended")
    except KeyboardInterrupt:
        pass  # the normal end


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
