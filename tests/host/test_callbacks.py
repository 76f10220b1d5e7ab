"""Callbacks that are cancelled, end things, or hold everybody up; more of them in tests/test_subscribe.py."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import wire
from waiting import eventually, settled


def messages(*payloads: int, topic: str = "a") -> bytes:
    return b"".join(wire.publish(topic, b"%d" % payload) for payload in payloads)


@pytest.mark.every_loop
async def test_a_callback_that_awaits_what_was_cancelled(connected, peer, caplog):
    """That is a failure of the callback; it is logged, and the stream goes on."""
    got: list[int] = []

    async def callback(topic: str, payload: int) -> None:
        got.append(payload)
        if payload == 1:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    connector = await connected(peer)
    await connector.subscribe("a", callback)
    peer.send(messages(0, 1, 2))
    await eventually(lambda: got == [0, 1, 2])
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_a_callback_with_a_time_out_of_its_own(connected, peer):
    got: list[str] = []

    async def callback(topic: str, payload: int) -> None:
        try:
            async with asyncio.timeout(0.02):
                await asyncio.sleep(30 if payload == 1 else 0)
            got.append("in time")
        except TimeoutError:
            got.append("late")

    connector = await connected(peer)
    await connector.subscribe("a", callback)
    peer.send(messages(0, 1, 2))
    await eventually(lambda: got == ["in time", "late", "in time"])


async def test_a_subscription_whose_task_is_cancelled(connected, peer):
    """By a program that cancels all tasks it can find: that one ends, the others and the connector go on,
    and the next connect serves it again."""
    got: list[int] = []
    others: list[int] = []
    held = asyncio.Event()

    async def callback(topic: str, payload: int) -> None:
        got.append(payload)
        if payload == 0:
            held.set()
            await asyncio.sleep(30)

    connector = await connected(peer)
    await connector.subscribe("a", callback)
    await connector.subscribe("b", lambda topic, payload: others.append(payload))
    peer.send(messages(0))
    await held.wait()
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "mqtt a"]
    task.cancel()
    await asyncio.wait([task])
    peer.send(messages(1, topic="b"))
    await eventually(lambda: others == [1])
    await asyncio.wait_for(connector.disconnect(), 10)
    await connector.connect()
    await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 4)
    peer.send(messages(2))
    await eventually(lambda: got[-1] == 2)


async def test_a_callback_that_ends_another_subscription(connected, peer):
    """Also one whose own callback runs: that call is not cut off, and none follows."""
    running, finish = asyncio.Event(), asyncio.Event()
    finished: list[int] = []

    async def slow(topic: str, payload: int) -> None:
        running.set()
        await finish.wait()
        finished.append(payload)

    async def ends_it(topic: str, payload: int) -> None:
        await running.wait()
        await handle.unsubscribe()
        finish.set()

    connector = await connected(peer)
    handle = await connector.subscribe("a", slow)
    await connector.subscribe("b", ends_it)
    peer.send(messages(0, 1, 2) + messages(0, topic="b"))
    await eventually(lambda: finished)
    assert await settled(lambda: finished) == [0]
    assert [packet.filters for packet in peer.of(wire.UNSUBSCRIBE)] == [["a"]]


async def test_a_callback_that_disconnects_while_others_run(connected, peer):
    """It may finish; the others have half a second, and are cancelled then."""
    fate: list[str] = []

    async def other(topic: str, payload: int) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            fate.append("cancelled")
            raise

    async def leave(topic: str, payload: int) -> None:
        await connector.disconnect()
        fate.append("disconnected")

    connector = await connected(peer)
    await connector.subscribe("a", other)
    await connector.subscribe("b", leave)
    peer.send(messages(0) + messages(0, topic="b"))
    await eventually(lambda: fate == ["cancelled", "disconnected"])
    assert peer.open_connections == 0


async def test_a_callback_that_connects_again(connected, peer):
    """From inside: a disconnect, and a connection for the next messages."""
    got: list[int] = []

    async def again(topic: str, payload: int) -> None:
        got.append(payload)
        if payload == 0:
            await connector.disconnect()
            await connector.connect()

    connector = await connected(peer)
    await connector.subscribe("a", again)
    peer.send(messages(0))
    await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 2)
    peer.send(messages(1))
    await eventually(lambda: got == [0, 1])


async def test_a_callback_that_publishes_what_it_gets(connected, mosquitto_broker, prefix):
    """Hundreds of times, to its own filter: neither end waits for the other."""
    last = 300
    done = asyncio.Event()

    async def count(topic: str, payload: int) -> None:
        if payload == last:
            done.set()
        else:
            await connector.publish(f"{prefix}/{payload % 2}", payload + 1, qos=1)

    connector = await connected(mosquitto_broker)
    await connector.subscribe(f"{prefix}/+", count)
    await connector.publish(f"{prefix}/first", 0, qos=1)
    await asyncio.wait_for(done.wait(), 60)
    assert connector.stats().received == last + 1


async def test_a_callback_that_blocks_the_loop(connected, peer):
    """A plain function that takes its time holds up the loop, as any does, and nothing of the connection."""
    got: list[int] = []

    def slow(topic: str, payload: int) -> None:
        time.sleep(0.7)
        got.append(payload)

    connector = await connected(peer, keepalive=1)
    await connector.subscribe("a", slow)
    peer.send(messages(0, 1, 2, 3))
    await eventually(lambda: got == [0, 1, 2, 3])
    assert peer.connections == 1
    assert len(peer.of(wire.PINGREQ)) >= 2


async def test_callbacks_that_all_fail(connected, peer, caplog):
    """Ten thousand times: a line each time the number doubles."""
    seen = 0

    def fail(topic: str, payload: Any) -> None:
        nonlocal seen
        seen += 1
        raise ValueError("always")

    connector = await connected(peer)
    await connector.subscribe("a", fail)
    for _ in range(100):
        peer.send(messages(*range(100)))
    await eventually(lambda: seen == 10_000)
    assert 2 <= len(caplog.records) <= 20
