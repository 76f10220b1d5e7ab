"""One fork between two publishes; the child ends before its parent, or after it."""

from __future__ import annotations

import os

from given import GIVEN, connector, fork, join, say

NUMBERS = range(100)
shared = connector(**GIVEN.options)
shared.open(20)
shared.publish_nowait("parent", "before", qos=1)
gate, opener = os.pipe()


def child() -> None:
    if GIVEN.first == "parent":
        os.close(opener)
        os.read(gate, 1)  # Ends with the parent.
    queued = sum(shared.publish_nowait("child", str(number), qos=1) for number in NUMBERS)
    shared.close(20)
    stats = shared.stats()
    say(queued=queued, acknowledged=stats.acknowledged, rejected=dict(stats.rejected))


pid = fork(child)
for number in NUMBERS:
    shared.publish_nowait("parent", str(number), qos=1)
if GIVEN.first == "child":
    join(pid)
shared.publish_nowait("parent", "after", qos=1)
shared.close(20)
