"""What the Cascade engine, its observer and its controller do with a connector, as they do it."""

from __future__ import annotations

import asyncio
import inspect
import json
import platform
from typing import Any
from unittest.mock import MagicMock, patch

import pytest

import cascade.connectors.mqtt as mqtt
from cascade.connectors.mqtt import Connector, MqttConnector, SubscriptionHandle
from waiting import eventually


async def test_the_engine(connected, broker, new_observer, prefix):
    """Constraints first, then telemetry by tasks that nobody awaits, a tenth of a second, goodbye."""
    observer = new_observer(broker, f"{prefix}/telemetry/#")
    observer.publish(f"{prefix}/constraints/global", json.dumps({"id": "pause-global", "scope": "global"}), retain=True)
    seen: list[Any] = []

    async def on_constraint(topic: str, payload: dict[str, Any]) -> None:
        seen.append((topic, payload))

    connector = await connected(broker)
    handle = await connector.subscribe(f"{prefix}/constraints/#", on_constraint)
    assert seen == [(f"{prefix}/constraints/global", {"id": "pause-global", "scope": "global"})]
    tasks = [
        asyncio.create_task(connector.publish(f"{prefix}/telemetry/run/events", {"task": number}))
        for number in range(500)
    ]
    await asyncio.sleep(0.1)
    assert all(task.done() and task.exception() is None for task in tasks)
    if handle:
        await handle.unsubscribe()
    await connector.disconnect()
    await eventually(lambda: len(observer.seen) == 500)
    assert [message.json["task"] for message in observer.seen] == list(range(500))
    observer.publish(f"{prefix}/constraints/global", b"", retain=True)


async def test_tasks_that_publish_are_sent_before_disconnect(connected, broker, new_observer, prefix):
    observer = new_observer(broker, f"{prefix}/#")
    connector = await connected(broker)
    tasks = [asyncio.create_task(connector.publish(f"{prefix}/events", {"task": number})) for number in range(100)]
    await connector.disconnect()
    assert all(task.done() for task in tasks)
    await eventually(lambda: len(observer.seen) == 100)


async def test_the_controller(connected, broker, new_observer, prefix):
    """Sets a retained constraint, waits a tenth of a second, leaves; then lifts it the same way."""
    topic = f"{prefix}/constraints/global"
    for payload, wanted in (({"type": "pause"}, [b'{"type":"pause"}']), ("", [])):
        connector = await connected(broker)
        await connector.publish(topic, payload, qos=1, retain=True)
        await asyncio.sleep(0.1)
        await connector.disconnect()
        late = new_observer(broker, f"{prefix}/#")
        mark = new_observer(broker)
        mark.publish(f"{prefix}/mark", b"end")
        await eventually(lambda late=late: b"end" in late.payloads)
        assert [payload for payload in late.payloads if payload != b"end"] == wanted


async def test_the_observer(connected, broker, new_observer, prefix):
    """Listens to everything until it is told to stop."""
    got: list[Any] = []
    speaker = new_observer(broker)
    connector = await connected(broker)

    async def on_message(topic: str, payload: dict[str, Any]) -> None:
        got.append(payload["n"])

    await connector.subscribe(f"{prefix}/telemetry/+/+/+/events", on_message)
    for number in range(200):
        speaker.publish_soon(f"{prefix}/telemetry/local/default/r{number % 5}/events", json.dumps({"n": number}), qos=1)
    await eventually(lambda: sorted(got) == list(range(200)))
    await connector.disconnect()


def test_attributes_and_signatures(backend):
    connector = MqttConnector("test.broker", 9999, backend=backend, identifier="tester", keepalive=30)
    assert connector.hostname == "test.broker"
    assert connector.port == 9999
    assert connector.client_kwargs["identifier"] == "tester"
    assert connector.client_kwargs["keepalive"] == 30
    assert MqttConnector(hostname="test.broker", backend=backend).port == 1883
    assert isinstance(connector, Connector)
    for name in ("connect", "disconnect", "publish", "subscribe"):
        assert asyncio.iscoroutinefunction(getattr(connector, name)), name
    assert list(inspect.signature(connector.publish).parameters)[:4] == ["topic", "payload", "qos", "retain"]
    assert list(inspect.signature(connector.subscribe).parameters)[:2] == ["topic_filter", "callback"]


def test_it_is_built_outside_a_loop(backend):
    connector = MqttConnector("127.0.0.1", backend=backend)
    asyncio.run(connector.disconnect())


def test_the_class_can_be_patched(backend):
    with patch.object(mqtt, "MqttConnector", MagicMock()) as fake:
        assert mqtt.MqttConnector("x") is fake.return_value
    with patch.object(MqttConnector, "__new__", lambda cls, *args, **options: object.__new__(cls)):
        assert MqttConnector("h", backend=backend).hostname == "h"
    with patch.object(MqttConnector, "publish", MagicMock()) as publish:
        MqttConnector("h", backend=backend).publish("t", {})
        publish.assert_called_once_with("t", {})
    connector = MqttConnector("h", backend=backend)
    connector.note = "an ordinary mutable object"
    assert connector.note


def test_it_can_be_subclassed(backend):
    class Mine(MqttConnector):
        def __init__(self) -> None:
            super().__init__("127.0.0.1", 1884, backend=backend)
            self.extra = 1

    assert (Mine().port, Mine().extra) == (1884, 1)


@pytest.mark.parametrize("payload", [{"a": 1}, "text", b"bytes", "", None, [1], 5, 1.5])
async def test_publish_returns_none(connected, peer, payload):
    connector = await connected(peer)
    assert await connector.publish("t", payload) is None


async def test_handles_are_truthy_and_structural(connected, peer):
    connector = await connected(peer)
    handle = await connector.subscribe("a", lambda topic, payload: None)
    assert handle
    assert isinstance(handle, SubscriptionHandle)


async def test_the_source_id_is_read_in_each_process(connected, peer, monkeypatch):
    monkeypatch.delenv("CASCADE_SOURCE_ID", raising=False)
    monkeypatch.setattr(platform, "node", lambda: "test-host")
    monkeypatch.setattr("os.getpid", lambda: 12345)
    await connected(peer)
    assert b"cascade/status/test-host-12345" in peer.packets[0].body
    assert b'{"status": "offline"}' in peer.packets[0].body
