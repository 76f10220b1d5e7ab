"""Connectors that were made, used, and never opened; one that could not be."""

from __future__ import annotations

from contextlib import suppress

from given import connector

from cascade.connectors.mqtt import ConnectError

unused = connector()
published = connector()
assert not published.publish_nowait("t", "x")
asked = connector()
asked.stats()
refused = connector()
with suppress(ConnectError):
    refused.open(0.2)
