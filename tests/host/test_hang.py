"""A program that hangs must not look alive: ``hang_timeout``, and ``heartbeat`` for those who watch."""

from __future__ import annotations

import asyncio
import time

import pytest

import wire
from waiting import eventually, eventually_blocking, settled


def stand_still(seconds: float) -> None:
    """No loop of this thread runs meanwhile."""
    time.sleep(seconds)


async def test_a_loop_that_hangs_lets_the_will_be_published(connected, mosquitto_broker, new_observer, prefix, caplog):
    """And once it runs again there is a connection again, with its subscriptions; nothing is lost at QoS 1."""
    will = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    out, speaker = new_observer(mosquitto_broker, f"{prefix}/out"), new_observer(mosquitto_broker)
    connector = await connected(mosquitto_broker, source_id=prefix, hang_timeout=0.6)
    got: list[object] = []
    await connector.subscribe(f"{prefix}/in", lambda topic, payload: got.append(payload))
    await settled(lambda: connector.stats().reconnects, still_s=1.5)
    assert will.payloads == [], "a loop that runs does not hang"
    # The loop hangs here.
    eventually_blocking(lambda: will.payloads == [b'{"status": "offline"}'])
    connector.publish_nowait(f"{prefix}/out", "meanwhile", qos=1)
    stand_still(1)
    assert not connector.stats().connected, "it does not connect again while the loop stands still"
    # It runs again.
    await eventually(lambda: connector.stats().connected)
    await eventually(lambda: out.payloads == [b"meanwhile"])

    async def arrives() -> None:
        while not got:
            speaker.publish(f"{prefix}/in", "1")
            await asyncio.sleep(0.02)

    await asyncio.wait_for(arrives(), 20)
    (lost,) = [record.getMessage() for record in caplog.records if "lost" in record.getMessage()]
    assert "has not run" in lost


async def test_no_hang_timeout_no_end(connected, peer):
    connector = await connected(peer)
    stand_still(1.5)
    await connector.publish_confirmed("t", "x")
    assert peer.connections == 1


async def test_a_disconnect_is_no_hang(connected, new_connector, peer):
    """Nobody beats between two connections, nor without a loop; nobody ends them for it."""
    connector = await connected(peer, hang_timeout=0.3)
    await connector.disconnect()
    stand_still(0.6)
    await connector.connect()
    await connector.publish_confirmed("t", "x")
    await settled(lambda: peer.connections, still_s=0.8)
    assert peer.connections == 2


def test_without_a_loop_nothing_hangs(connected_here, peer):
    """There is no loop to stand still: ``hang_timeout`` is about programs that have one."""
    connector = connected_here(peer, hang_timeout=0.2)
    stand_still(1)
    assert connector.publish_nowait("t", "x", qos=1)
    assert connector.flush(10) == 0
    assert peer.connections == 1


async def test_a_loop_that_ends_is_a_hang(backend, start_program, mosquitto_broker, new_observer, prefix):
    """A program that has left its loop without disconnect, and goes on without one."""
    will = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    program = start_program("left_its_loop", mosquitto_broker, source=prefix)
    assert program.heard() == {"loop": "ended"}
    await eventually(lambda: will.payloads == [b'{"status": "offline"}'])
    program.tell()
    assert program.end().status == 0


async def test_heartbeats(connected, mosquitto_broker, new_observer, prefix):
    observer = new_observer(mosquitto_broker, f"cascade/stats/{prefix}")
    connector = await connected(mosquitto_broker, source_id=prefix, heartbeat=0.3)
    await connector.publish("elsewhere", "x", qos=1)
    await eventually(lambda: len(observer.seen) >= 2)
    stand_still(0.8)
    await eventually(lambda: any(seen.json["loop_lag_s"] >= 0.4 for seen in observer.seen))
    first = observer.seen[0].json
    assert first["v"] == "1.0"
    assert first["source"] == prefix
    assert first["epoch"] == connector.epoch
    assert first["interval_s"] == pytest.approx(0.3)
    assert first["oldest_queued_s"] >= 0.0
    assert first["stats"]["backend"] == connector.stats().backend
    assert observer.seen[-1].json["stats"]["submitted"] > first["stats"]["submitted"]
    assert (observer.seen[0].qos, observer.seen[0].retain) == (0, False)


async def test_no_heartbeat_by_default(connected, peer):
    await connected(peer)
    await settled(lambda: len(peer.of(wire.PUBLISH)), still_s=0.5)
    assert peer.published() == []
