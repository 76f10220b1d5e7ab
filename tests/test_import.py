"""How the package is imported, and what it must leave alone."""

from __future__ import annotations

import subprocess
import sys

import wire

UNLOADED = """
import sys
import cascade.connectors.mqtt as mqtt
mqtt.Message, mqtt.TelemetryPublisher
late = ("aiomqtt", "paho", "typer", "rich", "iotcore", "backports", "cascade.connectors.mqtt.constraints")
loaded = [name for name in late if name in sys.modules]
assert not loaded, loaded
"""
NOTHING_ELSE = """
import asyncio, sys
before = set(sys.modules)
from cascade.connectors.mqtt import MqttConnector
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
# The future is no module of weight; dataclasses needs copy.
assert loaded <= {"__future__", "cascade", "copy", "dataclasses"}, loaded
"""
AGAIN = """
import asyncio, sys
from unittest.mock import MagicMock

import cascade.connectors.mqtt as first
for rounds in range(3):
    for name in ("cascade.connectors.mqtt", "cascade.connectors.mqtt.connector"):
        sys.modules.pop(name, None)
    sys.modules["aiomqtt"] = MagicMock()
    from cascade.connectors.mqtt import MqttConnector
    assert MqttConnector is not first.MqttConnector

    async def main():
        connector = MqttConnector("127.0.0.1", {port}, backend={backend!r})
        await connector.connect()
        await connector.publish("t", "x", qos=1)
        await connector.disconnect()

    if {backend!r} == "native":
        asyncio.run(main())
    else:
        connector = MqttConnector("127.0.0.1", {port}, backend="python")
        assert (connector.hostname, connector.port) == ("127.0.0.1", {port})
"""
WHOLE_PACKAGE_AGAIN = """
import sys
import cascade.connectors.mqtt
for name in [name for name in sys.modules if name.startswith("cascade.connectors.mqtt")]:
    del sys.modules[name]
from cascade.connectors.mqtt import MqttConnector
assert MqttConnector("127.0.0.1", backend={backend!r}).stats().backend == {backend!r}
"""


def test_importing_it_imports_no_client():
    run(UNLOADED)


def test_beyond_asyncio_it_imports_little():
    """What an import costs a program that may never connect: a few milliseconds."""
    run(NOTHING_ELSE)


def test_it_can_be_removed_and_imported_again_with_a_mocked_client(backend, peer):
    run(AGAIN.format(backend=backend, port=peer.port))
    if backend == "native":
        assert [packet.payload for packet in peer.of(wire.PUBLISH)] == [b"x"] * 3


def test_all_of_it_can_be_removed_and_imported_again(backend):
    run(WHOLE_PACKAGE_AGAIN.format(backend=backend))


def test_the_namespaces_belong_to_nobody():
    import cascade
    import cascade.connectors

    assert getattr(cascade, "__file__", None) is None
    assert getattr(cascade.connectors, "__file__", None) is None


def test_all_names_exist():
    import cascade.connectors.mqtt as mqtt

    for name in mqtt.__all__:
        assert getattr(mqtt, name) is not None
    assert {"MqttConnector", "Message", "Connector", "SubscriptionHandle", "Stats"} <= set(mqtt.__all__)


def run(program: str) -> None:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
