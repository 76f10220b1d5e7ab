"""A thousand connectors are flooded at a broker that takes nothing."""

from __future__ import annotations

import sys

from given import GIVEN, connector, leave, say
from measure import resident_bytes, threads

PAYLOAD = bytes(8 * 1024)
made = [connector(first_connect="background", reconnect_max_delay=30) for _ in range(1_000)]
for shared in made:
    shared.open(20 if GIVEN.connects else 0)
say(connected=sum(shared.stats().connected for shared in made))
sys.stdin.readline()
before = resident_bytes()
for _ in range(50):
    for which, shared in enumerate(made):
        shared.publish_nowait("t", PAYLOAD, qos=which % 2)
stats = [shared.stats() for shared in made]
say(
    grown=resident_bytes() - before,
    queued_bytes=sum(one.queued_bytes for one in stats),
    submitted=sum(one.submitted for one in stats),
    accounted=sum(
        sum(one.rejected.values()) + sum(one.dropped.values()) + one.written + one.queued_events + one.in_flight
        for one in stats
    ),
    named=[name for name in threads() if name.startswith("cascade")],
)
leave()
