"""Calls on a non-blocking socket, repeated until they need not wait."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

__all__ = ["patiently", "writable"]

_Result = TypeVar("_Result")


async def patiently(sock: socket.socket, call: Callable[[], _Result], *, sends: bool = False) -> _Result:
    """What ``call()`` returns, once it does; ``sends``: what it waits for is room to send."""
    while True:
        try:
            return call()
        except ssl.SSLWantReadError:
            await _readable(sock)
        except ssl.SSLWantWriteError:
            await writable(sock)
        except BlockingIOError:
            await (writable(sock) if sends else _readable(sock))


async def writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock.fileno(), _settle, ready)
    try:
        await ready
    finally:
        loop.remove_writer(sock.fileno())


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock.fileno(), _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
