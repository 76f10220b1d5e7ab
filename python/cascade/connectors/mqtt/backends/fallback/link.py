"""One connection, made by aiomqtt and paho: the only file that knows either of them.

aiomqtt turns its options into a paho client; paho dials (TLS, proxy, websockets, unix sockets), and
encodes the packets of MQTT 3.1, 3.1.1 and 5. What this file does in their place, because theirs
retries, blocks, is lenient, or costs a system call a packet: it watches the socket, gathers writes,
reads packets (``incoming``), and keeps no message for a later connection. It relies on these internals
of paho 2.1 and 2.2: ``_sock``, ``_sock_recv``, ``_sock_send``, ``_sock_close``, ``_out_packet``,
``_packet_queue``, ``_mid_generate``, ``_send_publish``, ``_send_simple_command``,
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
from . import properties, reasons
from .incoming import PUBACK, Ack, ConnAck, Disconnect, Incoming, Packet, PingResp, Publish, SubAck, UnsubAck
from .lane import Message
from .malformed import Malformed, TooLarge
from .reasons import ConnectFailure

__all__ = ["Link", "Listener", "Opened"]

_links: weakref.WeakSet[Link] = weakref.WeakSet()

_VERSIONS = {"3.1": 3, "3.1.1": 4, "5": 5}
_PINGREQ, _DISCONNECT = 0xC0, b"\xe0\x00"
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

    def suback(self, packet_id: int, codes: bytes) -> None: ...

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
        self._attached = self._watching = self._flush_due = self._abandoned = False
        self._paused = self._closing = False
        self._incoming = Incoming(
            is_5=is_5,
            max_bytes=options.max_inbound_bytes,
            topic_aliases=getattr(options.properties, "TopicAliasMaximum", 0),
        )
        self.unwritten_bytes = 0
        self.last_sent = self.last_received = 0.0
        _links.add(self)

    def _take_over(self) -> None:
        paho = self._paho
        paho.on_connect = paho.on_disconnect = paho.on_message = None
        paho.on_subscribe = paho.on_unsubscribe = paho.on_publish = None
        paho.on_socket_open = None
        # paho calls that one under a lock that its other callbacks hold; see ``_close_socket``.
        paho.on_socket_close = None
        paho.on_socket_register_write = self._on_register_write
        paho.on_socket_unregister_write = self._on_unregister_write
        self._plain_close, paho._sock_close = paho._sock_close, self._close_socket
        paho._mid_generate = self._listener.new_packet_id

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
        """Handle what has arrived: for one turn, or until there is no more."""
        for _ in range(_PACKETS_A_TURN):
            if self._paused or self._gone.done() or self._closing:
                return
            try:
                packet = self._incoming.next()
            except Malformed as error:
                self._protest(f"{reasons.MALFORMED}: {error}", error.code)
                return
            except TooLarge as error:
                self._protest(reasons.TOO_LARGE, error.code)
                return
            if packet is not None:
                self._handle(packet)
                if type(packet) is ConnAck:
                    # Who waits for it has the next turn: what comes behind is for the connection that it makes.
                    break
            elif not self._fill():
                return
        # Others have their turn; what is left in the buffer or in TLS is not announced again.
        self._loop.call_soon(self._readable)

    def _fill(self) -> bool:
        """Read some bytes; False: there are none, or the connection has ended."""
        try:
            data = self._paho._sock_recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            self._end(reasons.of_error(error).why)
            return False
        if not data:
            self._end(reasons.CLOSED)
            return False
        self.last_received = self._loop.time()
        self._incoming.feed(data)
        return True

    def _handle(self, packet: Packet) -> None:
        listener = self._listener
        match packet:
            case ConnAck() if not self._opened.done():
                self._open_by(packet)
            case _ if not self._opened.done():
                self._end(reasons.unexpected("packet before CONNACK"))
            case Publish() if packet.qos < 2:
                listener.received(*packet)
            case Ack(kind=kind) if kind == PUBACK:
                listener.acknowledged(packet.packet_id, packet.code)
            case SubAck():
                listener.suback(packet.packet_id, packet.codes)
            case UnsubAck():
                listener.unsuback(packet.packet_id)
            case PingResp():
                listener.pingresp()
            case Disconnect():
                self._end(reasons.disconnected(packet.code) if self._protocol == "5" else reasons.TAKEOVER)
            case ConnAck():
                self._end(reasons.unexpected("CONNACK"))
            case _:
                self._end(reasons.unexpected("packet of QoS 2"))

    def _open_by(self, connack: ConnAck) -> None:
        if connack.code:
            self._opened.set_exception(reasons.refused(connack.code))
            self._end(reasons.CLOSED)
            return
        said = connack.properties
        self._opened.set_result(
            Opened(
                session_present=connack.session_present,
                keepalive_s=said.get(properties.SERVER_KEEP_ALIVE, self._options.keepalive_s),
                receive_maximum=said.get(properties.RECEIVE_MAXIMUM, 65_535),
                maximum_packet_bytes=said.get(properties.MAXIMUM_PACKET_SIZE, 268_435_460),
            )
        )

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

    def _protest(self, why: str, code: int) -> None:
        """End the connection for what the broker sent; MQTT 5 tells it the reason (MQTT 5.0 section 4.13)."""
        if self._protocol == "5" and self._opened.done() and not self._paho._out_packet:
            with contextlib.suppress(OSError):
                self._paho._sock_send(bytes((_DISCONNECT[0], 1, code)))
        self._end(why)

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
