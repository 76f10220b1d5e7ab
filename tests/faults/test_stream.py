"""2,000 events a second at QoS 1 while something goes wrong: none is lost, and it goes on soon after."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from stream import Record, Stream, next_puback

import accounts
import wire
from mosquitto import Mosquitto
from proxy import Proxy
from waiting import eventually

MAX_DELAY_S = 2.0
SOON_S = 2 * (MAX_DELAY_S + 1)
"""The current ceiling and a second; twice that, for a machine that is busy with other tests."""
LOGIN = {"username": "ada", "password": "s3cr3t"}


class Scene(NamedTuple):
    """What a fault may do something to."""

    broker: Mosquitto
    proxy: Proxy
    connector: Any
    passwords: Callable[..., Any]

    async def until_noticed(self) -> None:
        await eventually(lambda: not self.connector.stats().connected)

    async def until_connect(self, number: int) -> None:
        """Until the connector has sent so many CONNECTs since its beginning; each in time."""
        await eventually(lambda: len(self.proxy.packets(wire.CONNECT, from_broker=False)) >= number, SOON_S)

    async def until_it_flows(self) -> None:
        await next_puback(self.proxy, time.monotonic())


async def reset(scene: Scene) -> None:
    """RST, twice, while hundreds of events are on their way."""
    for number in (2, 3):
        await scene.until_it_flows()
        scene.proxy.pause()
        await asyncio.sleep(0.2)
        scene.proxy.cut()
        scene.proxy.resume()
        await scene.until_connect(number)


async def shut_out(scene: Scene) -> None:
    """Cut, and every new connection closed at once, for a second."""
    scene.proxy.closing = True
    scene.proxy.cut()
    await asyncio.sleep(1)
    scene.proxy.closing = False


async def cut_inside_publish(scene: Scene) -> None:
    scene.proxy.cut_inside(wire.PUBLISH, from_broker=False)
    await scene.until_connect(2)


async def cut_inside_puback(scene: Scene) -> None:
    scene.proxy.cut_inside(wire.PUBACK, from_broker=True)
    await scene.until_connect(2)


async def half_open(scene: Scene) -> None:
    """Both sides talk to nobody; new connections work."""
    scene.proxy.lose()
    await scene.until_connect(2)


async def trickle(scene: Scene) -> None:
    """One byte in 10 ms for 2 s; the connection lives."""
    scene.proxy.trickling = True
    await asyncio.sleep(2)
    scene.proxy.trickling = False


async def pubacks_withheld(scene: Scene) -> None:
    """For a second, then reset: on one connection nothing may be sent again."""
    scene.proxy.withheld.add(wire.PUBACK)
    await asyncio.sleep(1)
    scene.proxy.cut()
    scene.proxy.withheld.clear()


async def answers_withheld(scene: Scene) -> None:
    """Neither PUBACK nor PINGRESP, until that is noticed."""
    scene.proxy.withheld |= {wire.PUBACK, wire.PINGRESP}
    scene.proxy.closing = True
    await scene.until_noticed()
    scene.proxy.withheld.clear()
    scene.proxy.closing = False


async def silence_on_reconnect(scene: Scene) -> None:
    scene.proxy.withheld.add(wire.CONNACK)
    scene.proxy.cut()
    await scene.until_connect(3)
    scene.proxy.withheld.clear()


async def taken_over(scene: Scene) -> None:
    """Another client comes with the same identifier, twice; each time the broker closes the older connection."""
    connect = wire.encode(wire.CONNECT, body=b"\x00\x04MQTT\x04\x02\x00\x00\x00\x04twin")
    for number in (2, 3):
        with socket.create_connection((scene.broker.host, scene.broker.port)) as twin:
            twin.sendall(connect)
            await scene.until_connect(number)
        await scene.until_it_flows()


async def frozen(scene: Scene) -> None:
    """The broker's process stands still for 5 s."""
    scene.broker.freeze()
    await asyncio.sleep(5)
    scene.broker.thaw()


async def restarted(scene: Scene) -> None:
    """SIGTERM, with persistence."""
    await asyncio.to_thread(scene.broker.restart)


async def killed(scene: Scene) -> None:
    await asyncio.to_thread(scene.broker.stop, signal.SIGKILL)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(scene.broker.start)


async def credentials_withdrawn(scene: Scene) -> None:
    """The broker throws the client out and refuses it, until its password is the right one again."""
    scene.passwords(ada="changed", witness="w")
    scene.broker.reload()
    await scene.until_noticed()
    await eventually(lambda: scene.connector.stats().last_error in ("not authorised", "bad user name or password"))
    scene.passwords(ada=LOGIN["password"], witness="w")
    scene.broker.reload()


