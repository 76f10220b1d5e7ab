"""What a connector has done, as one consistent snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Stats"]


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Counts since the connector was made; every publish call is in exactly one place.

    ``submitted == accepted + sum(rejected.values())`` and
    ``accepted == written + acknowledged + sum(dropped.values()) + queued_events + in_flight``
    hold in every snapshot.
    """

    backend: str
    """``"native"`` or ``"python"``."""
    protocol: str
    """MQTT version in use, or asked for while not connected: ``"3.1.1"`` or ``"5"``."""
    connected: bool
    connected_since: float | None
    """Unix time in seconds of the last CONNACK; None while not connected."""
    submitted: int
    """Calls of ``publish``, ``publish_nowait`` and ``publish_confirmed``."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Never queued, by reason: not_connected, closed, queue_full, too_large, invalid_topic,
    invalid_qos, unserialisable, forked."""
    accepted: int
    written: int
    """QoS 0: the last byte was taken by the operating system. That is not delivery."""
    acknowledged: int
    """QoS 1: PUBACK arrived. QoS 2: PUBCOMP did, or the session was lost before it."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Accepted, then given up, by reason: queue_full, expired, closed, rejected_by_peer."""
    queued_events: int
    queued_bytes: int
    """Memory allocated for events, queued and in flight, in bytes."""
    in_flight: int
    """QoS 1 and 2: sent, not yet acknowledged."""
    uncertain: int
    """Of the acknowledged: QoS 2 that the broker had, whose session was lost before PUBCOMP."""
    oldest_queued_s: float
    """Age in seconds of the oldest event that waits to be sent; 0.0 when none does."""
    received: int
    """Messages handed to subscriptions, once for each subscription they matched; those of a batch one by one."""
    inbox_dropped: Mapping[str, int] = field(default_factory=dict)
    """Inbound messages given up, by reason: inbox_full, not_utf8, not_json, too_deep, too_large, not_zstd.
    A batch that cannot be taken apart is one."""
    reconnects: int
    last_error: str | None
