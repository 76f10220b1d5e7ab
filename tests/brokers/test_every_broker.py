"""What the connector does is the same on every broker, whatever that broker makes of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from measured import BEHAVIOUR
from raw_client import RawClient, connect, is_retained, subscribe

import accounts
from cascade.connectors.mqtt import MqttConnector, TelemetryPublisher
from waiting import eventually, eventually_blocking, settled

_VICTIM = Path(__file__).parent / "victim.py"


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_published(connected, real, name, new_observer, prefix, qos):
    """Each once, in order: nothing here is a reason to send any of them twice."""
    observer = new_observer(real, f"{prefix}/#", qos=2)
    connector = await connected(real)
    for number in range(300):
        assert connector.publish_nowait(f"{prefix}/a", str(number), qos=qos)
    assert await connector.flush(20) == 0
    await eventually(lambda: len(observer.seen) >= 300)
    assert await settled(lambda: observer.payloads) == [b"%d" % number for number in range(300)]
    if BEHAVIOUR["QoS 0, subscribed at QoS 2"][name] == "QoS 0":
        assert {message.qos for message in observer.seen} == {qos}
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.reconnects) == (300 if qos else 0, 0)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_subscribed(connected, real, new_observer, prefix, qos):
    got: list[int] = []
    speaker = new_observer(real)
    connector = await connected(real)
    await connector.subscribe(f"{prefix}/#", lambda topic, payload: got.append(payload), qos=qos)
    for number in range(100):
        # Not all at once: mosquitto loses QoS 2 that is published in a wide window, and acknowledges it.
        await asyncio.to_thread(speaker.publish, f"{prefix}/a", str(number), qos=qos)
    await eventually(lambda: len(got) >= 100)
    assert await settled(lambda: got) == list(range(100))


async def test_published_at_less_than_subscribed(connected, real, new_observer, prefix):
    """A broker is to deliver at the lower of the two (section 3.8.4); one that does not changes nothing else."""
    got: list[int] = []
    speaker = new_observer(real)
    connector = await connected(real)
    await connector.subscribe(f"{prefix}/#", lambda topic, payload: got.append(payload), qos=2)
    for number in range(20):
        await asyncio.to_thread(speaker.publish, f"{prefix}/a", str(number), qos=number % 2)
    await eventually(lambda: len(got) >= 20)
    # Across QoS levels no order is promised.
    assert sorted(await settled(lambda: got)) == list(range(20))


@pytest.mark.parametrize("topic_filter", ["a/b", "+/b", "#"])
async def test_retained_messages_are_there_when_subscribe_returns(connected, real, prefix, topic_filter):
    connector = await connected(real)
    await connector.publish_confirmed(f"{prefix}/a/b", "kept", retain=True)
    await asyncio.to_thread(eventually_blocking, lambda: is_retained(real, f"{prefix}/a/b"))
    got: list[str] = []
    late = await connected(real)
    await late.subscribe(f"{prefix}/{topic_filter}", lambda topic, payload: got.append(payload), decode="text")
    assert got[:1] == ["kept"]
    await connector.publish_confirmed(f"{prefix}/a/b", None, retain=True)


async def test_subscribed_before_connect(new_connector, real, new_observer, prefix):
    new_observer(real).publish(f"{prefix}/a", '"kept"', retain=True)
    await asyncio.to_thread(eventually_blocking, lambda: is_retained(real, f"{prefix}/a"))
    got: list[str] = []
    connector = new_connector(real)
    await connector.subscribe(f"{prefix}/+", lambda topic, payload: got.append(payload))
    await connector.connect()
    await eventually(lambda: got == ["kept"])


async def test_the_will_of_a_killed_process(backend, real, new_observer, prefix):
    observer = new_observer(real, f"{prefix}/#")
    arguments = [str(_VICTIM), str(real.port), backend, f"{prefix}/will"]
    victim = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=subprocess.PIPE)
    assert victim.stdout is not None
    assert await victim.stdout.readline() == b"connected\n"
    victim.kill()
    await victim.wait()
    await eventually(lambda: observer.payloads == [b"gone"])


async def test_a_restarted_broker(connected, real, new_observer, prefix):
    """What was published meanwhile arrives, and subscriptions are back."""
    got: list[int] = []
    connector = await connected(real)
    await connector.subscribe(f"{prefix}/in", lambda topic, payload: got.append(payload))
    await asyncio.to_thread(real.stop)
    await eventually(lambda: not connector.stats().connected)
    for qos in (0, 1, 2):
        assert connector.publish_nowait(f"{prefix}/out/{qos}", "meanwhile", qos=qos, retain=True)
    await asyncio.to_thread(real.start)
    assert await connector.flush(30) == 0
    observer = new_observer(real, f"{prefix}/out/#")
    await eventually(lambda: len(observer.seen) >= 3)
    assert set(observer.payloads) == {b"meanwhile"}
    observer.publish(f"{prefix}/in", "1")
    await eventually(lambda: got == [1])
    accounts.check(connector.stats())


async def test_takeover(connected, real, name, prefix):
    """The older connection is ended, and told from a malfunction; the newer one stands."""
    older = await connected(real, identifier=prefix, reconnect_min_delay=5, reconnect_max_delay=5)
    newer = await connected(real, identifier=prefix)
    await eventually(lambda: not older.stats().connected)
    assert newer.stats().connected
    wanted = {"closed": "connection closed by the broker", "DISCONNECT": "the broker sent DISCONNECT"}
    assert str(older.stats().last_error).startswith(wanted[BEHAVIOUR["takeover of a 3.1.1 client"][name]])


async def test_a_session_that_is_taken_up_again(connected, real, name, new_observer, prefix):
    got: list[int] = []
    connector = await connected(real, clean_session=False, identifier=prefix)
    await connector.subscribe(f"{prefix}/a", lambda topic, payload: got.append(payload))
    await connector.disconnect()
    speaker = new_observer(real)
    for number in range(50):
        speaker.publish(f"{prefix}/a", str(number))
    await connector.connect()
    await eventually(lambda: len(set(got)) == 50)
    if BEHAVIOUR["queue of a session"][name] == "in order":
        assert await settled(lambda: got) == list(range(50))


async def test_a_large_message(connected, real, new_observer, prefix):
    payload = bytes(range(256)) * 4_000
    observer = new_observer(real, f"{prefix}/#")
    connector = await connected(real)
    await connector.publish_confirmed(f"{prefix}/a", payload, timeout=30)
    await eventually(lambda: observer.payloads == [payload])


async def test_one_too_large_for_the_broker(connected, real, name, new_observer, prefix):
    """A broker that closes on it gets the others; which one it was is found out."""
    observer = new_observer(real, f"{prefix}/#")
    connector = await connected(real, max_message_bytes=2_000_000)
    for payload in (b"1", bytes(1_100_000), b"2", b"3"):
        assert connector.publish_nowait(f"{prefix}/a", payload, qos=1)
    assert await connector.flush(40) == 0
    rejected = BEHAVIOUR["message of 1.1 MB"][name] == "closed"
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, dict(stats.dropped)) == ((3, {"rejected_by_peer": 1}) if rejected else (4, {}))
    await eventually(lambda: {b"1", b"2", b"3"} <= set(observer.payloads))


async def test_the_version_is_found_out(real, name, new_observer, prefix):
    """MQTT 5 where the broker has it, within its Receive Maximum; else 3.1.1, at the first attempt."""
    observer = new_observer(real, f"{prefix}/#", qos=2)
    async with MqttConnector(real.host, real.port, backend="python", protocol="auto") as connector:
        wanted = "5" if BEHAVIOUR["MQTT 5 CONNECT"][name] == "accepted" else "3.1.1"
        assert connector.stats().protocol == wanted
        for number in range(300):
            connector.publish_nowait(f"{prefix}/{number % 2}", str(number), qos=1 + number % 2)
        assert await connector.flush(30) == 0
        assert (connector.stats().reconnects, connector.stats().acknowledged) == (0, 300)
        await eventually(lambda: len(observer.seen) == 300)


async def test_nobody_subscribed_and_mqtt_5(real, name, prefix):
    """A PUBACK of 0x10 says so, and is a success (MQTT 5.0 section 3.4.2.1)."""
    async with MqttConnector(real.host, real.port, backend="python", protocol="auto") as connector:
        await connector.publish_confirmed(f"{prefix}/nobody", "1")
        assert connector.stats().acknowledged == 1


async def test_a_shared_subscription(connected, real, name, new_observer, prefix):
    """Where it never delivers, nothing tells: subscribe() returns, and other subscriptions are not harmed."""
    got: list[Any] = []
    plain: list[Any] = []
    connector = await connected(real)
    await connector.subscribe(f"$share/g/{prefix}/a", lambda topic, payload: got.append(payload))
    await connector.subscribe(f"{prefix}/b", lambda topic, payload: plain.append(payload))
    speaker = new_observer(real)
    speaker.publish(f"{prefix}/a", "1")
    speaker.publish(f"{prefix}/b", "2")
    await eventually(lambda: plain == [2])
    wanted = [1] if BEHAVIOUR["shared subscription"][name] == "delivered" else []
    await eventually(lambda: got == wanted)


async def test_overlapping_filters(connected, real, name, new_observer, prefix):
    """Each callback once for each copy that the broker sends (section 3.3.5)."""
    got: list[Any] = []
    connector = await connected(real)
    for topic_filter in (f"{prefix}/#", f"{prefix}/a"):
        await connector.subscribe(topic_filter, lambda topic, payload: got.append(payload))
    new_observer(real).publish(f"{prefix}/a", "1")
    copies = int(BEHAVIOUR["two filters that match"][name].split()[0])
    await eventually(lambda: len(got) >= 2 * copies)
    assert len(await settled(lambda: got)) == 2 * copies


async def test_a_slow_subscriber_sees_by_seq_what_it_lost(connected, real, name, prefix):
    """At QoS 0 the broker drops for it, or not; nobody else knows."""
    connector = await connected(real)
    telemetry = TelemetryPublisher(connector, run_id="run", org_id=prefix)
    with RawClient(real, receive_buffer=4096) as slow:
        slow.ask(connect(f"{prefix}-slow"))
        slow.ask(subscribe(f"cascade/telemetry/{prefix}/#", 0))
        sent = 20_000
        for _ in range(sent):
            assert telemetry.task_state("t", "task", "COMPLETED", metadata={"log": "x" * 1_300})
        # A broker may take no more before the slow one has read; the program is not held up by it.
        await connector.flush(2)
        arriving = asyncio.create_task(asyncio.to_thread(_read, slow))
        assert await connector.flush(30) == 0
        seqs = await arriving
        while seqs[-1] != sent - 1:
            # The last ones were lost as well: only a later one shows it.
            assert telemetry.task_state("t", "task", "COMPLETED")
            sent += 1
            seqs += await asyncio.to_thread(_read, slow)
    assert seqs == sorted(set(seqs))
    lost = sum(after - before - 1 for before, after in itertools.pairwise([-1, *seqs]))
    assert lost == sent - len(seqs)
    assert bool(lost) == (BEHAVIOUR["QoS 0 subscriber that is slow"][name] == "loses some")


def _read(client: RawClient) -> list[int]:
    """The seq of each event that comes, until none does."""
    return [json.loads(packet.payload)["seq"] for packet in client.all()]
