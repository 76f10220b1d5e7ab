"""What owns a connector's connection: dial, send, receive, timers, reconnect, stop. On the I/O thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

from ...options import Options, Will
from . import reasons
from .backoff import Backoff
from .events import Events
from .inbox import Inbound, Inbox
from .lane import Message
from .outbox import Outbox
from .reasons import ConnectFailure
from .receiver import Receiver
from .session import Session

if TYPE_CHECKING:
    from .link import Link, Opened

__all__ = ["Connection", "Driver"]

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_UNWRITTEN_BYTES = 64 * 1024
"""What may wait in front of the socket: what is behind it still counts as queued, and can be dropped."""
_PACKET_IDS = 60_000


class Connection(NamedTuple):
    """The connection's part of the statistics; replaced as a whole, read by any thread."""

    protocol: str
    connected: bool = False
    connected_since: float | None = None
    reconnects: int = 0
    last_error: str | None = None


class _Stop(NamedTuple):
    deadline: float
    goodbye: bool


class Driver:
    """One connector's connection, again and again. Every method is called on the I/O thread."""

    def __init__(self, options: Options, outbox: Outbox, events: Events, inbound: Inbound) -> None:
        self._options, self._outbox, self._events, self._inbound = options, outbox, events, inbound
        self._session = Session(options.timeout_s, options.retained_timeout_s, events.push, self._warn)
        self._receiver = Receiver(self._session, inbound)
        self.received = self._receiver.received
        self.room = self._receiver.room
        self._asked = "5" if options.protocol == "auto" else options.protocol
        self.connection = Connection(self._asked)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stop: _Stop | None = None
        self._hopeless = False
        self._wake: asyncio.Future[str | None] | None = None
        self._link: Link | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._window = 0
        self._maximum_packet_bytes = 0
        self._last_packet_id = 0
        self._sent: dict[int, Message] = {}
        # Sent on a former connection, under an identifier that the broker's session may remember.
        self._unresent: dict[int, Message] = {}

    # Commands

    def start(self, will: Will | None) -> None:
        """Dial, and dial again, until ``stop``."""
        if self._task is None or self._task.done():
            self._loop = asyncio.get_running_loop()
            self._stop, self._hopeless = None, False
            self._task = self._loop.create_task(self._run(will))

    def stop(self, timeout_s: float, goodbye: bool) -> None:
        """Send what is queued, for which a connection is waited for, and end it; ``stopped`` follows."""
        if self._task is None or self._task.done():
            self._events.push("stopped", 0, None)
            return
        if self._stop is not None:
            return
        assert self._loop is not None
        self._stop = _Stop(time.monotonic() + timeout_s, goodbye)
        if self._wake is not None:
            if not self._wake.done():
                self._wake.set_result(None)
        elif self._hopeless or self._outbox.is_empty():
            self._task.cancel()
        self._loop.call_at(self._stop.deadline, self._give_up, self._task)

    def _give_up(self, task: asyncio.Task[None]) -> None:
        """The time of a stop is over, and there is no connection that could be closed."""
        if self._wake is None:
            task.cancel()

    def subscribe(self, inbox: Inbox) -> None:
        self._session.add(inbox, time.monotonic())
        self._arm()

    def unsubscribe(self, subscription: int) -> None:
        inbox = self._session.remove(subscription, time.monotonic())
        if inbox is not None:
            self._receiver.forget(inbox)
        self._arm()

    def pump(self) -> None:
        """Hand queued messages to the link, as long as it is not far behind."""
        link = self._link
        while link is not None and link.unwritten_bytes < _UNWRITTEN_BYTES:
            batch = self._outbox.take(self._window - len(self._sent), _UNWRITTEN_BYTES)
            if not batch:
                break
            for message in batch:
                self._send(link, message)

    # The connection's life

    async def _run(self, will: Will | None) -> None:
        identifier = self._options.identifier or "c-" + "".join(secrets.choice(_BASE32) for _ in range(20))
        try:
            await self._keep_connected(will, identifier)
        except asyncio.CancelledError:
            if self._stop is None:
                raise
        except Exception as error:
            self._events.push("log", logging.ERROR, f"given up, by a mistake in this package: {error!r}")
            raise
        finally:
            self._outbox.close()
            self._outbox.discard("closed")
            self._unresent.clear()
            self._events.push("stopped", 0, None)

    async def _keep_connected(self, will: Will | None, identifier: str) -> None:
        options = self._options
        backoff = Backoff(options.reconnect_min_delay_s, options.reconnect_max_delay_s)
        versions: list[str] = ["5", "3.1.1"] if options.protocol == "auto" else [options.protocol]
        connections = 0
        while True:
            try:
                link, opened, version = await self._connect(will, identifier, versions, first=not connections)
            except ConnectFailure as failure:
                self._hopeless = failure.permanent
                self.connection = self.connection._replace(last_error=failure.why)
                self._events.push("failed", int(failure.permanent), failure.why)
                delay = options.reconnect_max_delay_s if failure.permanent else backoff.next()
            else:
                self._hopeless = False
                versions = [version]
                began = time.monotonic()
                if await self._serve(link, opened, version, connections):
                    return
                connections += 1
                if backoff.ended(time.monotonic() - began):
                    self._warn("the broker closes every connection soon after accepting it; trying less often")
                delay = backoff.next()
            if self._stop is not None and (self._hopeless or self._outbox.is_empty()):
                return
            await asyncio.sleep(delay)

    async def _connect(
        self, will: Will | None, identifier: str, versions: list[str], *, first: bool
    ) -> tuple[Link, Opened, str]:
        for version in versions:
            try:
                from .link import Link

                link = Link(self._options, identifier, version, will, self, first=first)
                opened = await link.open(self._options.connect_timeout_s)
                if link.is_gone:
                    raise ConnectFailure(reasons.CLOSED)
                return link, opened, version
            except ConnectFailure as failure:
                if not failure.version or version == versions[-1]:
                    raise
            except Exception as error:
                raise reasons.of_error(error) from error
        raise AssertionError("there is always a version")

    async def _serve(self, link: Link, opened: Opened, version: str, connections: int) -> bool:
        """From CONNACK to the end of the connection; True: that was what ``stop`` asked for."""
        assert self._loop is not None
        now = time.monotonic()
        self._wake = self._loop.create_future()
        self._link = link
        if not opened.session_present:
            self._unresent.clear()
        self._window = min(self._options.max_inflight_messages, opened.receive_maximum, _PACKET_IDS)
        self._maximum_packet_bytes = opened.maximum_packet_bytes
        self.connection = Connection(
            version, True, time.time(), self.connection.reconnects + bool(connections), self.connection.last_error
        )
        self._events.push("connected", int(opened.session_present), version)
        self._receiver.attach(link)
        self._session.connected(link, opened.keepalive_s, now)
        self._arm()
        self.pump()
        try:
            why = await self._wake if self._stop is None else None
            if why is None:
                why = await self._leave(link)
        finally:
            self._wake = None
        if why is None:
            return True
        self.connection = self.connection._replace(last_error=why)
        self._events.push("disconnected", 0, why)
        return False

    async def _leave(self, link: Link) -> str | None:
        """``stop`` was called: flush, and close; returns why the link ended by itself, if it did."""
        assert self._loop is not None
        assert self._stop is not None
        if self._link is None:
            return reasons.CLOSED
        self._wake = self._loop.create_future()
        self._check_flushed()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._stop.deadline):
                why = await self._wake
                if why is not None:
                    return why
        await link.close(goodbye=self._stop.goodbye, timeout_s=max(0.0, self._stop.deadline - time.monotonic()))
        self._let_go()
        return None

    def _let_go(self) -> None:
        """The link is closed: forget what belonged to it alone."""
        self._link = None
        self._unresent.update(self._sent)
        self._sent.clear()
        self._receiver.detach()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._outbox.connection_lost()
        self._session.disconnected()
        self.connection = self.connection._replace(protocol=self._asked, connected=False, connected_since=None)

    def _check_flushed(self) -> None:
        if self._stop is not None and self._wake is not None and not self._wake.done() and self._outbox.is_empty():
            self._wake.set_result(None)

    # What the link tells

    def ended(self, why: str) -> None:
        if why == reasons.TOO_LARGE:
            self._inbound.count_dropped("too_large")
        self._let_go()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(why)

    def new_packet_id(self) -> int:
        """An identifier that nothing in flight has."""
        while True:
            self._last_packet_id = self._last_packet_id % 65_535 + 1
            if self._last_packet_id not in self._sent and self._last_packet_id not in self._unresent:
                return self._last_packet_id

    def written(self, telemetry: int) -> None:
        if telemetry:
            self._outbox.written(telemetry)
        self.pump()
        self._check_flushed()

    def acknowledged(self, packet_id: int, code: int) -> None:
        message = self._sent.pop(packet_id, None)
        if message is None:
            return
        # 0x10, no matching subscribers, is a success (MQTT 5.0 section 3.4.2.1).
        if code < 0x80:
            self._outbox.acknowledge(message)
        else:
            self._outbox.drop(message, "rejected_by_peer")
        self.pump()
        self._check_flushed()

    def suback(self, packet_id: int, codes: bytes) -> None:
        if self._session.suback(packet_id, codes, time.monotonic()):
            self._arm()
        elif self._link is not None:
            self._link.fail(reasons.unexpected("SUBACK"))

    def unsuback(self, packet_id: int) -> None:
        if not self._session.unsuback(packet_id) and self._link is not None:
            self._link.fail(reasons.unexpected("UNSUBACK"))

    def pingresp(self) -> None:
        self._session.pingresp(time.monotonic())
        self._arm()

    # Sending

    def _send(self, link: Link, message: Message) -> None:
        # Fixed header, lengths, identifier and properties: no more than 16 bytes.
        if len(message.topic) + len(message.payload) + 16 > self._maximum_packet_bytes:
            self._outbox.drop(message, "rejected_by_peer")
            return
        if not message.qos:
            link.publish(message, 0, dup=False)
            return
        # In a session that the broker has kept: the same identifier, and DUP (MQTT 3.1.1 section 4.4).
        dup = self._unresent.pop(message.packet_id, None) is message
        if not dup:
            message.packet_id = self.new_packet_id()
        self._sent[message.packet_id] = message
        link.publish(message, message.packet_id, dup=dup)

    # Timers

    def _arm(self) -> None:
        """Set the timer to what is due first; one that rings early does no harm."""
        link = self._link
        if link is None or self._loop is None:
            return
        due = self._session.deadline(min(link.last_sent, link.last_received), link.paused)
        if due is None:
            return
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        link = self._link
        if link is None:
            return
        now = time.monotonic()
        if self._session.tick(min(link.last_sent, link.last_received), link.paused, now):
            self._arm()
        else:
            link.fail(reasons.KEEP_ALIVE)

    def _warn(self, line: str) -> None:
        self._events.push("log", logging.WARNING, line)