async def quota_used_up(scene: Scene) -> None:
    """Others hold all the connections that the broker allows, until two attempts have come to nothing."""

    def refused() -> int:
        return len(scene.proxy.packets(wire.CONNECT, from_broker=False)) - len(
            scene.proxy.packets(wire.CONNACK, from_broker=True)
        )

    with contextlib.ExitStack() as others:
        while refused() < 2:
            if scene.connector.stats().connected:
                scene.proxy.cut()
            others.enter_context(socket.create_connection((scene.broker.host, scene.broker.port)))
            await asyncio.sleep(0.005)


async def disk_full(scene: Scene) -> None:
    """No file of the broker's may grow, and it is told to save its state."""
    _, hard = limits = resource.prlimit(scene.broker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(scene.broker.pid, resource.RLIMIT_FSIZE, (0, hard))
    for _ in range(3):
        scene.broker.save()
        await asyncio.sleep(0.3)
    assert scene.broker.saved_bytes == 0
    resource.prlimit(scene.broker.pid, resource.RLIMIT_FSIZE, limits)
    scene.broker.save()
    await eventually(lambda: scene.broker.saved_bytes)


@dataclass(frozen=True)
class Fault:
    strike: Callable[[Scene], Awaitable[None]]
    options: dict[str, Any] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    lives: bool = False
    """The connection outlives it."""
    forgets: bool = False
    """The broker forgets what it has acknowledged."""


FAULTS = {
    "reset": Fault(reset),
    "shut out": Fault(shut_out),
    "cut inside PUBLISH": Fault(cut_inside_publish),
    "cut inside PUBACK": Fault(cut_inside_puback),
    "half-open": Fault(half_open, {"keepalive": 1}),
    "a byte in 10 ms": Fault(trickle, lives=True),
    "PUBACK withheld": Fault(pubacks_withheld),
    "PUBACK and PINGRESP withheld": Fault(answers_withheld, {"keepalive": 1}),
    "silence on reconnect": Fault(silence_on_reconnect, {"connect_timeout": 0.5}),
    "taken over": Fault(taken_over, {"identifier": "twin"}),
    "frozen": Fault(frozen, lives=True),
    "frozen, and given up": Fault(frozen, {"keepalive": 1, "connect_timeout": 1}),
    "restarted": Fault(restarted),
    "killed": Fault(killed, forgets=True),
    "credentials withdrawn": Fault(credentials_withdrawn, LOGIN),
    "quota used up": Fault(quota_used_up, settings=("max_connections 3",)),
    "disk full": Fault(disk_full, lives=True),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_qos_1(fault, new_connector, own_mosquitto, new_proxy, new_observer, passwords, prefix, caplog):
    settings = ["max_inflight_messages 0", *fault.settings]
    witness = {}
    if fault.strike is credentials_withdrawn:
        settings += ["allow_anonymous false", f"password_file {passwords(ada=LOGIN['password'], witness='w')}"]
        witness = {"login": ("witness", "w")}
    broker = own_mosquitto(*settings, persistence=True)
    proxy = new_proxy(broker)
    observer = new_observer(broker, f"{prefix}/events", session=f"witness-{prefix}", **witness)
    connector = new_connector(proxy, **{"reconnect_max_delay": MAX_DELAY_S, "connect_timeout": 5} | fault.options)
    await connector.connect()
    commands: list[Any] = []
    await connector.subscribe(f"{prefix}/commands", lambda topic, payload: commands.append(payload))

    caplog.set_level(logging.DEBUG)
    stream = Stream(connector, f"{prefix}/events")
    stream.start()
    await next_puback(proxy, 0.0)
    await asyncio.sleep(0.5)
    await fault.strike(Scene(broker, proxy, connector, passwords))
    over = time.monotonic()
    resumed = await next_puback(proxy, over)
    assert resumed - over < SOON_S
    await asyncio.sleep(0.5)
    await stream.stop()
    assert await connector.flush(30) == 0

    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.dropped, stats.rejected) == (len(stream.payloads), {}, {})
    assert bool(stats.reconnects) is not fault.lives
    Record(proxy).check(stream.payloads)
    # A line when a connection is lost, one when the first attempt fails; no payload, no secret at any level.
    loud = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(loud) <= 2 * stats.reconnects + 2, loud
    assert not any(text in caplog.text for text in (LOGIN["password"], stream.payloads[0].decode()))
    if not fault.forgets:
        await eventually(lambda: len(set(observer.payloads)) == len(stream.payloads), 30)
        assert list(dict.fromkeys(observer.payloads)) == stream.payloads
    new_observer(broker, **witness).publish(f"{prefix}/commands", '"back"')
    await eventually(lambda: commands == ["back"])
