"""Connecting, refusal, cancellation and coming back."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from pathlib import Path

import pytest

import wire
from cascade.connectors.mqtt import ConnectError, MqttConnector
from fake_peer import FakePeer
from mosquitto import free_port
from waiting import eventually

PERMANENT = {1: "protocol version", 2: "identifier", 4: "user name or password", 5: "not authorised"}


async def test_connects_and_says_so(connected, broker, backend):
    connector = await connected(broker)
    stats = connector.stats()
    assert stats.connected
    assert stats.connected_since is not None
    assert stats.backend == backend
    assert stats.protocol == "3.1.1"
    await connector.disconnect()
    stats = connector.stats()
    assert not stats.connected
    assert stats.connected_since is None


async def test_context_manager(new_connector, broker, prefix, new_observer):
    observer = new_observer(broker, f"{prefix}/#")
    async with new_connector(broker) as connector:
        await connector.publish(f"{prefix}/a", {"n": 1})
    assert not connector.stats().connected
    await eventually(lambda: observer.payloads == [b'{"n":1}'])


async def test_unknown_host_is_a_connect_error(backend):
    connector = MqttConnector("no-such-host.invalid", backend=backend, connect_timeout=0.4)
    with pytest.raises(ConnectError):
        await connector.connect()
    await connector.disconnect()


async def test_after_a_refusal_it_can_be_tried_again(new_connector, backend):
    port = free_port()
    connector = MqttConnector("127.0.0.1", port, backend=backend, connect_timeout=0.3)
    with pytest.raises(ConnectError):
        await connector.connect()
    with FakePeer(port) as peer:
        await connector.connect()
        await connector.publish("t", "x", qos=1)
        await eventually(lambda: peer.published())
        await connector.disconnect()


async def test_transient_failures_are_retried_within_the_time_out(new_connector):
    port = free_port()
    with FakePeer(port) as gone:
        gone.connack = b"\x00\x03"  # server unavailable
        connector = new_connector(gone, connect_timeout=20, reconnect_max_delay=0.1)
        attempt = asyncio.create_task(connector.connect())
        await eventually(lambda: gone.connections >= 2)
        gone.connack = b"\x00\x00"
        await attempt
        assert connector.stats().connected


@pytest.mark.parametrize("code", PERMANENT)
async def test_permanent_refusals_end_at_once(new_connector, peer, code):
    peer.connack = bytes([0, code])
    connector = new_connector(peer, connect_timeout=60)
    with pytest.raises(ConnectError) as failure:
        await asyncio.wait_for(connector.connect(), 30)
    assert failure.value.permanent
    assert len(peer.of(wire.CONNECT)) == 1
    await connector.disconnect()
    peer.connack = b"\x00\x00"
    await connector.connect()
    assert connector.stats().connected


async def test_background_survives_a_permanent_refusal(new_connector, peer):
    peer.connack = b"\x00\x05"
    connector = new_connector(peer, first_connect="background", connect_timeout=0.1)
    await connector.connect()
    await eventually(lambda: connector.stats().last_error)
    await connector.disconnect()


async def test_the_operator_overrides_first_connect(monkeypatch, backend):
    monkeypatch.setenv("CASCADE_MQTT_FIRST_CONNECT", "background")
    connector = MqttConnector("127.0.0.1", free_port(), backend=backend, first_connect="require", connect_timeout=0.1)
    await connector.connect()
    await connector.disconnect()


@pytest.fixture
def guarded(own_mosquitto, tmp_path):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "ada", "s3cr3t"], check=True)
    Path(passwords).chmod(0o644)
    return own_mosquitto("allow_anonymous false", f"password_file {passwords}")


async def test_good_credentials(connected, guarded):
    connector = await connected(guarded, username="ada", password="s3cr3t")
    assert connector.stats().connected


@pytest.mark.parametrize("login", [{}, {"username": "ada", "password": "guess-me"}, {"username": "ada"}])
async def test_bad_credentials(new_connector, guarded, login, caplog):
    caplog.set_level(logging.DEBUG)
    connector = new_connector(guarded, connect_timeout=60, **login)
    with pytest.raises(ConnectError) as failure:
        await asyncio.wait_for(connector.connect(), 30)
    assert failure.value.permanent
    await connector.disconnect()
    for text in (str(failure.value), repr(connector), caplog.text, str(connector.stats())):
        assert "guess-me" not in text


async def test_concurrent_calls_share_one_attempt(new_connector, peer):
    connector = new_connector(peer)
    await asyncio.gather(*(connector.connect() for _ in range(5)))
    assert peer.connections == 1
    await connector.connect()
    assert peer.connections == 1


async def test_concurrent_calls_share_one_failure(new_connector, peer):
    peer.connack = b"\x00\x05"
    connector = new_connector(peer)
    results = await asyncio.gather(*(connector.connect() for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, ConnectError) for result in results)
    assert peer.connections == 1


async def test_one_cancelled_caller_does_not_cancel_the_other(new_connector, peer):
    peer.connack = b""
    connector = new_connector(peer, connect_timeout=20)
    first, second = asyncio.create_task(connector.connect()), asyncio.create_task(connector.connect())
    await eventually(lambda: peer.of(wire.CONNECT))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    peer.send(wire.encode(wire.CONNACK, 0, b"\x00\x00"))
    await asyncio.wait_for(second, 15)
    assert connector.stats().connected


@pytest.mark.every_loop
async def test_cancellation_leaves_a_clean_state(new_connector, peer):
    peer.connack = b""
    connector = new_connector(peer, connect_timeout=60)
    attempt = asyncio.create_task(connector.connect())
    await eventually(lambda: peer.of(wire.CONNECT))
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    await connector.disconnect()
    peer.connack = b"\x00\x00"
    await connector.connect()
    assert connector.stats().connected


def test_one_loop_after_another(peer, backend):
    connector = MqttConnector(peer.host, peer.port, backend=backend)
    got: list[str] = []

    async def once(number: int) -> None:
        await connector.connect()
        handle = await connector.subscribe("again", lambda topic, payload: got.append(payload))
        await connector.publish("out", str(number), qos=1)
        peer.send(wire.publish("again", b'"%d"' % number))
        await eventually(lambda: got[-1:] == [str(number)])
        await handle.unsubscribe()
        await connector.disconnect()

    for number in range(3):
        asyncio.run(once(number))
    assert [packet.payload for packet in peer.published()] == [b"0", b"1", b"2"]
    assert peer.connections == 3


async def test_disconnect_without_connect_and_twice(new_connector, peer):
    connector = new_connector(peer)
    await connector.disconnect()
    await connector.connect()
    await connector.disconnect()
    await connector.disconnect()
    assert len(peer.of(wire.DISCONNECT)) == 1


async def test_identifiers_differ_and_are_not_empty(connected, peer):
    await connected(peer)
    await connected(peer)
    names = [_identifier(packet) for packet in peer.of(wire.CONNECT)]
    assert len(set(names)) == 2
    assert all(name.startswith("c-") and len(name) == 22 for name in names)


async def test_what_connect_says(connected, peer):
    await connected(peer, identifier="me", keepalive=17, username="ada", password="pw", clean_session=False)
    (packet,) = peer.of(wire.CONNECT)
    assert packet.body[:7] == b"\x00\x04MQTT\x04"
    assert packet.body[7] & 0b1100_0010 == 0b1100_0000  # user name, password, no clean session
    assert packet.body[8:10] == b"\x00\x11"
    assert _identifier(packet) == "me"
    assert packet.body.endswith(b"\x00\x03ada\x00\x02pw")


async def test_state_changes_are_told(new_connector, peer):
    states: list[str] = []
    connector = new_connector(peer, on_state_change=states.append)
    await connector.connect()
    await eventually(lambda: states[-1:] == ["connected"])
    peer.cut()
    await eventually(lambda: connector.stats().reconnects == 1)
    await eventually(lambda: states.count("connected") == 2)
    await connector.disconnect()
    await eventually(lambda: "disconnected" in states)


async def test_a_raising_state_callback_harms_nobody(new_connector, peer):
    def on_state_change(state: str) -> None:
        raise RuntimeError(state)

    connector = new_connector(peer, on_state_change=on_state_change)
    await connector.connect()
    await connector.publish("t", "x", qos=1)
    await eventually(lambda: peer.published())
    await connector.disconnect()


async def test_plain_text_credentials_warn_only_away_from_loopback(connected, peer, caplog):
    await connected(peer, username="ada", password="pw")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def _identifier(packet: wire.Packet) -> str:
    length = int.from_bytes(packet.body[10:12], "big")
    return packet.body[12 : 12 + length].decode()
