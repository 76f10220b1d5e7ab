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
from .outbox import Outbox
from .pulse import Pulse
from .reasons import ConnectFailure
from .receiver import Receiver
from .sender import Sender
from .session import Session

if TYPE_CHECKING:
    from .link import Link, Opened

__all__ = ["Connection", "Driver"]

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


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
        self._session = session = Session(
            options.timeout_s, options.retained_timeout_s, not options.clean_session, events.push, self._warn
        )
        self._receiver = receiver = Receiver(session, inbound, options.max_inbound_bytes)
        self.received, self.pubrel, self.room = receiver.received, receiver.pubrel, receiver.room
        self._sender = sender = Sender(options, outbox, session, self._check_flushed, self._warn)
        self.puback, self.pubrec, self.pubcomp = sender.puback, sender.pubrec, sender.pubcomp
        self.new_packet_id, self.written, self.pump = sender.new_packet_id, sender.written, sender.pump
        self._pulse = Pulse(self._hangs)
        self.beat = self._pulse.beat
        self._asked = "5" if options.protocol == "auto" else options.protocol
        self.connection = Connection(self._asked)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stop: _Stop | None = None
        self._hopeless = False
        self._wake: asyncio.Future[str | None] | None = None
        self._link: Link | None = None
        self._timer: asyncio.TimerHandle | None = None

    # Commands

    def start(self, will: Will | None) -> None:
        """Dial, and dial again, until ``stop``."""
        if self._task is None or self._task.done():
            self._loop = asyncio.get_running_loop()
            self._stop, self._hopeless = None, False
            self._task = self._loop.create_task(self._run(will))

    def stop(self, timeout_s: float, goodbye: bool) -> None:
        """Send what is queued, for which a connection is waited for, and end it; ``stopped`` follows.

        A second call may end it sooner.
        """
        if self._task is None or self._task.done():
            self._events.push("stopped", 0, None)
            return
        assert self._loop is not None
        stop, former = _Stop(time.monotonic() + timeout_s, goodbye), self._stop
        if former is not None and stop.deadline >= former.deadline:
            return
        self._stop = stop
        # A batch that was open is closed by now.
        self.pump()
        if self._wake is not None:
            if former is None and not self._wake.done():
                self._wake.set_result(None)
        elif self._hopeless or self._outbox.is_empty():
            # Soon, not now: a task that is cancelled before its first step never says that it has stopped.
            self._loop.call_soon(self._give_up, self._task)
        self._loop.call_at(stop.deadline, self._give_up, self._task)

    def _give_up(self, task: asyncio.Task[None]) -> None:
        """There is nothing to wait for, or no time."""
        if task is not self._task:
            return
        if self._wake is None:
            task.cancel()
        elif not self._wake.done():
            self._wake.set_result(None)

    def subscribe(self, inbox: Inbox) -> None:
        self._session.add(inbox, time.monotonic())
        self._arm()

    def unsubscribe(self, subscription: int) -> None:
        inbox = self._session.remove(subscription, time.monotonic())
        if inbox is not None:
            self._receiver.forget(inbox)
        self._arm()

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
            self._sender.forget()
            self._events.push("stopped", 0, None)

    async def _keep_connected(self, will: Will | None, identifier: str) -> None:
        options = self._options
        backoff = Backoff(options.reconnect_min_delay_s, options.reconnect_max_delay_s)
        versions: list[str] = ["5", "3.1.1"] if options.protocol == "auto" else [options.protocol]
        connections = 0
        while True:
            await self._pulse.alive()
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
                if self._pulse.late_s is not None:
                    why = reasons.hangs(self._pulse.late_s)
                    link.fail(why)
                    raise ConnectFailure(why)
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
        self.connection = Connection(
            version, True, time.time(), self.connection.reconnects + bool(connections), self.connection.last_error
        )
        self._events.push("connected", int(opened.session_present), version)
        self._receiver.attach(link, session_present=opened.session_present)
        self._sender.attach(link, opened, version)
        self._session.connected(
            link,
            opened.keepalive_s,
            session_present=opened.session_present,
            probing=self._sender.is_probing,
            now=now,
        )
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

    def _let_go(self, *, by_peer: bool = False) -> None:
        """The link is closed: forget what belonged to it alone."""
        self._link = None
        self._sender.detach(by_peer=by_peer)
        self._receiver.detach()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._session.disconnected()
        self.connection = self.connection._replace(protocol=self._asked, connected=False, connected_since=None)

    def _check_flushed(self) -> None:
        if self._stop is not None and self._wake is not None and not self._wake.done() and self._outbox.is_empty():
            self._wake.set_result(None)

    # What the link tells

    def ended(self, why: str, *, by_peer: bool) -> None:
        if why == reasons.TOO_LARGE:
            self._inbound.count_dropped("too_large")
        # Before it says that it is not connected: a snapshot has both.
        self.connection = self.connection._replace(last_error=why)
        self._let_go(by_peer=by_peer)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(why)

    def suback(self, packet_id: int, codes: bytes) -> None:
        if self._session.suback(packet_id, codes, time.monotonic()):
            self._arm()
            self.pump()
        elif self._link is not None:
            self._link.object("SUBACK")

    def unsuback(self, packet_id: int) -> None:
        if not self._session.unsuback(packet_id) and self._link is not None:
            self._link.object("UNSUBACK")

    def pingresp(self) -> None:
        self._session.pingresp(time.monotonic())
        self._arm()
        self.pump()

    # Timers

    def _arm(self) -> None:
        """Set the timer to what is due first; one that rings early does no harm."""
        link = self._link
        if link is None or self._loop is None:
            return
        due = self._session.deadline(link.last_sent, link.last_received, link.paused)
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
        if self._session.tick(link.last_sent, link.last_received, link.paused, now):
            self._arm()
            self.pump()
        else:
            link.fail(reasons.KEEP_ALIVE)

    def _hangs(self, alive_s: float) -> None:
        if self._link is not None:
            self._link.fail(reasons.hangs(alive_s))

    def _warn(self, line: str) -> None:
        self._events.push("log", logging.WARNING, line)
