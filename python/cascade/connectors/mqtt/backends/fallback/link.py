"""One connection, made by aiomqtt and paho: the only file that knows either of them.

aiomqtt turns its options into a paho client; paho dials (TLS, proxy, websockets, unix sockets),
and encodes and decodes the packets of MQTT 3.1, 3.1.1 and 5. What this file does in their place,
because theirs retries, blocks, or costs a system call a packet: it watches the socket, gathers
writes, bounds and gathers reads, and keeps no message for a later connection. It relies on these
internals of paho 2.1 and 2.2: ``_sock``, ``_sock_recv``, ``_sock_send``, ``_sock_close``,
``_out_packet``, ``_in_packet``, ``_packet_queue``, ``_packet_handle``, ``_mid_generate``, ``_send_publish``,
``_send_simple_command``, ``_handle_connack``, ``_handle_pingresp``, ``_handle_pubackcomp``,
``_call_socket_unregister_write``; and of aiomqtt 2.4 and 2.5: ``_client``.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import ssl
import threading
import weakref
from typing import Any, NamedTuple, Protocol, cast

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ...options import Options, Will
from . import reasons
from .lane import Message
from .reasons import ConnectFailure

__all__ = ["Link", "Listener", "Opened"]

_links: weakref.WeakSet[Link] = weakref.WeakSet()

_VERSIONS = {"3.1": 3, "3.1.1": 4, "5": 5}
_PUBLISH, _PUBREL, _PINGREQ, _DISCONNECT = 0x30, 0x60, 0xC0, b"\xe0\x00"
# PUBREC and PUBCOMP answer QoS 2, which we do not send; PINGREQ is a client's.
_NEVER_SENT_TO_US = (0x50, 0x70, 0xC0)
# CONNACK, PUBACK, UNSUBACK, PINGRESP: bytes after the fixed header in MQTT 3.1.1.
_LENGTHS = {0x20: 2, 0x40: 2, 0xB0: 2, 0xD0: 0}
_CONN_REFUSED = 5
_CHUNK = 64 * 1024
_PACKETS_A_TURN = 256
# Keep what the kernel holds unsent short, so that telemetry does not hide control packets.
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_UNSENT_BYTES = 128 * 1024


class Opened(NamedTuple):
    """What CONNACK said."""

    session_present: bool
    keepalive_s: int
    receive_maximum: int
    maximum_packet_bytes: int


class Listener(Protocol):
    """Who is told what happens on a link; all on the I/O thread."""

    def received(self, topic: str, payload: bytes, qos: int, retain: bool, dup: bool, packet_id: int) -> None: ...

    def new_packet_id(self) -> int: ...

    def acknowledged(self, packet_id: int, code: int) -> None: ...

    def written(self, telemetry: int) -> None:
        """Bytes were taken by the operating system, with them the last byte of so many QoS 0 messages."""

    def suback(self, packet_id: int, code: int) -> None: ...

    def unsuback(self, packet_id: int) -> None: ...

    def pingresp(self) -> None: ...

    def ended(self, why: str) -> None:
        """An open link is closed; not said for ``close``."""


class Link:
    """Used for one connection, on the I/O thread.

    Args:
        identifier: the client identifier.
        protocol: ``"3.1"``, ``"3.1.1"`` or ``"5"``.
        first: no connection was made since the start (for ``clean_start``).
    """

    def __init__(
        self, options: Options, identifier: str, protocol: str, will: Will | None, listener: Listener, *, first: bool
    ) -> None:
        self._options, self._protocol, self._first, self._listener = options, protocol, first, listener
        self._loop = asyncio.get_running_loop()
        is_5 = protocol == "5"
        websocket_path = options.websocket_path
        if websocket_path is None and options.websocket_headers is not None:
            # aiomqtt sets headers together with a path only.
            websocket_path = "/mqtt"
        client = aiomqtt.Client(
            options.hostname,
            options.port,
            username=options.username,
            password=options.password,
            identifier=identifier,
            protocol=aiomqtt.ProtocolVersion(_VERSIONS[protocol]),
            will=None if will is None else aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
            clean_session=None if is_5 else options.clean_session,
            transport=options.transport,
            tls_context=options.tls_context,
            proxy=options.proxy,
            websocket_path=websocket_path,
            websocket_headers=options.websocket_headers,
        )
        self._paho = cast(Any, client._client)
        self._paho.connect_timeout = options.connect_timeout_s
        self._paho.disable_logger()
        self._paho.manual_ack_set(True)
        self._take_over()

        self._dialled: asyncio.Future[None] = self._loop.create_future()
        self._opened: asyncio.Future[Opened] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._flushed: asyncio.Future[None] | None = None
        self._why: str | None = None
        self._attached = self._watching = self._flush_due = self._abandoned = False
        self._paused = self._dry = self._closing = False
        self._chunk, self._chunk_at = b"", 0
        self.unwritten_bytes = 0
        self.last_sent = self.last_received = 0.0
        _links.add(self)

    def _take_over(self) -> None:
        paho = self._paho
        paho.on_connect = self._on_connect
        paho.on_disconnect = self._on_disconnect
        paho.on_message = self._on_message
        paho.on_subscribe = lambda _c, _u, packet_id, codes, _p: self._listener.suback(packet_id, codes[0].value)
        paho.on_unsubscribe = lambda _c, _u, packet_id, _codes, _p: self._listener.unsuback(packet_id)
        paho.on_publish = None
        paho.on_socket_open = None
        # paho calls that one under a lock that its other callbacks hold; see ``_close_socket``.
        paho.on_socket_close = None
        paho.on_socket_register_write = self._on_register_write
        paho.on_socket_unregister_write = self._on_unregister_write
        self._plain_close, paho._sock_close = paho._sock_close, self._close_socket
        self._plain_recv, paho._sock_recv = paho._sock_recv, self._recv
        self._plain_handle, paho._packet_handle = paho._packet_handle, self._handle
        self._plain_connack, paho._handle_connack = paho._handle_connack, self._connack
        paho._mid_generate = self._listener.new_packet_id
        paho._handle_pingresp = self._pingresp
        paho._handle_pubackcomp = self._puback

    # Opening

    async def open(self, timeout_s: float) -> Opened:
        """Dial, and wait for CONNACK.

        Raises:
            ConnectFailure: why it came to nothing.
        """
        try:
            async with asyncio.timeout(timeout_s):
                # A thread of its own: name resolution knows no time-out, and a pool's threads are joined at exit.
                threading.Thread(target=self._dial, name="cascade-mqtt-dial", daemon=True).start()
                await asyncio.shield(self._dialled)
                self._attach()
                return await self._opened
        except TimeoutError:
            self._abandon()
            raise ConnectFailure(reasons.TIMED_OUT) from None
        except BaseException:
            self._abandon()
            raise

    def _dial(self) -> None:
        """On a thread of its own: blocks until connected, TLS and websocket handshakes included."""
        failure: ConnectFailure | None = None
        try:
            self._set_tls()
            options, is_5 = self._options, self._protocol == "5"
            self._paho.connect(
                options.hostname,
                options.port,
                options.keepalive_s,
                options.bind_address,
                options.bind_port,
                self._clean_start() if is_5 else MQTT_CLEAN_START_FIRST_ONLY,
                self._properties() if is_5 else None,
            )
        except ConnectFailure as error:
            failure = error
        except Exception as error:
            failure = reasons.of_error(error)
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end_dial, failure)

    def _set_tls(self) -> None:
        options = self._options
        try:
            if options.tls_params is not None:
                self._paho.tls_set(**dataclasses.asdict(options.tls_params))
            if options.tls_insecure is not None:
                self._paho.tls_insecure_set(options.tls_insecure)
        except (OSError, ValueError, ssl.SSLError) as error:
            raise ConnectFailure(f"wrong TLS options: {error}", permanent=True) from error

    def _clean_start(self) -> Any:
        wanted = self._options.clean_start
        if wanted is None:
            return self._options.clean_session
        # Each connection is the first of its paho client, so that value cannot be left to paho.
        return self._first if wanted == MQTT_CLEAN_START_FIRST_ONLY else wanted

    def _properties(self) -> Any:
        if self._options.properties is None and not self._options.clean_session:
            properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            # Never expires, as a session of 3.1.1 (MQTT 5.0 section 3.1.2.11.2).
            properties.SessionExpiryInterval = 0xFFFF_FFFF
            return properties
        return self._options.properties

    def _end_dial(self, failure: ConnectFailure | None) -> None:
        if self._abandoned:
            # Nothing was written yet, CONNECT included.
            self._paho._sock_close()
        elif failure is not None:
            self._dialled.set_exception(failure)
        else:
            self._dialled.set_result(None)

    def _attach(self) -> None:
        sock = self._socket()
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _NOTSENT_LOWAT is not None:
                sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _UNSENT_BYTES)
        for option in self._options.socket_options or ():
            sock.setsockopt(*option)
        self._attached = True
        self.last_sent = self.last_received = self._loop.time()
        self._watch()
        self._flush()

    def _abandon(self) -> None:
        """Give up opening: without a word, or with DISCONNECT where CONNECT is out, so that no will is published."""
        self._abandoned = True
        if self._attached and not self._gone.done():
            self._send_disconnect()
            self._flush()
            self._end(reasons.CLOSED)

    def _on_connect(self, _client: Any, _userdata: Any, flags: Any, _reason: Any, properties: Any) -> None:
        if self._opened.done():
            self._end("the broker sent an unexpected CONNACK")
            return
        # Attributes of paho's properties exist where the broker sent them (MQTT 5.0 section 3.2.2.3).
        self._opened.set_result(
            Opened(
                session_present=bool(flags.session_present),
                keepalive_s=getattr(properties, "ServerKeepAlive", self._options.keepalive_s),
                receive_maximum=getattr(properties, "ReceiveMaximum", 65_535),
                maximum_packet_bytes=getattr(properties, "MaximumPacketSize", 268_435_460),
            )
        )

    def _connack(self) -> Any:
        packet = self._paho._in_packet["packet"]
        if packet[0] & ~1:
            raise ValueError("reserved flags (MQTT 3.1.1 section 3.2.2.1)")
        if len(packet) >= 2 and packet[1] and not self._opened.done():
            self._opened.set_exception(reasons.refused(packet[1]))
            return _CONN_REFUSED
        return self._plain_connack()

    # Sending

    def publish(self, message: Message, packet_id: int, *, dup: bool) -> None:
        """Queue a PUBLISH; QoS 0 is reported by ``written``."""
        self._paho._send_publish(
            packet_id, message.topic, message.payload, message.qos, message.retain, dup, message, None
        )
        self.unwritten_bytes += message.size

    def acknowledge(self, packet_id: int, qos: int) -> None:
        """Queue the acknowledgement of a message received (MQTT 3.1.1 section 4.3)."""
        self._paho.ack(packet_id, qos)

    def subscribe(self, topic_filter: str, qos: int) -> int:
        return int(self._paho.subscribe(topic_filter, qos)[1] or 0)

    def unsubscribe(self, topic_filter: str) -> int:
        return int(self._paho.unsubscribe(topic_filter)[1] or 0)

    def ping(self) -> None:
        self._paho._send_simple_command(_PINGREQ)

    def _send_disconnect(self) -> None:
        # As a packet that paho has no opinion on: after its own DISCONNECT it closes the socket, and
        # closing with unread input makes a reset that destroys what was sent.
        self._paho._packet_queue(_PINGREQ, bytearray(_DISCONNECT), 0, 0)

    def _on_register_write(self, *_: Any) -> None:
        # While the dial thread runs, CONNECT waits for the attach.
        if self._attached and not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _on_unregister_write(self, _client: Any, _userdata: Any, sock: Any) -> None:
        if self._watching:
            self._loop.remove_writer(sock.fileno())
            self._watching = False

    def _flush(self) -> None:
        """Write what is queued, many packets at a time."""
        self._flush_due = False
        if self._gone.done():
            return
        out = self._paho._out_packet
        telemetry = 0
        try:
            while out:
                sent = self._paho._sock_send(_gather(out))
                if not sent:
                    # A websocket frame that went out in part; it counts when it is whole.
                    raise BlockingIOError
                self.last_sent = self._loop.time()
                telemetry += self._account(out, sent)
            self._paho._call_socket_unregister_write()
        except BlockingIOError:
            if not self._watching:
                self._watching = True
                self._loop.add_writer(self._paho._sock.fileno(), self._flush)
        except OSError as error:
            self._end(reasons.of_error(error).why)
            return
        if not out and self._flushed is not None and not self._flushed.done():
            self._flushed.set_result(None)
        if self._opened.done() and not self._abandoned:
            self._listener.written(telemetry)

    def _account(self, out: Any, sent: int) -> int:
        """Take what was sent off the queue; returns how many QoS 0 messages are out whole."""
        telemetry = 0
        while sent:
            packet = out[0]
            part = min(sent, packet["to_process"])
            packet["pos"] += part
            packet["to_process"] -= part
            sent -= part
            if packet["to_process"] == 0:
                out.popleft()
                message: Message | None = packet["info"]
                if message is not None:
                    self.unwritten_bytes -= message.size
                    telemetry += message.qos == 0
        return telemetry

    # Receiving

    def pause(self) -> None:
        """Read nothing until ``resume``."""
        if not self._paused:
            self._paused = True
            self._unwatch()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._watch()
            # What was read before the pause is not announced by the socket again.
            self._loop.call_soon(self._readable)

    @property
    def is_gone(self) -> bool:
        return self._gone.done()

    @property
    def paused(self) -> bool:
        return self._paused

    def _watch(self) -> None:
        self._loop.add_reader(self._paho._sock.fileno(), self._readable)

    def _unwatch(self) -> None:
        self._loop.remove_reader(self._paho._sock.fileno())

    def _readable(self) -> None:
        self._dry = False
        for _ in range(_PACKETS_A_TURN):
            if self._paused or self._dry or self._gone.done() or self._closing:
                return
            try:
                self._paho.loop_read()
            except Exception:
                # paho 2.1 lets some decoding errors through, and a topic may not be UTF-8.
                self._end(reasons.MALFORMED)
                return
        # Others have their turn; what is left in the chunk or in TLS is not announced again.
        self._loop.call_soon(self._readable)

    def _recv(self, size: int) -> bytes:
        """paho's read, from a buffer, with a bound: paho asks for the whole packet once it knows the length."""
        if size > self._options.max_inbound_bytes:
            self._why = reasons.TOO_LARGE
            raise ConnectionError(self._why)
        if self._chunk_at == len(self._chunk):
            try:
                self._chunk, self._chunk_at = self._plain_recv(max(_CHUNK, min(size, 4 * _CHUNK))), 0
            except BlockingIOError:
                self._dry = True
                raise
            except OSError as error:
                self._why = reasons.of_error(error).why
                raise
            if not self._chunk:
                self._why = reasons.CLOSED
            self.last_received = self._loop.time()
        data = self._chunk[self._chunk_at : self._chunk_at + size]
        self._chunk_at += len(data)
        return data

    def _handle(self) -> Any:
        """Look at a packet before paho does, which is lenient: what is malformed ends the connection."""
        command, length = self._paho._in_packet["command"], self._paho._in_packet["remaining_length"]
        kind, flags = command & 0xF0, command & 0x0F
        if kind == _DISCONNECT[0] and self._protocol != "5":
            # Only MQTT 5 knows it in this direction, but brokers send it at a takeover.
            self._why = reasons.TAKEOVER
        if kind in _NEVER_SENT_TO_US or (kind == _PUBLISH and flags & 0b1110 == 0b1000):
            raise ValueError("an answer to nothing, or DUP at QoS 0 (MQTT 3.1.1 section 3.3.1.1)")
        if kind != _PUBLISH and flags != (2 if kind == _PUBREL else 0):
            raise ValueError("reserved flags (MQTT 3.1.1 section 2.2.2)")
        if kind in _LENGTHS and self._protocol != "5" and length != _LENGTHS[kind]:
            raise ValueError("wrong length")
        return self._plain_handle()

    def _on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        topic = message.topic
        if "+" in topic or "#" in topic or "\0" in topic or (message.qos and not message.mid):
            raise ValueError("a PUBLISH that no client could have sent (MQTT 3.1.1 section 3.3.2)")
        self._listener.received(
            topic, bytes(message.payload), message.qos, bool(message.retain), bool(message.dup), message.mid
        )

    def _puback(self, _command: str) -> int:
        packet = self._paho._in_packet["packet"]
        code = packet[2] if len(packet) > 2 else 0
        self._listener.acknowledged(packet[0] << 8 | packet[1], code)
        return 0

    def _pingresp(self) -> int:
        self._listener.pingresp()
        return 0

    # The end

    async def close(self, *, goodbye: bool, timeout_s: float) -> None:
        """Write what is queued, say DISCONNECT, shut down the write side, and read to the end.

        Args:
            goodbye: send DISCONNECT, so that the will is not published (MQTT 3.1.1 section 3.14).
            timeout_s: bound of the whole, in seconds.
        """
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(timeout_s):
                if goodbye:
                    self._send_disconnect()
                self._flushed = self._loop.create_future()
                if self._paho._out_packet:
                    await asyncio.wait([self._flushed, self._gone], return_when=asyncio.FIRST_COMPLETED)
                if not self._gone.done():
                    self._closing = True
                    self._unwatch()
                    sock = self._socket()
                    sock.shutdown(socket.SHUT_WR)
                    self._loop.add_reader(sock.fileno(), self._discard)
                    await self._gone
        self._closing = True
        self._end(reasons.CLOSED)

    def _discard(self) -> None:
        try:
            while self._socket().recv(_CHUNK):
                pass
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            pass
        self._end(reasons.CLOSED)

    def fail(self, why: str) -> None:
        """End the connection for a reason of ours."""
        self._end(why)

    def leave_to_parent(self) -> None:
        """In a forked child: close the descriptor, without a word to the broker or to the parent's selector."""
        sock = self._paho._sock
        if sock is not None:
            socket.close(self._socket().detach())

    def _on_disconnect(self, _client: Any, _userdata: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._end(f"{reasons.CLOSED}: {str(reason).lower()}" if reason.value else reasons.CLOSED)
        else:
            # paho has closed it: because of a read that failed, or of what was read.
            self._end(self._why or reasons.MALFORMED)

    def _close_socket(self) -> None:
        """paho's way to close, wherever it comes from: the loop forgets the descriptor first."""
        if self._attached and self._paho._sock is not None:
            self._loop.remove_reader(self._paho._sock.fileno())
        self._plain_close()

    def _end(self, why: str) -> None:
        if self._gone.done():
            return
        self._gone.set_result(None)
        was_open = self._opened.done()
        if not was_open and not self._abandoned:
            # Brokers that do not know MQTT 5 close, or answer with a CONNACK that is none in MQTT 5.
            self._opened.set_exception(ConnectFailure(why, version=self._protocol == "5"))
        self._paho._sock_close()
        if was_open and not self._abandoned and not self._closing and self._opened.exception() is None:
            self._listener.ended(why)

    def _socket(self) -> Any:
        sock = self._paho._sock
        # paho's websocket wrapper holds the real one.
        return getattr(sock, "_socket", sock)


def _gather(out: Any) -> bytes:
    """The next bytes to write, about a chunk."""
    parts: list[Any] = []
    size = 0
    for packet in out:
        left = packet["to_process"]
        whole = left <= _CHUNK and not packet["pos"]
        parts.append(packet["packet"] if whole else memoryview(packet["packet"])[packet["pos"] :][: 4 * _CHUNK])
        size += left
        if size >= _CHUNK:
            break
    return b"".join(parts)


def _after_fork_in_child() -> None:
    for link in list(_links):
        link.leave_to_parent()
    _links.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
