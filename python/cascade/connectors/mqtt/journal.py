"""Says each change of the connection's state once: a line in the log, and a call of ``on_state_change``."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import deque
from typing import Literal

from .options import Options

__all__ = ["Journal", "State"]

_EPISODE_S = 10.0
_CAUSES = 16

State = Literal["connecting", "connected", "disconnected", "closing", "closed"]


class Journal:
    """The log and the program's callback, told in the order in which things happened."""

    def __init__(self, options: Options, logger: logging.Logger, backend: str) -> None:
        self._options = options
        self._logger = logger
        self._backend = backend
        self._place = options.hostname if options.transport == "unix" else f"{options.hostname}:{options.port}"
        self._untold: deque[State] = deque()
        self._trouble = False
        self._hopeless = False
        self._lost_at: float | None = None
        self._connected_at = 0.0
        # How often each cause has ended a connection, in a row of those that soon ended.
        self._causes: dict[str, int] = {}
        self._loss_is_told = True
        self._full_at: float | None = None
        self._full_is_told = False
        self._untold_drops = 0
        self._warned_of_plain_text = False

    @property
    def place(self) -> str:
        """Where the broker is, for messages."""
        return self._place

    def starting(self) -> None:
        self._trouble = self._hopeless = False
        if not self._warned_of_plain_text and _exposes_credentials(self._options):
            self._warned_of_plain_text = True
            self._logger.warning("user name and password go to %s in plain text: no TLS is set", self._place)
        self._untold.append("connecting")

    def connected(self, protocol: str, waiting: int) -> None:
        """``waiting``: how many events have not been sent, or not been acknowledged."""
        self._trouble = self._hopeless = False
        again = ""
        if self._lost_at is not None:
            again = f" again after {time.monotonic() - self._lost_at:.1f} s, {waiting} events wait"
            self._lost_at = None
        self._connected_at = time.monotonic()
        level = logging.INFO if self._loss_is_told else logging.DEBUG
        self._logger.log(level, "connected to %s (MQTT %s, %s)%s", self._place, protocol, self._backend, again)
        self._untold.append("connected")

    def failed(self, why: str, *, permanent: bool, somebody_waits: bool) -> None:
        """The first failed attempt of an outage is worth a line, unless an exception is going to say it."""
        new = not self._trouble or (permanent and not self._hopeless)
        self._trouble, self._hopeless = True, permanent
        level = logging.WARNING if new and not somebody_waits else logging.DEBUG
        self._logger.log(level, "cannot connect to %s: %s; trying again", self._place, why)

    def lost(self, why: str, waiting: int) -> None:
        """A broker that ends one connection after the other is told of each time that their number has doubled."""
        self._lost_at = now = time.monotonic()
        if now - self._connected_at >= _EPISODE_S or len(self._causes) > _CAUSES:
            self._causes.clear()
        self._causes[why] = times = self._causes.get(why, 0) + 1
        self._loss_is_told = not times & (times - 1)
        # After a loss that was not told the next failed attempt is news.
        self._trouble = self._loss_is_told
        self._logger.log(
            logging.WARNING if self._loss_is_told else logging.DEBUG,
            "connection to %s lost: %s%s; reconnecting, %d events wait",
            self._place, why, f" ({times} times in a row)" if times > 1 else "", waiting,
        )  # fmt: skip
        self._untold.append("disconnected")

    def full(self) -> None:
        """Dropping has begun. A queue that fills up again and again is one line in ten seconds."""
        now = time.monotonic()
        self._full_is_told = self._full_at is None or now - self._full_at >= _EPISODE_S
        if self._full_is_told:
            self._full_at = now
            more = f"; {self._untold_drops} were since the last line" if self._untold_drops else ""
            self._logger.warning("the outbound queue is full: its oldest events are dropped%s", more)
            self._untold_drops = 0

    def drained(self, dropped: int) -> None:
        """Dropping has ended, after so many."""
        if self._full_is_told:
            self._logger.warning("the outbound queue has room again; %d events were dropped", dropped)
        else:
            self._untold_drops += dropped

    def closed(self) -> None:
        if self._untold_drops:
            self._logger.warning("%d more events were dropped from a full queue", self._untold_drops)
            self._untold_drops = 0
        self._lost_at = self._full_at = None
        self._causes.clear()
        self._loss_is_told = True
        self._logger.debug("connection to %s closed", self._place)
        self._untold.append("closed")

    def tell(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Call ``on_state_change`` for what has happened: on ``loop`` where it runs, else here."""
        callback = self._options.on_state_change
        while self._untold:
            state = self._untold.popleft()
            if callback is None:
                continue
            if loop is not None and loop.is_running() and asyncio._get_running_loop() is not loop:
                loop.call_soon_threadsafe(self._call, state)
            else:
                self._call(state)

    def _call(self, state: State) -> None:
        assert self._options.on_state_change is not None
        try:
            self._options.on_state_change(state)
        except Exception:
            self._logger.exception("on_state_change failed on %r", state)


def _exposes_credentials(options: Options) -> bool:
    secret = options.username is not None or options.password is not None
    covered = options.tls_context is not None or options.tls_params is not None or options.transport == "unix"
    return secret and not covered and not _is_loopback(options.hostname)


def _is_loopback(hostname: str) -> bool:
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost" or hostname.endswith(".localhost")
