"""What goes out: from the outbox to the link, within the windows, until it is acknowledged."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...options import Options
from . import zstd
from .batch import Batch
from .identifiers import Identifiers
from .lane import Message
from .outbox import Outbox
from .poison import Poison
from .session import Session

if TYPE_CHECKING:
    from .link import Link, Opened

__all__ = ["Sender"]

_UNWRITTEN_BYTES = 64 * 1024
"""What may wait in front of the socket: what is behind it still counts as queued, and can be dropped."""


class Sender:
    """The outbound half of a driver, on the I/O thread.

    Args:
        progressed: called when messages have been written, acknowledged or given up.
        warn: called with a line to log.
    """

    def __init__(
        self,
        options: Options,
        outbox: Outbox,
        session: Session,
        progressed: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self._options, self._outbox, self._session = options, outbox, session
        self._progressed, self._warn = progressed, warn
        self._identifiers = Identifiers(0 if options.clean_session else secrets.randbelow(1 << 16))
        self.new_packet_id = self._identifiers.new_for_control
        self._poison = Poison()
        self._link: Link | None = None
        self._compress = zstd.compressor() if options.batch is not None and options.batch.compression else None
        self._pump_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._window = self._qos_2_window = self._maximum_packet_bytes = self._maximum_qos = 0

    @property
    def is_probing(self) -> bool:
        """Whether messages go out one at a time, to find the one that the broker dies of."""
        return self._poison.probing

    def attach(self, link: Link, opened: Opened, version: str) -> None:
        """Send over this link; first what a session remembers of the handshakes of QoS 2 (MQTT 3.1.1 section 4.4)."""
        self._link = link
        released, uncertain = self._identifiers.connection_made(session_present=opened.session_present)
        for message in uncertain:
            self._outbox.acknowledge(message, uncertain=True)
        for packet_id in released:
            link.release(packet_id)
        self._window = min(self._options.max_inflight_messages, opened.receive_maximum, self._identifiers.most)
        # Receive Maximum counts QoS 1 and 2 alike (MQTT 5.0 section 3.3.4). 3.1.1 has none, and brokers need one.
        self._qos_2_window = self._window if version == "5" else self._options.max_inflight_qos2
        self._maximum_packet_bytes, self._maximum_qos = opened.maximum_packet_bytes, opened.maximum_qos
        self._poison.connected(replay=self._outbox.connection_made(), now=time.monotonic())

    def detach(self, *, by_peer: bool) -> None:
        """The link is gone: what it had not written is queued again, what is unacknowledged comes again."""
        self._identifiers.connection_lost()
        if self._link is not None:
            part_written, self._link = self._link.part_written, None
            for culprit in self._poison.ended(by_peer=by_peer, part_written=part_written, now=time.monotonic()):
                self._drop_poison(culprit)
        self._outbox.connection_lost()

    def forget(self) -> None:
        """A stop is complete: nothing that was sent before is sent again."""
        self._identifiers.give_up_all()

    def pump(self) -> None:
        """Hand queued messages to the link, as long as it is not far behind."""
        self._pump_due, link = False, self._link
        if link is not None and self._poison.probing and not self._probed(link):
            return
        while link is not None and link.unwritten_bytes < _UNWRITTEN_BYTES:
            known = self._identifiers
            taken = self._outbox.take(
                self._window - known.in_use,
                self._qos_2_window - known.in_use_at_qos_2,
                _UNWRITTEN_BYTES,
                time.monotonic(),
            )
            if not taken:
                self._wait_for_batch()
                break
            for message in taken:
                self._send(link, message)

    def written(self, telemetry: int) -> None:
        if telemetry:
            self._outbox.written(telemetry)
        self.pump()
        self._progressed()

    def puback(self, packet_id: int, code: int) -> None:
        if self._identifiers.qos_of(packet_id) == 2:
            self._mismatch("PUBACK of a QoS 2 message (MQTT 3.1.1 section 4.3.3)")
            return
        self._settle(self._identifiers.puback(packet_id), code)

    def pubrec(self, packet_id: int, code: int) -> None:
        """PUBREC is answered by PUBREL, also where nothing is known of it: so the broker can finish."""
        if self._identifiers.qos_of(packet_id) == 1:
            self._mismatch("PUBREC of a QoS 1 message (MQTT 3.1.1 section 4.3.2)")
            return
        message = self._identifiers.pubrec(packet_id, refused=code >= 0x80)
        if code >= 0x80:
            self._settle(message, code)
            return
        if message is not None:
            self._outbox.release(message)
        if self._link is not None:
            self._link.release(packet_id)

    def pubcomp(self, packet_id: int) -> None:
        # Whatever its reason code says, there is nothing left to do (MQTT 5.0 section 3.7.2.1).
        self._settle(self._identifiers.pubcomp(packet_id), 0)

    def _wait_for_batch(self) -> None:
        """Come back when the batch that is open has waited for other events long enough."""
        due = self._outbox.due()
        if due is None or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._waited)

    def _waited(self) -> None:
        self._timer = None
        self.pump()

    def _mismatch(self, what: str) -> None:
        if self._link is not None:
            self._link.object(what)

    def _settle(self, message: Message | None, code: int) -> None:
        """The last acknowledgement of a message came."""
        if message is None:
            return
        # 0x10, no matching subscribers, is a success (MQTT 5.0 sections 3.4.2.1 and 3.5.2.1).
        if code < 0x80:
            self._outbox.acknowledge(message)
        else:
            self._outbox.drop(message, "rejected_by_peer")
        if self._poison.probing:
            self._poison.acknowledged()
        if not self._pump_due:
            # Acknowledgements come many at a time.
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self.pump)
        self._progressed()

    def _probed(self, link: Link) -> bool:
        """Send the next message of a replay alone; True: there is none left, all may go again."""
        while not self._identifiers.in_use and self._session.is_answered:
            message = self._outbox.take_replay()
            if message is None:
                self._poison.replayed()
                return True
            self._poison.alone(message)
            self._send(link, message)
        return False

    def _drop_poison(self, message: Message) -> None:
        size = len(message.payload)
        self._identifiers.give_up(message)
        self._outbox.drop(message, "rejected_by_peer")
        self._warn(
            f"a message of {size} bytes to {message.topic.decode()} was dropped: "
            "the broker ends every connection that it is sent on"
        )

    def _send(self, link: Link, message: Message) -> None:
        if self._compress is not None and isinstance(message, Batch) and not message.compressed:
            message.compressed = True
            # Not under the lock of the queue, where publishers would wait for it.
            frame = self._compress(message.payload)
            if len(frame) < len(message.payload):
                self._outbox.compressed(message, frame)
        # Fixed header, lengths, identifier and properties: no more than 16 bytes.
        size = len(message.topic) + len(message.payload) + 16
        if size > self._maximum_packet_bytes or message.qos > self._maximum_qos:
            # What a broker has announced that it will not take (MQTT 5.0 sections 3.2.2.3.4 and 3.2.2.3.6).
            self._outbox.drop(message, "rejected_by_peer")
        elif not message.qos:
            link.publish(message, 0, dup=False)
        else:
            dup = self._identifiers.give(message)
            link.publish(message, message.packet_id, dup=dup)
