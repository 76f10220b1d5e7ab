"""``cascade-mqtt publish``: one message."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from cascade.connectors.mqtt import MqttConnector

from .login import LOGGED_IN, Login

__all__ = ["publish"]


@LOGGED_IN
def publish(
    who: Login,
    topic: Annotated[str, typer.Argument(help="Where to.", show_default=False)],
    payload: Annotated[str, typer.Argument(help="The bytes to send; - reads them from stdin.", show_default=False)],
    qos: Annotated[int, typer.Option(help="1 and 2 wait for the broker's acknowledgement.", min=0, max=2)] = 1,
    retain: Annotated[bool, typer.Option("--retain", help="The broker keeps it for who comes later.")] = False,
) -> None:
    """Publish one message, and know that the broker has it.

    Examples: a message that stays, and one that clears it.

        cascade-mqtt publish lab/mode night --retain

        cascade-mqtt publish lab/mode '' --retain

    A payload from elsewhere:

        date | cascade-mqtt publish lab/clock -
    """
    content = sys.stdin.buffer.read() if payload == "-" else payload.encode()
    asyncio.run(_publish(who, topic, content, qos, retain))


async def _publish(who: Login, topic: str, content: bytes, qos: int, retain: bool) -> None:
    async with MqttConnector(who.host, who.port, **who.options, strict=True) as connector:
        if qos:
            await connector.publish_confirmed(topic, content, qos=qos, retain=retain)
        else:
            await connector.publish(topic, content, qos=qos, retain=retain)
