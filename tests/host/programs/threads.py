"""Four threads publish at once, through hooks that publish too; two more look at the account all the while."""

from __future__ import annotations

import sys
import threading
from typing import Any

from given import GIVEN, connector, say


class Later:
    def __init__(self, text: str) -> None:
        self.text = text


def encode(value: Any) -> str:
    assert shared.publish_nowait("hook", {"text": value.text}, qos=1)
    return str(value.text)


sys.setswitchinterval(GIVEN.switch_interval)
shared = connector(default=encode)
shared.open(20)
over = threading.Event()
odd: list[str] = []


def publish(which: int) -> None:
    for number in range(GIVEN.events):
        payload = {"n": number, "by": Later(f"{which}/{number}") if number % 4 == 0 else None}
        assert shared.publish_nowait(f"thread/{which}", payload, qos=number % 2)


def look() -> None:
    while not over.is_set():
        stats = shared.stats()
        placed = stats.written + stats.acknowledged + stats.queued_events + stats.in_flight
        if stats.submitted != stats.accepted or stats.accepted != placed:
            odd.append(repr(stats))


threads = [threading.Thread(target=publish, args=(which,)) for which in range(4)]
watchers = [threading.Thread(target=look) for _ in range(2)]
for thread in threads + watchers:
    thread.start()
for thread in threads:
    thread.join()
left = shared.flush(60)
over.set()
for watcher in watchers:
    watcher.join()
say(left=left, odd=odd[:3], accepted=shared.stats().accepted)
shared.close(20)
