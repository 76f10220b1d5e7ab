"""A child, its child, and that one's child; the grandparent's connector is open, the others open their own."""

from __future__ import annotations

from given import connector, fork, join, say

shared = connector()
shared.open(20)


def descend(depth: int) -> None:
    shared.publish_nowait(f"depth/{depth}", "before", qos=1)
    if depth < 3:
        join(fork(lambda: descend(depth + 1)))
    shared.publish_nowait(f"depth/{depth}", "after", qos=1)
    shared.close(20)
    say(depth=depth, epoch=shared.epoch, acknowledged=shared.stats().acknowledged)


descend(0)
