"""The program ends while daemon threads publish, look and flush."""

from __future__ import annotations

import threading

from given import connector, say

shared = connector(max_queued_events=1_000)
shared.open(20)
shared.publish_nowait("first", "x", qos=1)
begun = threading.Barrier(4)


def publish() -> None:
    begun.wait()
    while True:
        shared.publish_nowait("t", {"a": [1, 2, 3]}, qos=1)
        shared.stats()


def flush() -> None:
    begun.wait()
    while True:
        shared.flush(0.01)


for work in (publish, publish, flush):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
say(ends=True)
