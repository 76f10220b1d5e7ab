"""Every entry of the corpus, said by a broker to each backend that speaks its version of MQTT."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from corpus import ENTRIES
from corpus.entry import Entry
from hostile_peer import LEAK, HostilePeer
from resident import Resident

import wire
from waiting import eventually

BACKENDS = {"3.1.1": ("native", "python"), "5": ("python",)}
CASES = [(entry, backend) for entry in ENTRIES for backend in BACKENDS[entry.protocol]]
MIN_DELAY_S = 0.01
MIB = 1024 * 1024


def test_the_corpus_is_as_large_as_is_said():
    assert len({(entry.protocol, entry.when, entry.data) for entry in ENTRIES}) >= 700
    assert len({entry.id for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(("entry", "backend"), CASES, ids=[f"{entry.id}-{backend}" for entry, backend in CASES])
async def test_what_a_broker_must_not_send(new_connector, caplog, entry: Entry, backend: str):
    caplog.set_level(logging.DEBUG)
    # A program unsubscribes once; all else comes again with each connection.
    times = 2 if entry.outcome == "close" and entry.when != "unsuback" else 1
    got: list[tuple[str, Any]] = []
    resident = Resident()
    with HostilePeer(entry, times) as peer:
        connector = new_connector(
            peer, protocol=entry.protocol, first_connect="background", reconnect_min_delay=MIN_DELAY_S,
            reconnect_max_delay=0.02, retained_timeout=0.01,
        )  # fmt: skip
        await connector.connect()
        await connector.subscribe("#", lambda topic, payload: got.append((topic, payload)), qos=2, decode=entry.decode)
        await connector.publish("before", "x", qos=2 if entry.when in ("pubrec", "pubcomp") else 1)
        if entry.when == "unsuback":
            await (await connector.subscribe("other", lambda topic, payload: None)).unsubscribe()
        await eventually(lambda: peer.is_through)
        await eventually(lambda: connector.stats().acknowledged == 1)

        # The rule is followed: one connection for each time, and the broker has its answer.
        connections = times + 1 if entry.outcome == "close" else 1
        await eventually(lambda: peer.connections == connections and connector.stats().connected)
        stats = connector.stats()
        if entry.outcome == "close":
            assert entry.says in (stats.last_error or "")
        else:
            assert stats.last_error is None
        if entry.outcome == "answer":
            await eventually(lambda: any(wire.encode(*packet) == peer.wanted for packet in peer.packets))

        # It recovers: a message comes in, one goes out.
        filters = connections if entry.when not in ("first", "behind") else 1
        await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) >= filters)
        peer.send(peer.message("good", b'"after"'))
        await eventually(lambda: got and got[-1][0] == "good")
        await connector.publish("after", "x", qos=1)
        await eventually(lambda: connector.stats().acknowledged == 2)

        # Nothing else came of it: no message, no connection, no memory, no noise.
        assert got[:-1] == list(entry.delivers) * times
        assert LEAK not in {topic for topic, _ in got}
        assert connector.stats().inbox_dropped == {reason: n * times for reason, n in entry.counts.items()}
        assert peer.connections == connections
        waits = [after - before for before, after in zip(peer.attacked_at, peer.connects_at[1:], strict=False)]
        assert all(wait >= MIN_DELAY_S / 2 for wait in waits)
        await connector.disconnect(timeout=0.5)
    assert resident.grown_at_most() <= 50 * MIB
    assert len(caplog.records) <= 20, caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text
