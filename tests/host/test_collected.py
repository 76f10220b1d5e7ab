"""Connectors that nobody holds any longer: what is queued is sent, and the connection ends without DISCONNECT."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest

import wire
from cascade.connectors.mqtt import MqttConnector
from waiting import eventually, eventually_blocking

NUMBERS = [b"%d" % number for number in range(200)]


def publish_all(connector: MqttConnector) -> None:
    for number in NUMBERS:
        assert connector.publish_nowait("t", number, qos=1)


def arrived(peer: Any) -> bool:
    return [packet.payload for packet in peer.published()] == NUMBERS and peer.open_connections == 0


@pytest.mark.every_loop
async def test_dropped_while_connected(backend, peer):
    connector = MqttConnector(peer.host, peer.port, backend=backend)
    await connector.connect()
    publish_all(connector)
    gone = weakref.ref(connector)
    del connector
    gc.collect()
    assert gone() is None
    await eventually(lambda: arrived(peer))
    assert peer.of(wire.DISCONNECT) == [], "the broker publishes the will"


class Engine:
    """Holds a connector, which holds its methods."""

    def __init__(self, backend: str, peer: Any) -> None:
        hooks = {"default": self.encode, "on_state_change": self.note, "heartbeat": 0.1, "hang_timeout": 20}
        self.connector = MqttConnector(peer.host, peer.port, backend=backend, **hooks)

    def encode(self, value: object) -> str:
        return repr(value)

    def note(self, state: str) -> None:
        self.state = state

    wanted: Any = None

    async def control(self, topic: str, payload: Any) -> None:
        self.wanted = payload


@pytest.mark.every_loop
async def test_dropped_in_a_cycle(backend, peer):
    """Hooks that belong to whoever holds the connector do not keep either."""
    engine = Engine(backend, peer)
    await engine.connector.connect()
    publish_all(engine.connector)
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    await eventually(lambda: arrived(peer))
    await eventually(lambda: gc.collect() >= 0 and gone() is None)
    assert peer.of(wire.DISCONNECT) == []


async def test_a_callback_keeps_what_it_holds(backend, peer, caplog):
    """Until its subscription has ended: a program may hold nothing but its loop."""
    engine = Engine(backend, peer)
    await engine.connector.connect()
    handle = await engine.connector.subscribe("a", engine.control)
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    peer.send(wire.publish("a", b"1"))
    await eventually(lambda: gone().wanted == 1)
    await handle.unsubscribe()
    del handle
    await eventually(lambda: gc.collect() >= 0 and gone() is None)
    await eventually(lambda: peer.open_connections == 0)
    assert caplog.records == []


def test_dropped_in_a_cycle_after_closing(backend, peer):
    engine = Engine(backend, peer)
    engine.connector.open(10)
    publish_all(engine.connector)
    engine.connector.close(10)
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None


async def test_dropped_with_subscriptions(backend, peer):
    """A handle that is kept does not keep the connector."""
    connector = MqttConnector(peer.host, peer.port, backend=backend)
    await connector.connect()
    handle = await connector.subscribe("a", lambda topic, payload: None)
    publish_all(connector)
    del connector
    gc.collect()
    await eventually(lambda: arrived(peer))
    await handle.unsubscribe()


def test_dropped_without_a_loop(backend, peer):
    connector = MqttConnector(peer.host, peer.port, backend=backend)
    connector.open(10)
    publish_all(connector)
    del connector
    gc.collect()
    eventually_blocking(lambda: arrived(peer))


def test_dropped_after_its_loop(backend, peer):
    async def use() -> MqttConnector:
        connector = MqttConnector(peer.host, peer.port, backend=backend)
        await connector.connect()
        publish_all(connector)
        return connector

    connector = asyncio.run(use())
    del connector
    gc.collect()
    eventually_blocking(lambda: arrived(peer))


async def test_dropped_by_another_thread(backend, peer):
    """Its loop goes on here, and hears of it."""
    held = [MqttConnector(peer.host, peer.port, backend=backend)]
    await held[0].connect()
    publish_all(held[0])

    def drop() -> None:
        held.clear()
        gc.collect()

    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()
    await eventually(lambda: arrived(peer))


async def test_dropped_while_it_dials(backend, peer):
    """Nothing is left that goes on dialling."""
    peer.connack = b""
    connector = MqttConnector(peer.host, peer.port, backend=backend, first_connect="background")
    dialling = asyncio.create_task(connector.connect())
    await eventually(lambda: peer.of(wire.CONNECT))
    dialling.cancel()
    await asyncio.wait([dialling])
    del connector, dialling
    gc.collect()
    await eventually(lambda: peer.open_connections == 0)


async def test_a_hundred_dropped(backend, peer):
    made = [MqttConnector(peer.host, peer.port, backend=backend) for _ in range(100)]
    await asyncio.gather(*(connector.connect() for connector in made))
    for connector in made:
        connector.publish_nowait("t", "x", qos=1)
    assert peer.open_connections == 100
    made.clear()
    del connector
    gc.collect()
    await eventually(lambda: peer.open_connections == 0)
    assert len(peer.published()) == 100
