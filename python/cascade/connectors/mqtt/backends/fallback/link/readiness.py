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
    await _announced(sock, loop.add_writer, loop.remove_writer)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await _announced(sock, loop.add_reader, loop.remove_reader)


async def _announced(sock: socket.socket, add: Callable[..., object], remove: Callable[[int], object]) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(sock.fileno(), _settle, ready)
    try:
        await ready
    finally:
        remove(sock.fileno())


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
