"""Other MQTT clients, each used in the fastest way that its documentation shows.

A peer publishes and receives what ours does: dicts. ``encode`` and ``decode`` are given, because most
of them leave JSON to the caller.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from . import built
from .events import TOPIC
from .publishing import publish_each

__all__ = ["PEERS", "Encode", "Peer"]

_HOST = "127.0.0.1"
# Handed over before the loop may run, or before the peer's own futures are waited for.
_CHUNK = 1_000

Events = Iterator[dict[str, Any]]
Encode = Callable[[Any], bytes]
Received = Callable[[bytes], None]


class Peer(Protocol):
    """One client, connected to the far end at ``port``."""

    async def connect(self, port: int, received: Received) -> None:
        """``received`` is called with the payload of each message that arrives."""

    async def subscribe(self, qos: int) -> None:
        """Ask for the messages of the topic."""

    async def publish(self, events: Events, qos: int) -> None:
        """Hand over all events; at QoS 1 return when all are acknowledged, if the client can tell."""

    async def close(self) -> None: ...


class Mqttium:
    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    async def connect(self, port: int, received: Received) -> None:
        from mqttium.api import AsyncClient

        self._client = AsyncClient("mqttium", message_delivery="callback")
        self._client.on_message = lambda message: received(message.payload)
        await self._client.connect(_HOST, port)

    async def subscribe(self, qos: int) -> None:
        await self._client.subscribe(TOPIC, qos=qos)

    async def publish(self, events: Events, qos: int) -> None:
        from mqttium.api import PublishMessage

        messages = (PublishMessage(TOPIC, self._encode(event), qos=qos) for event in events)
        batch = await self._client.publish_many(messages)
        await batch.wait()

    async def close(self) -> None:
        await self._client.disconnect()


class Gmqtt:
    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    async def connect(self, port: int, received: Received) -> None:
        import gmqtt
        from gmqtt.mqtt.constants import MQTTv311
        from gmqtt.storage import PersistentStorage

        self._unacknowledged = PersistentStorage()
        self._client = gmqtt.Client("gmqtt", persistent_storage=self._unacknowledged)

        def on_message(client: object, topic: str, payload: bytes, qos: int, properties: object) -> int:
            received(payload)
            return 0  # the reason code to acknowledge with

        self._client.on_message = on_message
        await self._client.connect(_HOST, port, version=MQTTv311)

    async def subscribe(self, qos: int) -> None:
        granted = asyncio.Event()
        self._client.on_subscribe = lambda *_: granted.set()
        self._client.subscribe(TOPIC, qos=qos)
        await granted.wait()

    async def publish(self, events: Events, qos: int) -> None:
        while chunk := list(itertools.islice(events, _CHUNK)):
            for event in chunk:
                self._client.publish(TOPIC, self._encode(event), qos=qos)
            await asyncio.sleep(0)
        while not self._unacknowledged.is_empty:  # noqa: ASYNC110 it has no event for this
            await asyncio.sleep(0)

    async def close(self) -> None:
        await self._client.disconnect()


class Aiomqtt:
    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    async def connect(self, port: int, received: Received) -> None:
        import aiomqtt

        self._received = received
        self._client = aiomqtt.Client(_HOST, port, max_inflight_messages=10_000, timeout=60)
        await self._client.__aenter__()
        self._reader: asyncio.Task[None] | None = None

    async def subscribe(self, qos: int) -> None:
        await self._client.subscribe(TOPIC, qos=qos)
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._client.messages:
            self._received(message.payload)

    async def publish(self, events: Events, qos: int) -> None:
        publish = partial(self._client.publish, TOPIC, qos=qos)
        if qos == 0:
            for event in events:
                await publish(payload=self._encode(event))
        while chunk := list(itertools.islice(events, _CHUNK)):
            await asyncio.gather(*(publish(payload=self._encode(event)) for event in chunk))

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
        await self._client.__aexit__(None, None, None)


class Paho:
    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    async def connect(self, port: int, received: Received) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        loop = asyncio.get_running_loop()
        connected, self._granted = asyncio.Event(), asyncio.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda *_: loop.call_soon_threadsafe(connected.set)
        self._client.on_subscribe = lambda *_: loop.call_soon_threadsafe(self._granted.set)
        self._client.on_message = lambda client, data, message: received(message.payload)
        self._client.connect(_HOST, port)
        self._client.loop_start()
        await connected.wait()

    async def subscribe(self, qos: int) -> None:
        self._client.subscribe(TOPIC, qos)
        await self._granted.wait()

    async def publish(self, events: Events, qos: int) -> None:
        while chunk := list(itertools.islice(events, 10 * _CHUNK)):
            sent = [self._client.publish(TOPIC, self._encode(event), qos=qos) for event in chunk]
            await asyncio.to_thread(_wait_for_all, sent)

    async def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Awscrt:
    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    async def connect(self, port: int, received: Received) -> None:
        from awscrt import mqtt5

        loop = asyncio.get_running_loop()
        connected, self._stopped = asyncio.Event(), asyncio.Event()
        options = mqtt5.ClientOptions(
            host_name=_HOST,
            port=port,
            connect_options=mqtt5.ConnectPacket(client_id="awscrt"),
            on_publish_callback_fn=lambda data: received(data.publish_packet.payload),
            on_lifecycle_event_connection_success_fn=lambda _: loop.call_soon_threadsafe(connected.set),
            on_lifecycle_event_stopped_fn=lambda _: loop.call_soon_threadsafe(self._stopped.set),
        )
        self._client = mqtt5.Client(options)
        self._client.start()
        await connected.wait()

    async def subscribe(self, qos: int) -> None:
        from awscrt import mqtt5

        packet = mqtt5.SubscribePacket(subscriptions=[mqtt5.Subscription(TOPIC, mqtt5.QoS(qos))])
        await asyncio.wrap_future(self._client.subscribe(packet))

    async def publish(self, events: Events, qos: int) -> None:
        from awscrt import mqtt5

        level = mqtt5.QoS(qos)
        while chunk := list(itertools.islice(events, 10 * _CHUNK)):
            packets = (mqtt5.PublishPacket(topic=TOPIC, payload=self._encode(event), qos=level) for event in chunk)
            # They complete in order.
            *_, last = [self._client.publish(packet) for packet in packets]
            await asyncio.wrap_future(last)

    async def close(self) -> None:
        self._client.stop()
        await self._stopped.wait()


class RumqttcLoop:
    """rumqttc's own event loop; it encodes with our encoder, and only publishes."""

    def __init__(self, encode: Encode) -> None:
        self._load = built.rumqttc_loop

    async def connect(self, port: int, received: Received) -> None:
        self._publisher = self._load().Publisher(_HOST, port, 100_000)

    async def subscribe(self, qos: int) -> None:
        raise NotImplementedError

    async def publish(self, events: Events, qos: int) -> None:
        publish_each(self._publisher.publish, events, qos)

    async def close(self) -> None:
        self._publisher.close()


def _wait_for_all(sent: list[Any]) -> None:
    for info in sent:
        info.wait_for_publish()


PEERS: dict[str, Callable[[Encode], Peer]] = {
    "mqttium": Mqttium,
    "gmqtt": Gmqtt,
    "aiomqtt": Aiomqtt,
    "paho-mqtt": Paho,
    "awscrt": Awscrt,
    "rumqttc loop": RumqttcLoop,
}
