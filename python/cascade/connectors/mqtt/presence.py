"""Who this process is, and what the broker tells others when it comes and goes."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from typing import Any

from .options import Options, Will
from .topics import encode_id

__all__ = ["Presence", "source_id"]

_OFFLINE = json.dumps({"status": "offline"})


def source_id(given: str | None = None) -> str:
    """The name of this process: as given, ``CASCADE_SOURCE_ID``, or node and process id as they are now."""
    return given or os.environ.get("CASCADE_SOURCE_ID") or f"{platform.node()}-{os.getpid()}"


class Presence:
    """What is published on ``cascade/status/{source_id}``: a will, and with ``presence=True`` more.

    Then the birth and the will are retained, so that a late observer knows; a clean goodbye says
    offline to those who listen and leaves nothing retained (MQTT 3.1.1 section 3.3.1.3). The retained
    will says since when the process was there: the broker publishes it as it was given, so the time of
    the end cannot be in it.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._topic = ""
        self._births = 0
        self._since = 0.0

    def will(self) -> Will:
        """The will of the connection that is about to be made (MQTT 3.1.1 section 3.1.2.5)."""
        self._topic = f"cascade/status/{encode_id(source_id(self._options.source_id))}"
        self._since = time.time()
        if self._options.presence:
            payload = json.dumps({"status": "offline", "since": self._since})
            return Will(topic=self._topic, payload=payload, retain=True)
        return self._options.will or Will(topic=self._topic, payload=_OFFLINE)

    def birth(self) -> Iterator[tuple[str, Any]]:
        """Retained messages for a connection that has just been made.

        ``since`` is Unix time in seconds of the start, ``seq`` counts the connections made, from 0.
        """
        if self._options.presence:
            yield self._topic, {"status": "online", "since": self._since, "seq": self._births}
            self._births += 1

    def goodbye(self) -> Iterator[tuple[str, Any]]:
        """Retained messages for a connection that is about to be closed in order."""
        if self._options.presence:
            yield self._topic, _OFFLINE
            yield self._topic, None
