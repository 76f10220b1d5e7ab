"""QoS 1 events at a steady rate through a proxy, and what the wire shows of them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import Any

import wire
from proxy import Proxy
from waiting import eventually

RATE = 2_000
_TICK_S = 0.01
_PADDING = b"." * 90


class Stream:
    """What one connector publishes to one topic, from ``start`` to ``stop``."""

    def __init__(self, connector: Any, topic: str) -> None:
        self.payloads: list[bytes] = []
        self._connector, self._topic = connector, topic
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._pour())

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        assert self._task.cancelled()

    async def _pour(self) -> None:
        began = time.monotonic()
        while True:
            due = int((time.monotonic() - began) * RATE)
            while len(self.payloads) < due:
                payload = b"%07d" % len(self.payloads) + _PADDING
                assert self._connector.publish_nowait(self._topic, payload, qos=1)
                self.payloads.append(payload)
            await asyncio.sleep(_TICK_S)


async def next_puback(proxy: Proxy, since: float) -> float:
    """Wait for the first PUBACK that passes after ``since``; returns when it did."""

    pubacks = proxy.packets(wire.PUBACK, from_broker=True)
    await eventually(lambda: pubacks and pubacks[-1].at > since)
    return next(one.at for one in pubacks if one.at > since)


class Record:
    """The PUBLISHes and PUBACKs that passed a proxy, connection by connection, as payloads in order."""

    def __init__(self, proxy: Proxy) -> None:
        self.published: dict[int, list[bytes]] = defaultdict(list)
        self.acknowledged: dict[int, list[bytes]] = defaultdict(list)
        in_flight: dict[tuple[int, int], bytes] = {}
        for one in proxy.passed:
            packet = one.packet
            if packet.kind == wire.PUBLISH and packet.qos and not one.from_broker:
                in_flight[one.connection, packet.packet_id] = packet.payload
                self.published[one.connection].append(packet.payload)
            elif packet.kind == wire.PUBACK and one.from_broker:
                self.acknowledged[one.connection].append(in_flight.pop((one.connection, packet.packet_id)))

    def check(self, payloads: list[bytes]) -> None:
        """At least once, in the first order, and again only where MQTT 3.1.1 section 4.4 has it."""
        first = dict.fromkeys(payload for number in sorted(self.published) for payload in self.published[number])
        assert list(first) == payloads
        assert {payload for acknowledged in self.acknowledged.values() for payload in acknowledged} == set(payloads)
        for number in sorted(self.published):
            published, acknowledged = self.published[number], self.acknowledged[number]
            # In order, and nothing twice on one connection.
            assert published == sorted(set(published))
            later = {payload for other in self.published if other > number for payload in self.published[other]}
            # What the broker did not acknowledge is sent again, on a later connection.
            assert set(published) - set(acknowledged) <= later
            # What it did is not, except for acknowledgements that the end of the connection overtook: the last ones.
            again = [payload in later for payload in acknowledged]
            assert again == sorted(again)
