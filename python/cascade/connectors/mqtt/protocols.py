"""Structural types: what a workflow engine needs of a connector, whichever class it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, runtime_checkable

__all__ = ["Callback", "Connector", "SubscriptionHandle"]

Callback = Callable[[str, Any], Awaitable[None] | None]
"""Called with topic and decoded payload; a coroutine function or a plain function."""


@runtime_checkable
class SubscriptionHandle(Protocol):
    """One subscription; it lives until its own ``unsubscribe``."""

    async def unsubscribe(self) -> None:
        """End this subscription. A second call does nothing."""


@runtime_checkable
class Connector(Protocol):
    """The way out for telemetry and the way in for control messages."""

    async def connect(self) -> None:
        """Open the connection; a second call while connected does nothing."""

    async def disconnect(self) -> None:
        """Close the connection; never raises."""

    async def publish(self, topic: str, payload: Any, qos: int = 0, retain: bool = False) -> None:
        """Queue one message; never blocks and never raises for a network's sake."""

    async def subscribe(self, topic_filter: str, callback: Callback) -> SubscriptionHandle | None:
        """Call ``callback`` for each message whose topic matches."""
