"""Attempts to connect that come to nothing, and what is there when one comes to something."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

import accounts
import wire
from cascade.connectors.mqtt import ConnectError
from waiting import eventually, settled

PAYLOADS = [b"%d" % number for number in range(100)]


class Door(NamedTuple):
    """A way to a broker that cannot be entered until it is opened."""

    broker: Any
    host: str
    port: int
    open: Callable[[], object]


@pytest.fixture
def broker(own_mosquitto):
    return own_mosquitto(persistence=True)


@pytest.fixture(params=["refused", "accepted and closed", "never answered"])
def door(request, broker, new_proxy, new_observer, prefix) -> Door:
    # The broker remembers this witness, who need not be there.
    new_observer(broker, f"{prefix}/out/#", session=f"witness-{prefix}").close()
    if request.param == "refused":
        broker.stop()
        return Door(broker, broker.host, broker.port, broker.start)
    proxy = new_proxy(broker)
    if request.param == "accepted and closed":
        proxy.closing = True
        return Door(broker, proxy.host, proxy.port, lambda: setattr(proxy, "closing", False))
    proxy.withheld.add(wire.CONNACK)
    return Door(broker, proxy.host, proxy.port, proxy.withheld.clear)


async def test_in_the_background_until_the_broker_appears(new_connector, door, new_observer, prefix, caplog):
    """What was published and subscribed to meanwhile happens when it does; the way there is two lines in the log."""
    connector = new_connector(door, first_connect="background", connect_timeout=0.3)
    await connector.connect()
    got: list[Any] = []
    await connector.subscribe(f"{prefix}/in", lambda topic, payload: got.append(payload))
    for payload in PAYLOADS:
        for qos in (0, 1):
            assert connector.publish_nowait(f"{prefix}/out/{qos}", payload, qos=qos)
    # Several attempts later, nothing was refused, lost or sent.
    await eventually(lambda: connector.stats().oldest_queued_s > 1)
    stats = accounts.check(connector.stats())
    assert (stats.connected, stats.queued_events, stats.written, stats.acknowledged) == (False, 200, 0, 0)
    assert stats.last_error

    door.open()
    await eventually(lambda: connector.stats().acknowledged == 100)
    assert await connector.flush(10) == 0
    stats = accounts.check(connector.stats())
    assert (stats.connected, stats.written, stats.dropped, stats.oldest_queued_s) == (True, 100, {}, 0.0)
    observer = new_observer(door.broker, f"{prefix}/out/#", session=f"witness-{prefix}")
    observer.publish(f"{prefix}/in", "1")
    await eventually(lambda: got == [1])
    await eventually(lambda: _of(observer, f"{prefix}/out/1") == PAYLOADS)
    loud = [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert 1 <= len(loud) <= 3, loud


async def test_required(new_connector, door, prefix):
    """``connect()`` raises when its time is over; later it can be called again."""
    connector = new_connector(door, connect_timeout=2)
    with pytest.raises(ConnectError) as failure:
        await asyncio.wait_for(connector.connect(), 20)
    assert not failure.value.permanent
    door.open()
    await connector.connect()
    await connector.publish_confirmed(f"{prefix}/out/1", "x", timeout=20)
    accounts.check(connector.stats())


async def test_an_attempt_has_a_time_out_of_its_own(new_connector, broker, new_proxy):
    """No CONNACK: the attempt is given up and another is made, each on a connection of its own."""
    proxy = new_proxy(broker)
    proxy.withheld.add(wire.CONNACK)
    connector = new_connector(proxy, first_connect="background", connect_timeout=0.2)
    await connector.connect()
    await eventually(lambda: len(proxy.packets(wire.CONNECT, from_broker=False)) >= 3)
    assert connector.stats().last_error == "timed out"
    assert len({one.connection for one in proxy.packets(wire.CONNECT, from_broker=False)}) >= 3


async def test_a_late_answer_in_time(new_connector, broker, new_proxy):
    proxy = new_proxy(broker)
    proxy.pause()
    connector = new_connector(proxy, connect_timeout=30)
    attempt = asyncio.create_task(connector.connect())
    await eventually(lambda: proxy.connections == 1)
    assert not await settled(attempt.done, still_s=0.5)
    proxy.resume()
    await attempt
    assert proxy.connections == 1


async def test_an_answer_after_the_time_out(connected, new_connector, broker, new_proxy, prefix):
    """The broker finds CONNECTs of attempts that were given up, and answers them; in the end one connection stands."""
    proxy = new_proxy(broker)
    proxy.pause()
    connector = new_connector(proxy, identifier="late", first_connect="background", connect_timeout=0.2)
    await connector.connect()
    for payload in PAYLOADS:
        connector.publish_nowait(f"{prefix}/out", payload, qos=1)
    await eventually(lambda: proxy.connections >= 3)
    proxy.resume()
    await eventually(lambda: accounts.check(connector.stats()).acknowledged == 100)
    await eventually(lambda: connector.stats().connected)


async def test_bad_credentials_make_no_storm(new_connector, own_mosquitto, new_proxy, passwords, prefix):
    """Refused for good (MQTT 3.1.1 section 3.2.2.3): asked again every ``reconnect_max_delay``, no sooner."""
    broker = own_mosquitto("allow_anonymous false", f"password_file {passwords(ada='changed')}")
    proxy = new_proxy(broker)
    login = {"username": "ada", "password": "s3cr3t"}
    connector = new_connector(proxy, **login, first_connect="background", connect_timeout=60, reconnect_max_delay=1)
    await connector.connect()  # returns at the first refusal
    for payload in PAYLOADS:
        connector.publish_nowait(f"{prefix}/out", payload, qos=1)
    await eventually(lambda: len(proxy.packets(wire.CONNECT, from_broker=False)) >= 3)
    asked = [one.at for one in proxy.packets(wire.CONNECT, from_broker=False)]
    # Packets may be noted late, and then the next one seems to come early: by less than half.
    assert all(later - earlier > 0.5 for earlier, later in itertools.pairwise(asked)), asked
    assert connector.stats().last_error in ("not authorised", "bad user name or password")
    passwords(ada="s3cr3t")
    broker.reload()
    await eventually(lambda: accounts.check(connector.stats()).acknowledged == 100)


# --- names

PROGRAM = """
import asyncio, sys
from cascade.connectors.mqtt import MqttConnector

