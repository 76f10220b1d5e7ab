"""What comes in, on its way to the inboxes: acknowledged in order, and held up while an inbox is full."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from ...batching import SUFFIX
from ...encoding import Undecodable
from . import reasons
from .inbox import Inbound, Inbox
from .incoming import Publish
from .session import Session
from .unpacking import explain, unpack

if TYPE_CHECKING:
    from .link import Link

__all__ = ["Receiver"]

_LOOK_AGAIN_S = 0.05


class _Ack:
    """A received message whose acknowledgement waits: for room in so many inboxes, and for those before it."""

    __slots__ = ("missing", "packet_id", "qos")

    def __init__(self, packet_id: int, qos: int, missing: int) -> None:
        self.packet_id, self.qos, self.missing = packet_id, qos, missing


class Receiver:
    """The inbound half of a driver, on the I/O thread.

    An inbox that is full pauses reading as long as its consumer makes progress: that is the
    backpressure of a fast source. Where it makes none, reading goes on, since the acknowledgements
    of our own messages come the same way: QoS 0 for it is dropped, QoS 1 and 2 are kept and not acknowledged.
    """

    def __init__(self, session: Session, inbound: Inbound, max_batch_bytes: int) -> None:
        self._session, self._inbound, self._max_batch_bytes = session, inbound, max_batch_bytes
        self._link: Link | None = None
        self._acks: deque[_Ack] = deque()
        self._withheld: dict[Inbox, list[_Ack]] = {}
        self._full: set[Inbox] = set()
        # QoS 2 between hand-over and PUBREL: the identifiers alone (MQTT 3.1.1 section 4.3.3, method B).
        self._handed_over: set[int] = set()

    def attach(self, link: Link, *, session_present: bool) -> None:
        """Acknowledge over this link; without its session the broker begins anew, and so do its identifiers."""
        self._link = link
        if not session_present:
            self._handed_over = set()

    def detach(self) -> None:
        """The link is gone: acknowledgements never go out on a later one."""
        self._link = None
        self._acks.clear()
        self._withheld.clear()
        self._full.clear()

    def received(self, message: Publish) -> None:
        """Hand a message to each subscription that it matches, once; at QoS 2 once however often it is sent."""
        topic, payload, qos, retain, dup, packet_id, content_type = message
        if qos == 2 and packet_id in self._handed_over:
            self._acknowledge(packet_id, qos, [])
            return
        now = time.monotonic()
        flags = qos | retain << 2 | dup << 3
        held: list[Inbox] = []
        unpacked: list[bytes] | str | None = None
        for inbox in self._session.route(topic, payload, retain, now):
            name, messages = topic, [payload]
            if inbox.unpacks(topic):
                if unpacked is None:
                    unpacked = self._unpack(payload, content_type)
                if isinstance(unpacked, str):
                    inbox.skip(f"a batch on {topic} was dropped: it {explain(unpacked)}", unpacked)
                    continue
                name, messages = topic.removesuffix(SUFFIX), unpacked
            if inbox.is_full(name, messages):
                self._full.add(inbox)
                if inbox.is_stuck(now):
                    if qos and not inbox.is_overfull():
                        held.append(inbox)
                    else:
                        self._inbound.count_dropped("inbox_full", len(messages))
                        if not qos:
                            continue
                        if self._link is not None:
                            self._link.fail(reasons.STUCK)
                        return
            inbox.give(name, messages, flags, now)
        if qos == 2:
            self._handed_over.add(packet_id)
        if qos:
            self._acknowledge(packet_id, qos, held)
        if self._full:
            self._look_at_pause()

    def pubrel(self, packet_id: int) -> None:
        """The broker will not send that one again; one that is not known was answered before, so it is answered too."""
        self._handed_over.discard(packet_id)
        if self._link is not None:
            self._link.complete(packet_id)

    def room(self) -> None:
        """A consumer has made room in an inbox that was full."""
        for inbox in [inbox for inbox in self._withheld if inbox.has_room()]:
            self._release(inbox)
        self._look_at_pause()

    def forget(self, inbox: Inbox) -> None:
        """A subscription has ended: nobody waits for it any longer."""
        self._full.discard(inbox)
        self._release(inbox)
        self._look_at_pause()

    def _unpack(self, payload: bytes, content_type: str | None) -> list[bytes] | str:
        """The messages of a batch, or why it is refused."""
        if self._link is not None:
            self._link.quick_ack()
        try:
            return unpack(payload, content_type, self._max_batch_bytes)
        except Undecodable as error:
            return error.reason

    def _acknowledge(self, packet_id: int, qos: int, held: list[Inbox]) -> None:
        """Acknowledge at hand-over, in the order of arrival (MQTT 3.1.1 section 4.6); ``held``: not yet."""
        ack = _Ack(packet_id, qos, len(held))
        self._acks.append(ack)
        for inbox in held:
            self._withheld.setdefault(inbox, []).append(ack)
        self._send_acks()

    def _release(self, inbox: Inbox) -> None:
        for ack in self._withheld.pop(inbox, ()):
            ack.missing -= 1
        self._send_acks()

    def _send_acks(self) -> None:
        while self._link is not None and self._acks and not self._acks[0].missing:
            ack = self._acks.popleft()
            self._link.acknowledge(ack.packet_id, ack.qos)

    def _look_at_pause(self) -> None:
        """Read on unless an inbox is full whose consumer makes progress."""
        link, now = self._link, time.monotonic()
        if link is None:
            return
        self._full = {inbox for inbox in self._full if not inbox.has_room()}
        if any(not inbox.is_stuck(now) for inbox in self._full):
            if not link.paused:
                link.pause()
                self._look_again(link)
        elif link.paused:
            link.resume()
            self._session.reading_resumed(now)

    def _look_again(self, link: Link) -> None:
        asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._still_paused, link)

    def _still_paused(self, link: Link) -> None:
        if link is self._link and link.paused:
            self._look_at_pause()
            if link.paused:
                self._look_again(link)
