"""What leaves a connection: packets as paho encodes them, written many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..lane import Message

__all__ = ["Sending"]

_PUBACK, _PUBREC, _PUBREL, _PUBCOMP, _PINGREQ = 0x40, 0x50, 0x62, 0x70, 0xC0
_DISCONNECT = 0xE0
_CHUNK = 64 * 1024


class Sending:
    """The outbound half of a link; its socket is the one of ``paho``.

    Args:
        paho: the client that encodes packets and queues them.
        new_packet_id: called for the identifier of a SUBSCRIBE or UNSUBSCRIBE.
        wrote: called when the operating system has taken bytes, with the number of QoS 0 messages that are out whole.
        failed: called with the error that ended the connection.
    """

    def __init__(
        self,
        paho: Any,
        new_packet_id: Callable[[], int],
        wrote: Callable[[int], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self._paho, self._wrote, self._failed = paho, wrote, failed
        self._loop = asyncio.get_running_loop()
        self._watching = self._flush_due = self._ended = False
        self._flushed: asyncio.Future[None] | None = None
        self.unwritten_bytes = 0
        self.last_sent = 0.0
        paho._mid_generate = new_packet_id
        paho.on_socket_register_write = self._on_register_write
        paho.on_socket_unregister_write = self._on_unregister_write

    @property
    def part_written(self) -> Message | None:
        """The QoS 0 message whose first bytes are out, and not its last."""
        head = self._paho._out_packet[0] if self._paho._out_packet else None
        message: Message | None = head["info"] if head is not None and head["pos"] else None
        return message if message is not None and not message.qos else None

    def publish(self, message: Message, packet_id: int, *, dup: bool) -> None:
        """Queue a PUBLISH; QoS 0 is reported by ``wrote``."""
        paho = self._paho
        said = None
        if message.content_type is not None:
            said = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            said.ContentType = message.content_type
        paho._send_publish(packet_id, message.topic, message.payload, message.qos, message.retain, dup, message, said)
        self.unwritten_bytes += len(paho._out_packet[-1]["packet"])

    def acknowledge(self, packet_id: int, qos: int) -> None:
        """Queue PUBACK or PUBREC (MQTT 3.1.1 section 4.3)."""
        self._paho._send_command_with_mid(_PUBACK if qos == 1 else _PUBREC, packet_id, False)

    def release(self, packet_id: int) -> None:
        """Queue PUBREL (MQTT 3.1.1 section 3.6)."""
        self._paho._send_command_with_mid(_PUBREL, packet_id, False)

    def complete(self, packet_id: int) -> None:
        """Queue PUBCOMP (MQTT 3.1.1 section 3.7)."""
        self._paho._send_command_with_mid(_PUBCOMP, packet_id, False)

    def subscribe(self, topic_filter: str, qos: int) -> int:
        return int(self._paho.subscribe(topic_filter, qos)[1] or 0)

    def unsubscribe(self, topic_filter: str) -> int:
        return int(self._paho.unsubscribe(topic_filter)[1] or 0)

    def ping(self) -> None:
        self._paho._send_simple_command(_PINGREQ)

    def disconnect(self) -> None:
        """Queue DISCONNECT."""
        # As a packet that paho has no opinion on: after its own DISCONNECT it closes the socket, and
        # closing with unread input makes a reset that destroys what was sent.
        self._paho._packet_queue(_PINGREQ, bytearray((_DISCONNECT, 0)), 0, 0)

    def protest(self, code: int) -> None:
        """Send DISCONNECT with a reason code now, if nothing waits in front of it (MQTT 5.0 section 4.13)."""
        if not self._paho._out_packet:
            self._paho._sock_send(bytes((_DISCONNECT, 1, code)))

    async def flush(self) -> None:
        """Wait until all that is queued is written, or the connection has ended."""
        if self._paho._out_packet and not self._ended:
            self._flushed = self._loop.create_future()
            await self._flushed

    def write(self) -> None:
        """Write what is queued, many packets at a time."""
        self._flush_due = False
        if self._ended:
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
                self._loop.add_writer(self._paho._sock.fileno(), self.write)
        except OSError as error:
            self._failed(error)
            return
        if not out:
            self._settle()
        self._wrote(telemetry)

    def end(self) -> None:
        """The connection is over."""
        self._ended = True
        self._settle()

    def _settle(self) -> None:
        if self._flushed is not None and not self._flushed.done():
            self._flushed.set_result(None)

    def _on_register_write(self, *_: Any) -> None:
        if not self._flush_due and not self._ended:
            self._flush_due = True
            self._loop.call_soon(self.write)

    def _on_unregister_write(self, _client: Any, _userdata: Any, sock: Any) -> None:
        if self._watching:
            self._loop.remove_writer(sock.fileno())
            self._watching = False

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
                    self.unwritten_bytes -= len(packet["packet"])
                    telemetry += message.qos == 0
        return telemetry


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
