"""One connection from its dial to its end: what comes in is read here, what goes out is ``sending``'s."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any, NamedTuple, Protocol

from ....options import Options, Will
from .. import properties, reasons
from ..incoming import (
    CONNACK,
    PUBACK,
    PUBREC,
    PUBREL,
    Ack,
    ConnAck,
    Disconnect,
    Incoming,
    Packet,
    PingResp,
    Publish,
    SubAck,
    UnsubAck,
)
from ..lane import Message
from ..malformed import Malformed, TooLarge
from ..reasons import ConnectFailure
from . import tcp
from .client import clean_start, make_client
from .dialling import dial
from .sending import Sending

__all__ = ["Link", "Listener", "Opened"]

_CHUNK = 64 * 1024
_PACKETS_A_TURN = 256
_PROTOCOL_ERROR = 0x82


class Opened(NamedTuple):
    """What CONNACK said."""

    session_present: bool
    keepalive_s: int
    receive_maximum: int
    maximum_packet_bytes: int
    maximum_qos: int


class Listener(Protocol):
    """Who is told what happens on a link; all on the I/O thread."""

    def received(self, message: Publish) -> None: ...

    def new_packet_id(self) -> int:
        """For a SUBSCRIBE or UNSUBSCRIBE."""

    def puback(self, packet_id: int, code: int) -> None: ...

    def pubrec(self, packet_id: int, code: int) -> None: ...

    def pubrel(self, packet_id: int) -> None: ...

    def pubcomp(self, packet_id: int) -> None: ...

    def written(self, telemetry: int) -> None:
        """Bytes were taken by the operating system, with them the last byte of so many QoS 0 messages."""

    def suback(self, packet_id: int, codes: bytes) -> None: ...

    def unsuback(self, packet_id: int) -> None: ...

    def pingresp(self) -> None: ...

    def ended(self, why: str, *, by_peer: bool) -> None:
        """An open link is closed, by the broker or by us; not said for ``close``."""


class Link:
    """Used for one connection, on the I/O thread.

    Args:
        identifier: the client identifier.
        protocol: ``"3.1"``, ``"3.1.1"`` or ``"5"``.
        first: no connection was made since the start (for ``clean_start``).

    Raises:
        ConnectFailure: options that cannot be used.
    """

    def __init__(
        self, options: Options, identifier: str, protocol: str, will: Will | None, listener: Listener, *, first: bool
    ) -> None:
        self._options, self._protocol, self._listener = options, protocol, listener
        self._loop = asyncio.get_running_loop()
        self._paho = paho = make_client(options, identifier, protocol, will, first=first)
        self._plain_close, paho._sock_close = paho._sock_close, self._close_socket
        self._sending = sending = Sending(paho, listener.new_packet_id, self._wrote, self._failed)
        self.publish, self.acknowledge = sending.publish, sending.acknowledge
        self.release, self.complete = sending.release, sending.complete
        self.subscribe, self.unsubscribe, self.ping = sending.subscribe, sending.unsubscribe, sending.ping
        self._incoming = Incoming(
            is_5=protocol == "5",
            max_bytes=options.max_inbound_bytes,
            topic_aliases=getattr(options.properties, "TopicAliasMaximum", 0),
            authenticates=hasattr(options.properties, "AuthenticationMethod"),
        )
        self._starts_clean = protocol == "5" and bool(clean_start(options, first))
        self._opened: asyncio.Future[Opened] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._abandoned = self._paused = self._closing = False
        self.last_received = 0.0

    @property
    def is_gone(self) -> bool:
        return self._gone.done()

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def unwritten_bytes(self) -> int:
        """What waits in front of the socket."""
        return self._sending.unwritten_bytes

    @property
    def part_written(self) -> Message | None:
        """The QoS 0 message whose first bytes are out, and not its last."""
        return self._sending.part_written

    @property
    def last_sent(self) -> float:
        return self._sending.last_sent

    # Opening

    async def open(self, timeout_s: float) -> Opened:
        """Dial, and wait for CONNACK.

        Raises:
            ConnectFailure: why it came to nothing.
            OSError, ValueError: the same, in the words of the operating system or of a library.
        """
        try:
            async with asyncio.timeout(timeout_s):
                self._attach(await dial(self._paho, self._options))
                return await self._opened
        except TimeoutError:
            self._abandon()
            raise ConnectFailure(reasons.TIMED_OUT) from None
        except BaseException:
            self._abandon()
            raise

    def _attach(self, sock: Any) -> None:
        """Use this socket; CONNECT goes out."""
        self._paho._create_socket = lambda: sock
        self._paho.reconnect()
        sock = self._socket()
        tcp.tune(sock)
        for option in self._options.socket_options or ():
            sock.setsockopt(*option)
        self._sending.last_sent = self.last_received = self._loop.time()
        self._watch()

    def _abandon(self) -> None:
        """Give up opening: without a word, or with DISCONNECT where CONNECT is out, so that no will is published."""
        self._abandoned = True
        if self._paho._sock is not None and not self._gone.done():
            self._sending.disconnect()
            self._sending.write()
            self._end(reasons.CLOSED)

    def _open_by(self, connack: ConnAck) -> None:
        if connack.code:
            self._opened.set_exception(reasons.refused(connack.code))
            self._end(reasons.CLOSED)
            return
        if connack.session_present and self._starts_clean:
            self._end(reasons.unexpected("session after a clean start (MQTT 5.0 section 3.2.2.1.1)"))
            return
        said = connack.properties
        self._opened.set_result(
            Opened(
                session_present=connack.session_present,
                keepalive_s=said.get(properties.SERVER_KEEP_ALIVE, self._options.keepalive_s),
                receive_maximum=said.get(properties.RECEIVE_MAXIMUM, 65_535),
                maximum_packet_bytes=said.get(properties.MAXIMUM_PACKET_SIZE, 268_435_460),
                maximum_qos=said.get(properties.MAXIMUM_QOS, 2),
            )
        )

    # Receiving

    def pause(self) -> None:
        """Read nothing until ``resume``."""
        if not self._paused and not self._closing:
            self._paused = True
            self._unwatch()

    def resume(self) -> None:
        if self._paused and not self._closing:
            self._paused = False
            self._watch()
            # What was read before the pause is not announced by the socket again.
            self._loop.call_soon(self._readable)

    def quick_ack(self) -> None:
        """What has been read is acknowledged at once; the broker may wait for that."""
        tcp.acknowledge_now(self._socket())

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
                if packet is None and self._begins_well() and not self._fill():
                    return
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
        # Others have their turn; what is left in the buffer or in TLS is not announced again.
        self._loop.call_soon(self._readable)

    def _begins_well(self) -> bool:
        """Of whatever else than CONNACK begins there the end may never come."""
        if self._opened.done() or self._incoming.first in (None, CONNACK):
            return True
        self._end(reasons.unexpected("packet before CONNACK"))
        return False

    def _fill(self) -> bool:
        """Read some bytes; False: there are none, or the connection has ended."""
        try:
            data = self._paho._sock_recv(_CHUNK)
        except BlockingIOError:
            return False
        except InterruptedError:
            return True
        except OSError as error:
            self._failed(error)
            return False
        if not data:
            self._end(reasons.CLOSED, by_peer=True)
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
            case Publish():
                listener.received(packet)
            case Ack():
                self._acknowledged(packet)
            case SubAck():
                listener.suback(packet.packet_id, packet.codes)
            case UnsubAck():
                listener.unsuback(packet.packet_id)
            case PingResp():
                listener.pingresp()
            case Disconnect():
                why = reasons.disconnected(packet.code) if self._protocol == "5" else reasons.TAKEOVER
                self._end(why, by_peer=True)
            case ConnAck():
                self.object("CONNACK")

    def _acknowledged(self, ack: Ack) -> None:
        listener = self._listener
        if ack.kind == PUBACK:
            listener.puback(ack.packet_id, ack.code)
        elif ack.kind == PUBREC:
            listener.pubrec(ack.packet_id, ack.code)
        elif ack.kind == PUBREL:
            listener.pubrel(ack.packet_id)
        else:
            listener.pubcomp(ack.packet_id)

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
                    self._sending.disconnect()
                await self._sending.flush()
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

    def object(self, what: str) -> None:
        """End the connection for a packet that is well formed, and that the broker must not send now."""
        self._protest(reasons.unexpected(what), _PROTOCOL_ERROR)

    def _wrote(self, telemetry: int) -> None:
        if self._opened.done() and not self._abandoned:
            self._listener.written(telemetry)

    def _failed(self, error: OSError) -> None:
        # A reset, a broken pipe, or TLS that ends without a word are the broker's doing; the others are the network's.
        by_peer = isinstance(error, (ConnectionError, ssl.SSLEOFError))
        self._end(reasons.of_error(error).why, by_peer=by_peer)

    def _protest(self, why: str, code: int) -> None:
        """End the connection for what the broker sent; MQTT 5 tells it the reason (MQTT 5.0 section 4.13)."""
        if self._protocol == "5" and self._opened.done():
            with contextlib.suppress(OSError):
                self._sending.protest(code)
        self._end(why)

    def _close_socket(self) -> None:
        """paho's way to close, wherever it comes from: the loop forgets the descriptor first."""
        if self._paho._sock is not None:
            self._loop.remove_reader(self._paho._sock.fileno())
        self._plain_close()

    def _end(self, why: str, *, by_peer: bool = False) -> None:
        if self._gone.done():
            return
        self._gone.set_result(None)
        self._sending.end()
        was_open = self._opened.done()
        if not was_open and not self._abandoned:
            # Brokers that do not know MQTT 5 close, or answer with a CONNACK that is none in MQTT 5.
            self._opened.set_exception(ConnectFailure(why, version=self._protocol == "5"))
        self._paho._sock_close()
        if was_open and not self._abandoned and not self._closing and self._opened.exception() is None:
            self._listener.ended(why, by_peer=by_peer)

    def _socket(self) -> Any:
        sock = self._paho._sock
        # ``Frames`` hold the real one.
        return getattr(sock, "_socket", sock)
