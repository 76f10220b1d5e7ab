"""Event loops that stand still, follow one another, or run on threads of their own."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from typing import Any

import pytest

import accounts
import wire
from cascade.connectors.mqtt import MqttConnector
from waiting import eventually, eventually_blocking

STANDS_STILL_S = 5


def block_the_loop() -> None:
    time.sleep(STANDS_STILL_S)


def block_every_thread() -> None:
    # As an extension does that computes for long: the interpreter's lock is held all the while.
    ctypes.PyDLL(None).sleep(STANDS_STILL_S)


@pytest.mark.parametrize("block", [block_the_loop, block_every_thread])
async def test_a_loop_that_stands_still(connected, backend, mosquitto_broker, new_observer, prefix, block):
    """The compiled core keeps the connection alive whatever Python does, the fallback whatever the loop does.
    Where the connection is lost, it is made again, and nothing is lost at QoS 1 in either direction."""
    out, speaker = new_observer(mosquitto_broker, f"{prefix}/out"), new_observer(mosquitto_broker)
    connector = await connected(mosquitto_broker, keepalive=2, clean_session=False, identifier=prefix)
    got: list[int] = []
    await connector.subscribe(f"{prefix}/in", lambda topic, payload: got.append(payload))
    for number in range(100):
        connector.publish_nowait(f"{prefix}/out", str(number), qos=1)
        speaker.publish_soon(f"{prefix}/in", str(number), qos=1)
    block()
    for number in range(100, 200):
        connector.publish_nowait(f"{prefix}/out", str(number), qos=1)
        speaker.publish_soon(f"{prefix}/in", str(number), qos=1)
    await eventually(lambda: connector.stats().acknowledged == 200)
    await eventually(lambda: set(got) == set(range(200)))
    await eventually(lambda: {int(payload) for payload in out.payloads} == set(range(200)))
    stats = accounts.check(connector.stats())
    if backend == "native" or block is block_the_loop:
        assert stats.reconnects == 0
        assert got == list(range(200))
        assert [int(payload) for payload in out.payloads] == list(range(200))
    await connector.disconnect()


def test_two_loops_one_after_another(backend, mosquitto_broker, new_observer, prefix):
    """Closed in order in the first; its subscription is served in the second."""
    speaker = new_observer(mosquitto_broker, f"{prefix}/out")
    connector = MqttConnector(mosquitto_broker.host, mosquitto_broker.port, backend=backend)
    got: list[Any] = []

    async def use(number: int) -> None:
        await connector.connect()
        if number == 0:
            await connector.subscribe(f"{prefix}/in", lambda topic, payload: got.append(payload))
        await connector.publish_confirmed(f"{prefix}/out", number)
        while number not in got:
            speaker.publish(f"{prefix}/in", str(number))
            await asyncio.sleep(0.02)
        await connector.disconnect()

    for number in range(3):
        asyncio.run(use(number))
    assert speaker.payloads == [b"0", b"1", b"2"]


def test_a_loop_that_ended_under_it(backend, peer):
    """Nobody disconnected: the connection goes on, and the next loop serves it."""
    connector = MqttConnector(peer.host, peer.port, backend=backend)
    got: list[Any] = []

    async def begin() -> None:
        await connector.connect()
        await connector.subscribe("a", lambda topic, payload: got.append(payload))

    async def go_on() -> None:
        await connector.connect()
        await connector.publish_confirmed("t", "second")
        await eventually(lambda: got == [1])
        await connector.disconnect()

    asyncio.run(begin())
    assert connector.publish_nowait("t", "between", qos=1)
    peer.send(wire.publish("a", b"1"))
    asyncio.run(go_on())
    assert [packet.payload for packet in peer.published()] == [b"between", b"second"]
    assert peer.connections == 1


async def test_a_loop_on_another_thread(connected, peer):
    """Used from both; the loop of ``connect`` goes on serving the subscriptions."""
    connector = await connected(peer)
    where: list[threading.Thread] = []
    await connector.subscribe("a", lambda topic, payload: where.append(threading.current_thread()))

    async def use() -> int:
        await connector.publish_confirmed("t", "there")
        await connector.subscribe("b", lambda topic, payload: where.append(threading.current_thread()))
        return await connector.flush(20)

    there = asyncio.create_task(asyncio.to_thread(asyncio.run, use()))
    for number in range(20):
        await connector.publish_confirmed("t", str(number))
    assert await asyncio.wait_for(there, 30) == 0
    peer.send(wire.publish("a", b"1") + wire.publish("b", b"1"))
    await eventually(lambda: len(where) == 2)
    assert set(where) == {threading.current_thread()}


def test_a_loop_of_each_thread(backend, peer):
    """Four threads, each with a loop and a connector; what they share is the I/O thread."""
    failures: list[BaseException] = []

    async def use(which: int) -> None:
        async with MqttConnector(peer.host, peer.port, backend=backend) as connector:
            for number in range(50):
                await connector.publish_confirmed(f"t/{which}", str(number))

    def work(which: int) -> None:
        try:
            asyncio.run(use(which))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    eventually_blocking(lambda: len(peer.published()) == 200)
