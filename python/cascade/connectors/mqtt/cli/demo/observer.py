"""The observer process: receives every event of the run and keeps the account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from cascade.connectors.mqtt import MqttConnector

from ...errors import MqttError
from .channel import Channel
from .effects import Effects
from .ledger import Ledger
from .messages import Account, Broken, Expect, Identity, Ready, Seen
from .settings import Settings

__all__ = ["run_observer"]

_REPORT_S = 0.1
# When everything is here, a duplicate may still follow; when nothing came for so long, what is missing is lost.
_SETTLED_S = 0.2
_LOST_S = 3.0


def run_observer(connection: Connection, settings: Settings) -> None:
    """The main function of the observer process."""
    asyncio.run(_Observer(settings).run(connection))


class _Observer:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = Ledger()
        self._effects = Effects()
        self._last_arrival = 0.0
        self._expected: Expect | None = None

    async def run(self, connection: Connection) -> None:
        """Subscribe, watch until everything expected is here or nothing comes any more, send the tally."""
        watching = asyncio.current_task()
        assert watching is not None
        channel = Channel(connection, self._expect, watching.cancel)
        try:
            await self._watch(channel)
        except MqttError as error:
            channel.send(Broken(str(error)))
        except asyncio.CancelledError:
            pass  # the parent is gone
        finally:
            channel.close()

    async def _watch(self, channel: Channel) -> None:
        settings = self._settings
        async with MqttConnector(settings.host, settings.port, **settings.options) as connector:
            await connector.subscribe(settings.publisher(connector).topic, self._note, batches=True)
            channel.send(Ready(connector.stats().backend))
            while self._expected is None or not self._over(self._expected.published):
                await asyncio.sleep(_REPORT_S)
                ledger = self._ledger
                channel.send(Seen(ledger.received, ledger.missing, ledger.duplicates))
            expected = self._expected
            channel.send(Account(self._ledger.close(expected.published), self._effects.of(expected.phases)))

    def _expect(self, message: Expect) -> None:
        self._expected = message
        self._last_arrival = time.monotonic()

    def _note(self, topic: str, event: dict[str, Any]) -> None:
        self._ledger.note(event)
        self._effects.note(event)
        self._last_arrival = time.monotonic()

    def _over(self, expected: Mapping[Identity, int]) -> bool:
        quiet_s = time.monotonic() - self._last_arrival
        return quiet_s > (_SETTLED_S if self._ledger.complete(expected) else _LOST_S)
