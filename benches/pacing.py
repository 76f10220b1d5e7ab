"""A coroutine that publishes at a steady rate, and a ticker beside it that tells how late it is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from typing import Any

from cascade.connectors.mqtt import MqttConnector

from .events import TOPIC, Event

__all__ = ["lags_during", "publish_at"]

_TICK_S = 0.001


async def publish_at(rate: int, connector: MqttConnector, events: Iterator[Event]) -> None:
    """All the events, ``rate`` a second, a few each millisecond.

    A client that falls behind catches up by no more than two milliseconds' worth at a time, or that would be the lag.
    """
    loop = asyncio.get_running_loop()
    start, sent, most = loop.time(), 0, rate // 500
    while True:
        due = int((loop.time() - start) * rate) - sent
        burst = list(itertools.islice(events, min(due, most)))
        for event in burst:
            await connector.publish(TOPIC, event)
        sent += len(burst)
        if due > 0 and not burst:
            return
        await asyncio.sleep(0 if due > most else _TICK_S)


async def lags_during(work: Coroutine[Any, Any, object]) -> list[float]:
    """Seconds by which each tick of a millisecond came late while ``work`` ran."""
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    task = asyncio.ensure_future(work)
    while not task.done():
        due = loop.time() + _TICK_S
        await asyncio.sleep(_TICK_S)
        lags.append(loop.time() - due)
    await task
    return lags
