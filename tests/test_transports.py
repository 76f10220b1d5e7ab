"""What the compiled core does not carry yet works on a real broker: ``backend="auto"`` takes the fallback for it."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import socks

from cascade.connectors.mqtt import MqttConnector
from mosquitto import free_port
from socks_proxy import SocksProxy
from waiting import eventually


@pytest.fixture
async def round_trip(prefix) -> AsyncIterator[Any]:
    """Connects, and sends one message to itself; returns what backend and version did it."""
    made: list[MqttConnector] = []

    async def make(host: str, port: int, **options: Any) -> tuple[str, str | None]:
        connector = MqttConnector(host, port, **options)
        made.append(connector)
        await connector.connect()
        seen: list[object] = []
        await connector.subscribe(f"{prefix}/#", lambda topic, payload: seen.append(payload))
        await connector.publish_confirmed(f"{prefix}/a", {"n": 1})
        await eventually(lambda: seen == [{"n": 1}])
        stats = connector.stats()
        return stats.backend, stats.protocol

    yield make
    for connector in made:
        await connector.disconnect()


@pytest.mark.parametrize(("protocol", "version"), [("5", "5"), ("auto", "5"), ("3.1", "3.1")])
async def test_other_versions(round_trip, mosquitto_broker, protocol, version):
    where = mosquitto_broker.host, mosquitto_broker.port
    assert await round_trip(*where, protocol=protocol) == ("python", version)


async def test_websockets(own_mosquitto, round_trip):
    port = free_port()
    own_mosquitto(f"listener {port} 127.0.0.1", "protocol websockets")
    options = {"transport": "websockets", "websocket_path": "/mqtt"}
    assert await round_trip("127.0.0.1", port, **options) == ("python", "3.1.1")


async def test_unix_sockets(own_mosquitto, round_trip, tmp_path):
    own_mosquitto(f"listener 0 {tmp_path}/s")
    assert await round_trip(f"{tmp_path}/s", 1883, transport="unix") == ("python", "3.1.1")


async def test_tls(own_mosquitto, round_trip, tmp_path):
    certificate, key = _self_signed(tmp_path)
    broker = own_mosquitto(f"certfile {certificate}", f"keyfile {key}")
    trusting = ssl.create_default_context(cafile=str(certificate))
    assert await round_trip(broker.host, broker.port, tls_context=trusting) == ("python", "3.1.1")


async def test_proxy(mosquitto_broker, round_trip):
    proxy = SocksProxy()
    try:
        settings = aiomqtt.ProxySettings(proxy_type=socks.SOCKS5, proxy_addr=proxy.host, proxy_port=proxy.port)
        where = mosquitto_broker.host, mosquitto_broker.port
        assert await round_trip(*where, proxy=settings) == ("python", "3.1.1")
        assert proxy.targets == [where]
    finally:
        proxy.stop()


def _self_signed(directory: Path) -> tuple[Path, Path]:
    if not (openssl := shutil.which("openssl")):
        pytest.skip("openssl is not installed")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
