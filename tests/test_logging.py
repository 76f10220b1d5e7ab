"""What reaches the log: one line a change of state, a repeated cause once, and never a payload or a secret."""

from __future__ import annotations

import dataclasses
import logging
import re
import ssl
import traceback
from types import SimpleNamespace
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import wire
from cascade.connectors.mqtt import ConnectError, MqttConnector, MqttError
from cascade.connectors.mqtt.options import Options
from fake_peer import FakePeer
from waiting import eventually
from wire import Packet

NAME = "cascade.connectors.mqtt"
SECRET = "s3cr3t"
QUICK: dict[str, Any] = {"reconnect_min_delay": 0.001, "reconnect_max_delay": 0.002}


def told(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


@pytest.fixture(autouse=True)
def _all_levels(caplog):
    caplog.set_level(logging.DEBUG)


async def test_an_outage_is_one_line_when_it_begins_and_one_when_it_ends(connected, peer, caplog):
    connector = await connected(peer, **QUICK)
    peer.puback = False
    for n in range(3):
        await connector.publish("t", {"n": n}, qos=1)
    await eventually(lambda: len(peer.published(qos=1)) == 3)
    peer.connack = b"\0\3"
    peer.cut()
    await eventually(lambda: len(peer.of(wire.CONNECT)) > 20)
    peer.connack = b"\0\0"
    await eventually(lambda: connector.stats().connected)
    await eventually(lambda: len(told(caplog)) == 3)
    place, what = f"127.0.0.1:{peer.port}", f"MQTT 3.1.1, {connector.stats().backend}"
    lines = [re.sub(r"\d+\.\d s", "… s", line).replace("reset by", "closed by") for line in told(caplog)]
    assert lines == [
        f"connected to {place} ({what})",
        f"connection to {place} lost: connection closed by the broker; reconnecting, 3 events wait",
        f"connected to {place} ({what}) again after … s, 3 events wait",
    ]


class Refusing(FakePeer):
    """Refuses so many times, each time in the same way."""

    def __init__(self, how: bytes | None, times: int) -> None:
        self.how, self.times = how, times
        super().__init__()

    def answer(self, packet: Packet) -> bytes:
        if packet.kind == wire.CONNECT and self.times:
            self.times -= 1
            if self.how is None:
                raise ConnectionError
            return self.how
        return super().answer(packet)


REFUSALS = {
    "a code that passes": wire.encode(wire.CONNACK, 0, b"\0\3"),
    "bad credentials": wire.encode(wire.CONNACK, 0, b"\0\4"),
    "malformed": wire.encode(wire.CONNACK, 0, b"\2\0"),
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "closed without a word": None,
}


@pytest.mark.parametrize("how", REFUSALS)
async def test_a_hundred_refusals_are_one_line(new_connector, caplog, how):
    with Refusing(REFUSALS[how], times=100) as peer:
        connector = new_connector(peer, first_connect="background", **QUICK)
        await connector.connect()
        await eventually(lambda: connector.stats().connected)
        assert len(peer.of(wire.CONNECT)) == 101
        await eventually(lambda: len(told(caplog)) >= 2)
        first, last = told(caplog)
        assert first.startswith(f"cannot connect to 127.0.0.1:{peer.port}: ")
        assert last.startswith(f"connected to 127.0.0.1:{peer.port} ")


async def test_a_refusal_that_has_become_permanent_is_said_too(new_connector, peer, caplog):
    peer.connack = b"\0\3"
    connector = new_connector(peer, first_connect="background", connect_timeout=0.2, **QUICK)
    await connector.connect()
    await eventually(lambda: len(peer.of(wire.CONNECT)) > 5)
    peer.connack = b"\0\5"
    await eventually(lambda: len(told(caplog)) == 2)
    again = len(peer.of(wire.CONNECT))
    await eventually(lambda: len(peer.of(wire.CONNECT)) > again + 5)
    assert ["server unavailable" in told(caplog)[0], "not authorised" in told(caplog)[1]] == [True, True]
    assert len(told(caplog)) == 2


async def test_a_broker_that_ends_every_connection_is_said_to_do_so_once(connected, peer, caplog):
    connector = await connected(peer, **QUICK)
    peer.greeting = b"\0\0"
    peer.cut()
    await eventually(lambda: connector.stats().reconnects >= 100)
    await connector.disconnect()
    lines = told(caplog)
    assert len([line for line in lines if "closes every connection soon after accepting it" in line]) == 1
    # Each cause that ends connections in a row is told when it has done so 1, 2, 4, 8, … times.
    assert [int(times) for line in lines for times in re.findall(r"section 2.2.1\) \((\d+) times", line)] == [
        2, 4, 8, 16, 32, 64,
    ]  # fmt: skip
    assert len(lines) <= 20


class Turning(FakePeer):
    """Ends its first three connections behind CONNACK, and refuses all others."""

    def answer(self, packet: Packet) -> bytes:
        if packet.kind == wire.CONNECT and self.connections > 3:
            return wire.encode(wire.CONNACK, 0, b"\0\3")
        return super().answer(packet) + (b"\0\0" if packet.kind == wire.CONNECT else b"")


async def test_after_a_loss_that_was_not_told_a_failed_attempt_is(connected, caplog):
    with Turning() as peer:
        await connected(peer, **QUICK)
        await eventually(lambda: len(peer.of(wire.CONNECT)) > 20)
    lines = told(caplog)
    assert [" lost: " in line for line in lines].count(True) == 2
    assert ["server unavailable" in line for line in lines].count(True) == 1


def shown(*things: Any) -> str:
    """All that a program might print of these."""
    parts = []
    for thing in things:
        parts += [str(thing), repr(thing)]
        if isinstance(thing, BaseException):
            parts += traceback.format_exception(thing)
    return "\n".join(parts)


class Unspeakable:
    """An object whose text is a secret, and that cannot become JSON."""

    def __repr__(self) -> str:
        return SECRET


def _refuses(_value: object) -> object:
    raise ValueError(SECRET)


async def _a_life(connector: MqttConnector, peer: FakePeer, *, strict: bool) -> str:
    """Everything that can go wrong with a payload; returns what a program saw of it."""
    errors: list[BaseException] = []
    handle = await connector.subscribe("in", lambda topic, payload: None)
    for payload in (SECRET.encode(), f'{{"{SECRET}'.encode(), SECRET.encode() + b"\xff", b'["' + SECRET.encode()):
        peer.send(wire.publish("in", payload))
    await eventually(lambda: sum(connector.stats().inbox_dropped.values()) == 4)
    bad: list[tuple[str, Any]] = [
        ("t/+", SECRET), ("t", Unspeakable()), ("t", {SECRET: Unspeakable()}), ("t", {Unspeakable(): SECRET}),
        ("t", SECRET * 1_000_000), ("t", {"a": [SECRET] * 1_000_000}),
    ]  # fmt: skip
    for topic, payload in bad:
        for attempt in (connector.publish(topic, payload), connector.publish_confirmed(topic, payload, timeout=5)):
            try:
                await attempt
            except MqttError as error:
                errors.append(error)
    assert len(errors) == (2 * len(bad) if strict else len(bad))
    peer.puback = False
    with pytest.raises(MqttError) as unconfirmed:
        await connector.publish_confirmed("t", {"payload": SECRET}, timeout=0.05)
    errors.append(unconfirmed.value)
    peer.cut()
    await eventually(lambda: connector.stats().reconnects == 1)
    peer.send(wire.encode(wire.PUBLISH, 0, SECRET.encode()))
    await eventually(lambda: connector.stats().reconnects == 2)
    text = shown(connector, handle, connector.stats(), *errors)
    await connector.disconnect(timeout=0.2)
    return text


@pytest.mark.parametrize("strict", [False, True])
async def test_payloads_and_credentials_are_nowhere(new_connector, peer, caplog, strict):
    will = SimpleNamespace(topic="w", payload=SECRET, qos=0, retain=False)
    options = {"username": "ada", "password": SECRET, "will": will, "default": _refuses, "max_inbound_bytes": 10_000}
    connector = new_connector(peer, strict=strict, **options, **QUICK)
    await connector.connect()
    text = await _a_life(connector, peer, strict=strict)
    refused = new_connector(peer, **options, **QUICK)
    peer.connack = b"\0\4"
    with pytest.raises(ConnectError) as error:
        await refused.connect()
    text += shown(refused, error.value)
    assert SECRET not in text
    assert SECRET not in caplog.text
    assert {record.name for record in caplog.records} <= {NAME, "asyncio"}


TLS = aiomqtt.TLSParameters(certfile=__file__, keyfile=__file__, keyfile_password=SECRET, cert_reqs=ssl.CERT_REQUIRED)


def _authenticating() -> Properties:
    properties = Properties(PacketTypes.CONNECT)
    properties.AuthenticationMethod, properties.AuthenticationData = "plain", SECRET.encode()
    properties.UserProperty = ("token", SECRET)
    return properties


ONLY_FALLBACK = {
    "websocket headers": {"transport": "websockets", "websocket_headers": {"Authorization": f"Bearer {SECRET}"}},
    "websocket path": {"transport": "websockets", "websocket_path": f"/mqtt?token={SECRET}"},
    "TLS material": {"tls_params": TLS},
    "proxy credentials": {
        "proxy": {"proxy_type": 2, "proxy_addr": "127.0.0.1", "proxy_port": 9, "proxy_username": "ada",
                  "proxy_password": SECRET}
    },
    "CONNECT properties": {"protocol": "5", "properties": _authenticating()},
}  # fmt: skip


@pytest.mark.parametrize("backend", ["python"])  # The only one that has these options.
@pytest.mark.parametrize("name", ONLY_FALLBACK)
async def test_what_only_the_fallback_carries_is_nowhere_either(new_connector, peer, caplog, name, backend):
    peer.connack = b"\0\5"
    options = ONLY_FALLBACK[name]
    connector = new_connector(peer, connect_timeout=0.5, **options)
    with pytest.raises(ConnectError) as error:
        await connector.connect()
    assert SECRET not in shown(connector, error.value, connector.stats())
    assert SECRET not in caplog.text


def test_options_do_not_show_secrets():
    will = SimpleNamespace(topic="w", payload=SECRET, qos=0, retain=False)
    options = Options.build("h", username="ada", password=SECRET, will=will)
    for others in ONLY_FALLBACK.values():
        options = dataclasses.replace(options, **{name: value for name, value in others.items() if name != "protocol"})
    assert SECRET not in shown(options, options.will)


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": 5, "username": "ada"}, {"password": SECRET.encode(), "username": "ada"}, {"password": SECRET},
        {"will": SECRET}, {"will": SimpleNamespace(topic="a/#", payload=SECRET, qos=0, retain=False)},
        {"will": SimpleNamespace(topic="w", payload=SECRET, qos=7, retain=False)},
    ],
)  # fmt: skip
def test_wrong_options_are_named_without_their_values(wrong):
    with pytest.raises((TypeError, ValueError)) as error:
        MqttConnector("h", **wrong)
    assert SECRET not in str(error.value)
