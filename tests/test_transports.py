"""What the compiled core does not carry yet works on a real broker: ``backend="auto"`` takes the fallback for it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import socks

from cascade.connectors.mqtt import ConnectError, MqttConnector
from listener import Listener
from mosquitto import free_port
from socks_proxy import SocksProxy
from waiting import eventually


class Web:
    """Answers the first bytes of each connection with ``answer``, and says nothing more."""

    def __init__(self) -> None:
        self.answer = b""
        self.requests: list[bytes] = []
        self._listener = Listener(self._serve)
        self.host, self.port = self._listener.host, self._listener.port
        self.stop = self._listener.close

    def _serve(self, client: socket.socket) -> None:
        self.requests.append(client.recv(65_536))
        client.sendall(self.answer)
        while client.recv(65_536):
            pass


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    yield web
    web.stop()


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


async def test_websockets_over_tls(own_mosquitto, round_trip, tmp_path):
    certificate, key = _self_signed(tmp_path)
    port = free_port()
    own_mosquitto(f"listener {port} 127.0.0.1", "protocol websockets", f"certfile {certificate}", f"keyfile {key}")
    trusting = ssl.create_default_context(cafile=str(certificate))
    options = {"transport": "websockets", "tls_context": trusting, "websocket_headers": {"X-Worker": "1"}}
    assert await round_trip("127.0.0.1", port, **options) == ("python", "3.1.1")


async def test_headers_of_a_websocket(web):
    def sign(headers: dict[str, str]) -> dict[str, str]:
        return headers | {"Authorization": "Bearer of a token"}

    web.answer = b"HTTP/1.1 403 Forbidden\r\n\r\n"
    connector = MqttConnector(
        web.host, web.port, transport="websockets", websocket_path="/way", websocket_headers=sign, connect_timeout=0.5
    )
    with pytest.raises(ConnectError, match="403 Forbidden"):
        await connector.connect()
    request = web.requests[0].decode().split("\r\n")
    assert request[0] == "GET /way HTTP/1.1"
    assert {f"Host: {web.host}:{web.port}", "Sec-WebSocket-Protocol: mqtt", "Authorization: Bearer of a token"} < set(
        request
    )


async def test_a_websocket_that_is_none(web):
    """The right status, and not the proof that it was this request that was understood (RFC 6455 section 4.1)."""
    web.answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
    connector = MqttConnector(web.host, web.port, transport="websockets", connect_timeout=1)
    with pytest.raises(ConnectError, match="websocket handshake"):
        await connector.connect()


@pytest.mark.parametrize("options", [{"tls_context": ssl.create_default_context()}, {"transport": "websockets"}])
async def test_a_handshake_without_an_answer_holds_nobody_up(web, peer, options):
    """All connectors of a process dial on one thread."""
    silent = [MqttConnector(web.host, web.port, first_connect="background", **options) for _ in range(20)]
    connecting = asyncio.gather(*(connector.connect() for connector in silent))
    await eventually(lambda: len(web.requests) == 20)
    other = MqttConnector("localhost", peer.port, backend="python")
    await other.connect()
    assert sum(thread.name.startswith("cascade-mqtt") for thread in threading.enumerate()) <= 2
    await asyncio.gather(*(connector.disconnect(timeout=0.1) for connector in [other, *silent]))
    await connecting


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
