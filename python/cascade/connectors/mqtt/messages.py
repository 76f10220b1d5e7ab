"""Inbound messages as an asynchronous iterator."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .subscriptions import Decode, Subscription

if TYPE_CHECKING:
    from .link import Link

__all__ = ["Message", "MessageStream"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message that a subscription was sent (MQTT 3.1.1 section 3.3)."""

    topic: str
    payload: Any
    qos: int
    retain: bool


class MessageStream(Subscription):
    """``async for message in connector.messages(filter)``: the subscription lives as long as the loop over it.

    As ``async with`` it is entered when the broker has confirmed. It ends with ``disconnect()``,
    after what had arrived by then; while the connector reconnects it goes on.
    """

    def __init__(self, link: Link, topic_filter: str, qos: int, decode: Decode, *, batches: bool) -> None:
        self._closing = False
        super().__init__(link, topic_filter, qos, decode, batches=batches)

    def __aiter__(self) -> MessageStream:
        return self

    async def __anext__(self) -> Message:
        while not self._ended:
            message = self._inbox.take()
            if message is not None:
                topic, payload, flags = message
                return Message(topic, payload, flags & 3, bool(flags & 4))
            if self._closing:
                await self.aclose()
                break
            await self.bell.sleep()
        raise StopAsyncIteration

    def pause(self, *, final: bool) -> None:
        self._closing = final
        self.bell.ring()

    async def aclose(self) -> None:
        """End the subscription; a second call does nothing."""
        await self.unsubscribe()

    async def __aenter__(self) -> MessageStream:
        await self.established("subscribed", strict=self._link.options.strict)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # Left by ``break``: nobody can take from it any more. A constructor that raised left nothing.
        with contextlib.suppress(Exception):
            if self.end():
                self._link.leave(self._id)
