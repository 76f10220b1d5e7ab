"""Publishes while a signal's handler, finalizers and the garbage collector publish through the same connector."""

from __future__ import annotations

import gc
import signal
import time
from typing import Any

from given import connector, say

shared = connector()
counts = dict.fromkeys(("main", "signal", "finalizer", "collector", "refused"), 0)


def publish(who: str) -> None:
    # The first publish makes what it needs: interrupted there, too.
    if shared.publish_nowait("handlers", {"who": who}, qos=1):
        counts[who] += 1
    else:
        counts["refused"] += 1


class Finalized:
    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        publish("finalizer")


def collected(phase: str, info: dict[str, Any]) -> None:
    if phase == "start":
        publish("collector")


signal.signal(signal.SIGALRM, lambda *_: publish("signal"))
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
gc.callbacks.append(collected)
gc.set_threshold(50, 2, 2)
publish("main")
shared.open(20)
until = time.monotonic() + 1.0
while time.monotonic() < until or not all(counts.values()):
    Finalized()
    publish("main")
    shared.stats()
signal.setitimer(signal.ITIMER_REAL, 0)
gc.callbacks.remove(collected)
# What is garbage now publishes now, and not when all has been counted.
gc.collect()
gc.disable()
left = shared.flush(60)
stats = shared.stats()
say(left=left, counts=counts, submitted=stats.submitted, acknowledged=stats.acknowledged, stats=str(stats))
gc.enable()
shared.close(20)
