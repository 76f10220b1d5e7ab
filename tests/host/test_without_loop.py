"""Plain threads: everything that works without an event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

import accounts
import wire
from cascade.connectors.mqtt import ConnectError, MqttConnector
from mosquitto import free_port
from waiting import eventually, eventually_blocking


def test_open_publish_flush_close(connected_here, broker, new_observer, prefix):
    observer = new_observer(broker, f"{prefix}/#")
    connector = connected_here(broker)
    assert connector.stats().connected
    for number in range(1_000):
        assert connector.publish_nowait(f"{prefix}/{number % 2}", {"n": number}, qos=number % 2)
    assert connector.flush(10) == 0
    stats = accounts.check(connector.stats())
    assert (stats.written, stats.acknowledged) == (500, 500)
    connector.close(5)
    assert not connector.stats().connected
    eventually_blocking(lambda: len(observer.seen) == 1_000)


def test_close_flushes_and_says_goodbye(connected_here, peer):
    connector = connected_here(peer)
    for number in range(500):
        connector.publish_nowait("t", str(number), qos=1)
    connector.close(10)
    connector.close()
    assert [packet.payload for packet in peer.published()] == [b"%d" % number for number in range(500)]
    eventually_blocking(lambda: len(peer.of(wire.DISCONNECT)) == 1)


def test_open_again_after_close(connected_here, peer):
    connector = connected_here(peer)
    connector.close()
    connector.open(10)
    connector.publish_nowait("t", "x", qos=1)
    assert connector.flush(10) == 0
    assert peer.connections == 2


def test_open_where_nobody_listens(backend):
    connector = MqttConnector("127.0.0.1", free_port(), backend=backend)
    with pytest.raises(ConnectError):
        connector.open(0.3)
    connector.close()


def test_flush_says_what_is_left(connected_here, peer):
    peer.puback = False
    connector = connected_here(peer)
    for _ in range(3):
        connector.publish_nowait("t", "x", qos=1)
    assert connector.flush(0.2) == 3


def test_from_threads(connected_here, peer):
    connector = connected_here(peer)

    def work(name: int) -> None:
        for number in range(200):
            connector.publish_nowait(f"t/{name}", str(number), qos=1)
        assert connector.flush(10) == 0

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accounts.check(connector.stats()).acknowledged == 800


async def test_open_in_a_running_loop_is_a_mistake_that_is_named(backend, peer):
    connector = MqttConnector(peer.host, peer.port, backend=backend)
    with pytest.raises(RuntimeError, match="connect"):
        connector.open(1)


def test_opened_here_and_used_in_a_loop(connected_here, peer):
    connector = connected_here(peer)
    got: list[object] = []

    async def use() -> None:
        await connector.subscribe("a", lambda topic, payload: got.append(payload))
        peer.send(wire.publish("a", b"1"))
        await connector.publish_confirmed("t", "x")
        await eventually(lambda: got)
        await connector.disconnect()

    asyncio.run(use())
    assert got == [1]
