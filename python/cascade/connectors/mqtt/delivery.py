"""Publishing for those who wait: for room, for an acknowledgement, for an empty queue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .errors import ConfirmationError
from .refusals import QUEUE_FULL

if TYPE_CHECKING:
    from .link import Link

__all__ = ["confirm", "flush", "flush_blocking", "queue_when_there_is_room"]

# Reasons of a drop that can only befall what was never sent.
_NEVER_SENT = ("queue_full", "expired")


async def queue_when_there_is_room(link: Link, topic: str, payload: Any, qos: int, retain: bool) -> int:
    """Try again each time the queue has room, until the message is in it or is refused for another reason.

    The tries are one call of ``publish``: ``link.retries`` says by how much the backend has counted more.
    """
    code = QUEUE_FULL

    def again() -> bool:
        nonlocal code
        code = link.backend.publish(topic, payload, qos, retain, False)
        link.retries += 1
        return code != QUEUE_FULL

    while code == QUEUE_FULL:
        await link.completions.wait("space", None, again)
    return code


async def confirm(link: Link, topic: str, payload: Any, qos: int, retain: bool, timeout_s: float) -> None:
    """Publish and wait for PUBACK (MQTT 3.1.1 section 3.4).

    Raises:
        PayloadError, TopicError, ValueError: a mistake of the caller's.
        ConfirmationError: refused, given up, or not acknowledged in time.
    """
    with link.undisturbed():
        code, token = link.backend.publish_tracked(topic, payload, qos, retain)
        key = ("publish", token)
        future = link.completions.expect(key) if not code else None
    if future is None:
        raise link.refusals.error(code, link.backend)
    try:
        if await link.completions.done(future, timeout_s):
            reason = future.result()
            if reason is not None:
                raise ConfirmationError(f"given up: {reason}", may_arrive=reason not in _NEVER_SENT)
            return
        withdrawn = link.backend.withdraw(token)
        fate = "it was not sent and has been withdrawn" if withdrawn else "it was sent and may still arrive"
        raise ConfirmationError(f"no acknowledgement within {timeout_s:g} s: {fate}", may_arrive=not withdrawn)
    except asyncio.CancelledError as error:
        withdrawn = link.backend.withdraw(token)
        error.add_note("the message was withdrawn" if withdrawn else "the message may still arrive")
        raise
    finally:
        link.completions.forget(key, future)


async def flush(link: Link, timeout_s: float) -> int:
    """Wait until what was accepted before now is sent, at QoS 1 acknowledged; returns how many are left."""
    progress = _Flush(link)
    try:
        await link.completions.wait(("flush", progress.token), timeout_s, progress.is_over)
        progress.is_over()
        return progress.left
    finally:
        progress.end()


def flush_blocking(link: Link, timeout_s: float) -> int:
    """The same on a thread without an event loop."""
    progress = _Flush(link)
    link.block_until(progress.is_over, timeout_s)
    progress.end()
    return progress.left


class _Flush:
    """A flush under way; the backend forgets its token with the answer 0."""

    def __init__(self, link: Link) -> None:
        self._backend = link.backend
        self.token = link.backend.flush()
        self.left = 1

    def is_over(self) -> bool:
        if self.left:
            self.left = self._backend.flush_left(self.token)
        return not self.left

    def end(self) -> None:
        if self.left:
            self._backend.end_flush(self.token)
