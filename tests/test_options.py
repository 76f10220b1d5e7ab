"""Constructor options: every one of aiomqtt's has its place, and a wrong one is named at once."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
import subprocess
import sys
from types import SimpleNamespace

import aiomqtt
import pytest

import wire
from cascade.connectors.mqtt import MqttConnector
from cascade.connectors.mqtt.options import AIOMQTT_OPTIONS, FALLBACK_ONLY, Options
from waiting import eventually


def test_every_aiomqtt_option_has_its_place():
    real = set(inspect.signature(aiomqtt.Client).parameters)
    assert real <= set(AIOMQTT_OPTIONS)


SAMPLES = {
    "username": "ada",
    "password": "pw",
    "logger": logging.getLogger("sample"),
    "identifier": "me",
    "protocol": aiomqtt.ProtocolVersion.V311,
    "will": aiomqtt.Will("w", "gone", 1, True),
    "clean_session": True,
    "transport": "tcp",
    "timeout": 3.0,
    "keepalive": 30,
    "bind_address": "127.0.0.1",
    "bind_port": 0,
    "max_queued_incoming_messages": 100,
    "max_queued_outgoing_messages": 100,
    "max_inflight_messages": 20,
    "max_concurrent_outgoing_calls": 10,
}


@pytest.mark.parametrize("name", [name for name, fate in AIOMQTT_OPTIONS.items() if fate.startswith("honoured")])
def test_honoured_options_are_taken(name):
    given = {"username": "ada", name: SAMPLES[name]} if name in SAMPLES else None
    if given is None:
        assert name in FALLBACK_ONLY or name in ("hostname", "port")
        return
    MqttConnector("127.0.0.1", **given)


def test_refused_options_are_named():
    for name, fate in AIOMQTT_OPTIONS.items():
        if fate == "refused":
            with pytest.raises(ValueError, match=name):
                MqttConnector("127.0.0.1", **{name: object})


@pytest.mark.parametrize("name", ["no_such_option", "client_id", "keepalive_s", "timeout_s", "Username"])
def test_unknown_options_are_named(backend, name):
    with pytest.raises(TypeError, match=name):
        MqttConnector("127.0.0.1", backend=backend, **{name: 1})


WRONG = [
    ("hostname", 7, TypeError),
    ("hostname", "", ValueError),
    ("port", 0, ValueError),
    ("port", 65_536, ValueError),
    ("port", "1883", TypeError),
    ("keepalive", -1, ValueError),
    ("keepalive", 65_536, ValueError),
    ("keepalive", "60", TypeError),
    ("timeout", 0, ValueError),
    ("timeout", -1, ValueError),
    ("connect_timeout", 0, ValueError),
    ("connect_timeout", float("nan"), ValueError),
    ("reconnect_min_delay", -0.1, ValueError),
    ("reconnect_max_delay", 0.05, ValueError),
    ("max_queued_bytes", 0, ValueError),
    ("max_queued_bytes", True, TypeError),
    ("max_queued_events", 0, ValueError),
    ("max_inflight_messages", 0, ValueError),
    ("max_message_bytes", 268_435_456, ValueError),
    ("max_inbound_bytes", 0, ValueError),
    ("on_full", "explode", ValueError),
    ("first_connect", "maybe", ValueError),
    ("backend", "cobol", ValueError),
    ("after_fork", "panic", ValueError),
    ("protocol", 7, ValueError),
    ("transport", "pigeon", ValueError),
    ("strict", "yes", TypeError),
    ("presence", 1, TypeError),
    ("default", 3, TypeError),
    ("on_state_change", "print", TypeError),
    ("identifier", 5, TypeError),
    ("username", b"ada", TypeError),
    ("will", "gone", TypeError),
    ("will", SimpleNamespace(topic="a/#", payload=None, qos=0, retain=False), ValueError),
    ("will", SimpleNamespace(topic="a", payload=None, qos=3, retain=False), ValueError),
    ("bind_port", 70_000, ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), WRONG, ids=lambda value: str(value)[:20])
def test_wrong_options_are_named_at_once(name, value, error):
    given = {"hostname": "127.0.0.1", name: value}
    with pytest.raises(error, match=name):
        MqttConnector(given.pop("hostname"), **given)


def test_combinations_that_make_no_sense():
    with pytest.raises(ValueError, match="identifier"):
        MqttConnector("127.0.0.1", clean_session=False)
    with pytest.raises(ValueError, match="username"):
        MqttConnector("127.0.0.1", password="pw")


def test_secrets_are_not_shown():
    connector = MqttConnector("127.0.0.1", username="ada", password="s3cr3t")
    assert "s3cr3t" not in repr(connector)
    assert "s3cr3t" not in str(connector)
    assert "s3cr3t" not in repr(Options.build("h", username="ada", password="s3cr3t"))


def test_every_option_has_a_variable(monkeypatch):
    monkeypatch.setenv("CASCADE_MQTT_KEEPALIVE", "17")
    monkeypatch.setenv("CASCADE_MQTT_RECONNECT_MAX_DELAY", "2.5")
    monkeypatch.setenv("CASCADE_MQTT_STRICT", "yes")
    monkeypatch.setenv("CASCADE_MQTT_ON_FULL", "wait")
    options = Options.build("h")
    assert (options.keepalive_s, options.reconnect_max_delay_s) == (17, 2.5)
    assert (options.strict, options.on_full) == (True, "wait")
    assert Options.build("h", keepalive=60).keepalive_s == 60  # what the program says wins


@pytest.mark.parametrize(("name", "text"), [("KEEPALIVE", "soon"), ("STRICT", "perhaps"), ("TIMEOUT", "1s")])
def test_a_wrong_variable_is_named(monkeypatch, name, text):
    monkeypatch.setenv(f"CASCADE_MQTT_{name}", text)
    with pytest.raises(ValueError, match=f"CASCADE_MQTT_{name}"):
        MqttConnector("127.0.0.1")


def test_the_operator_overrides_the_backend(monkeypatch, backend):
    monkeypatch.setenv("CASCADE_MQTT_BACKEND", backend)
    other = {"native": "python", "python": "native"}[backend]
    assert MqttConnector("127.0.0.1", backend=other).stats().backend == backend


def test_auto_falls_back_for_what_it_alone_carries(caplog):
    caplog.set_level(logging.INFO)
    for _ in range(2):
        assert MqttConnector("127.0.0.1", protocol=5).stats().backend == "python"
    assert len([record for record in caplog.records if "protocol" in record.getMessage()]) <= 1


@pytest.mark.parametrize("backend", ["native"])
@pytest.mark.parametrize("name", FALLBACK_ONLY)
def test_native_names_what_it_does_not_carry(name, backend):
    values = {"transport": "websockets", "protocol": "5", "tls_insecure": True, "websocket_path": "/mqtt"}
    with pytest.raises(ValueError, match=name):
        MqttConnector("127.0.0.1", backend=backend, **{name: values.get(name, object())})


def test_options_are_frozen():
    options = Options.build("h")
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.port = 1  # type: ignore[misc]


def test_connect_timeout_inherits_timeout():
    assert Options.build("h", timeout=3.0).connect_timeout_s == 3.0
    assert Options.build("h", timeout=3.0, connect_timeout=1.0).connect_timeout_s == 1.0


async def test_a_will_of_ones_own(connected, peer):
    await connected(peer, will=aiomqtt.Will("last/words", "bye", 1, True))
    (packet,) = peer.of(wire.CONNECT)
    assert packet.body[7] & 0b0011_1100 == 0b0010_1100
    assert packet.body.endswith(b"\x00\x0alast/words\x00\x03bye")


async def test_a_logger_of_ones_own(connected, peer, caplog):
    logger = logging.getLogger("of.my.own")
    connector = await connected(peer, logger=logger)
    connector.publish_nowait("a/#", "x")
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == ["of.my.own"]


async def test_bind_address(connected, peer):
    connector = await connected(peer, bind_address="127.0.0.1")
    assert connector.stats().connected


async def test_bind_address_that_is_not_ours(new_connector, peer):
    connector = new_connector(peer, bind_address="192.0.2.1", connect_timeout=0.3)
    with pytest.raises(ConnectionError):
        await connector.connect()


async def test_max_queued_incoming_messages(connected, peer):
    """A callback that is stuck: what is over the limit is dropped at QoS 0, and counted."""
    release, got = asyncio.Event(), []

    async def stuck(topic: str, payload: object) -> None:
        await release.wait()
        got.append(payload)

    connector = await connected(peer, max_queued_incoming_messages=10)
    await connector.subscribe("a", stuck)
    for number in range(200):
        peer.send(wire.publish("a", b"%d" % number))
    await eventually(lambda: connector.stats().inbox_dropped.get("inbox_full", 0) > 0)
    connector.publish_nowait("t", "x", qos=1)
    await eventually(lambda: connector.stats().acknowledged == 1)
    release.set()
    await eventually(lambda: len(got) + connector.stats().inbox_dropped["inbox_full"] == 200)


def test_an_unavailable_backend_is_named():
    program = """
import sys
sys.modules["cascade.connectors.mqtt._native"] = None
from cascade.connectors.mqtt import BackendUnavailable, MqttConnector
assert MqttConnector("127.0.0.1").stats().backend == "python"
try:
    MqttConnector("127.0.0.1", backend="native")
except BackendUnavailable:
    sys.exit(42)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 42
