"""What the end and the fork of a process mean for its connectors.

At the end what is queued is sent, without DISCONNECT, so that the broker publishes the will. That
covers a normal exit and the children of ``multiprocessing``; signals with their default action and
``os._exit`` leave no time for it. A forked child has none of its parent's threads, so it touches
nothing that belongs to them.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connector import MqttConnector
    from .link import Link

__all__ = ["EXIT_S", "note_abandoned", "note_closed", "note_made", "note_started"]

EXIT_S = 2.0
"""How long, in seconds, events are sent for a program that does not wait for them."""

_connectors: weakref.WeakSet[MqttConnector] = weakref.WeakSet()
_links: weakref.WeakSet[Link] = weakref.WeakSet()
# Held until they are closed: their connectors are gone, and nobody else would let them finish.
_abandoned: set[Link] = set()
_inherited: list[object] = []
_armed = False


def note_made(connector: MqttConnector) -> None:
    """This connector has to know when the process forks."""
    _connectors.add(connector)


def note_started(link: Link) -> None:
    """This link has something to send when the process ends."""
    global _armed
    _links.add(link)
    for abandoned in list(_abandoned):
        # Without a loop nobody else fetches the news that it is closed.
        abandoned.drain()
    if _armed:
        return
    _armed = True
    atexit.register(_send_what_is_queued)
    # A child of multiprocessing runs its finalizers, and up to Python 3.12 not atexit's.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _send_what_is_queued, exitpriority=0)


def note_abandoned(link: Link) -> None:
    """This link still sends what its connector has queued."""
    _abandoned.add(link)


def note_closed(link: Link) -> None:
    """This link has nothing to send any more."""
    _abandoned.discard(link)


def _send_what_is_queued() -> None:
    """All links at once, for two seconds in all."""
    links = list(_links)
    deadline = time.monotonic() + EXIT_S
    for link in links:
        link.stop(EXIT_S, goodbye=False, final=True)
    for link in links:
        link.block_until(link.is_closed, deadline - time.monotonic())


def _after_fork_in_child() -> None:
    global _links, _abandoned, _armed
    _inherited.append((_links, _abandoned))
    _links, _abandoned, _armed = weakref.WeakSet(), set(), False
    for connector in list(_connectors):
        _inherited.append(connector._leave_to_parent())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
