"""The accounting identities of a connector's ``stats()``."""

from __future__ import annotations

from cascade.connectors.mqtt.stats import Stats


def check(stats: Stats) -> Stats:
    """Every publish call is in exactly one place; returns the snapshot."""
    assert stats.submitted == stats.accepted + sum(stats.rejected.values()), stats
    placed = stats.written + stats.acknowledged + sum(stats.dropped.values()) + stats.queued_events + stats.in_flight
    assert stats.accepted == placed, stats
    assert stats.queued_bytes >= 0, stats
    assert stats.oldest_queued_s >= 0.0, stats
    return stats
