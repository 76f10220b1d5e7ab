"""A connected socket for a paho client, on the I/O thread and without blocking it.

Two things can only block. Names are resolved on one thread of the process, those of the same host
together; proxies, which PySocks connects to, have another, which serves one at a time.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import weakref
from typing import Any

from ....options import Options
from ..errands import Errands
from .readiness import patiently, writable
from .websocket import upgrade

__all__ = ["dial"]

_Addresses = list[tuple[Any, ...]]

_names, _proxies = Errands("cascade-mqtt-names"), Errands("cascade-mqtt-proxies")
_pending: dict[tuple[str, int], asyncio.Future[_Addresses]] = {}
_inherited: list[dict[tuple[str, int], asyncio.Future[_Addresses]]] = []
# All that may be open, for a child of fork.
_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


async def dial(paho: Any, options: Options) -> Any:
    """A socket to the broker: connected, and through the handshakes of TLS and of a websocket."""
    if options.transport == "unix":
        addresses: _Addresses = [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", options.hostname)]
        sock = await _connect_to_any(addresses, options)
    elif paho._get_proxy():
        sock = await _proxies.run(paho._create_socket_connection, socket.socket.close)
        _sockets.add(sock)
    else:
        sock = await _connect_to_any(await _resolve(options.hostname, options.port), options)
    try:
        sock.setblocking(False)
        if paho._ssl_context is not None:
            sock = _wrapped(sock, paho._ssl_context, options.hostname)
            await patiently(sock, sock.do_handshake)
        return await upgrade(sock, options) if options.transport == "websockets" else sock
    except BaseException:
        sock.close()
        raise


async def _connect_to_any(addresses: _Addresses, options: Options) -> socket.socket:
    """Try one address after the other, each for its share of the time."""
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in addresses:
        try:
            async with asyncio.timeout(options.connect_timeout_s / len(addresses)):
                return await _connect(family, kind, protocol, address, options)
        except OSError as error:
            failure = error
    raise failure


async def _connect(family: int, kind: int, protocol: int, address: Any, options: Options) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    _sockets.add(sock)
    try:
        sock.setblocking(False)
        if family != getattr(socket, "AF_UNIX", None) and (options.bind_address or options.bind_port):
            sock.bind((options.bind_address, options.bind_port))
        try:
            sock.connect(address)
        except BlockingIOError:
            await writable(sock)
            if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, os.strerror(code)) from None
    except BaseException:
        sock.close()
        raise
    return sock


def _wrapped(sock: socket.socket, context: ssl.SSLContext, hostname: str) -> ssl.SSLSocket:
    tls = context.wrap_socket(sock, server_hostname=hostname, do_handshake_on_connect=False)
    _sockets.add(tls)
    return tls


async def _resolve(host: str, port: int) -> _Addresses:
    """The addresses of a name, which may take the system as long as it likes: whoever comes meanwhile waits too."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    answer = _pending.get((host, port))
    if answer is None:
        answer = asyncio.ensure_future(
            _names.run(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), lambda _: None)
        )
        answer.add_done_callback(lambda done: _resolved(host, port, done))
        _pending[host, port] = answer
    return await asyncio.shield(answer)


def _resolved(host: str, port: int, done: asyncio.Future[_Addresses]) -> None:
    _pending.pop((host, port), None)
    if not done.cancelled():
        # Retrieved: perhaps nobody waits for it any longer.
        done.exception()


def _after_fork_in_child() -> None:
    """Close the descriptors, without a word to the broker or to the parent's selector; its threads are not here."""
    global _names, _proxies, _pending
    for sock in list(_sockets):
        descriptor = sock.detach()
        if descriptor >= 0:
            socket.close(descriptor)
    _sockets.clear()
    # Kept: tasks of the parent's loop, which nobody will ever run again.
    _inherited.append(_pending)
    _pending = {}
    _names, _proxies = Errands("cascade-mqtt-names"), Errands("cascade-mqtt-proxies")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