backend, host, port = sys.argv[1:]
options = dict(backend=backend, connect_timeout=0.5, reconnect_max_delay=0.2)

async def main():
    named = MqttConnector("broker.test", int(port), first_connect="background", **options)
    await named.connect()
    named.publish_nowait("by name", "x", qos=1)
    while named.stats().last_error is None:
        await asyncio.sleep(0.01)
    print("failed:", named.stats().last_error, flush=True)
    if host:
        async with MqttConnector(host, int(port), **options) as addressed:
            await addressed.publish_confirmed("by address", "x")
        print("addressed", flush=True)
    else:
        print("left:", await named.flush(60), flush=True)
    await named.disconnect(timeout=0.5)

asyncio.run(main())
"""


@pytest.fixture
def resolver(tmp_path) -> Path:
    """A directory in which files say what becomes of names; with a program's ``resolver.so`` beside them."""
    if not (compiler := shutil.which("cc")):
        # Where a missing broker is a failure, so is this.
        missing = pytest.fail if os.environ.get("CASCADE_TEST_REQUIRE_MOSQUITTO") else pytest.skip
        missing("there is no C compiler")
    source = Path(__file__).with_name("resolver.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "resolver.so", source, "-ldl"], check=True)
    return tmp_path


@contextmanager
def run(resolver: Path, *arguments: object) -> Iterator[IO[str]]:
    """The output of the program, which ends by itself when it has been read."""
    environment = os.environ | {"LD_PRELOAD": str(resolver / "resolver.so"), "RESOLVER": str(resolver)}
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_a_name_that_is_not_found_and_then_is(resolver, backend, peer):
    (resolver / "down").touch()
    with run(resolver, backend, "", peer.port) as output:
        assert output.readline() == "failed: name resolution failed\n"
        (resolver / "down").unlink()
        assert output.readline() == "left: 0\n"
    assert [packet.topic for packet in peer.published()] == ["by name"]


def test_a_resolver_that_hangs_holds_up_no_other_connector(resolver, backend, peer):
    """Nor the attempt that asked it, beyond its time-out, nor the end of the program."""
    (resolver / "slow").touch()
    with run(resolver, backend, "127.0.0.1", peer.port) as output:
        assert output.read() == "failed: timed out\naddressed\n"
    assert (resolver / "slow").exists()
    assert [packet.topic for packet in peer.published()] == ["by address"]


def _of(observer: Any, topic: str) -> list[bytes]:
    return [message.payload for message in observer.seen if message.topic == topic]
