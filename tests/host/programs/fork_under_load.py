"""Forks again and again while two threads publish; every child publishes too, before its parent ends or after it."""

from __future__ import annotations

import os
import threading

from given import GIVEN, connector, fork, join, leave, say

CHILDREN = GIVEN.children
shared = connector()
shared.open(20)
over = threading.Event()
counts = [0, 0]
gate, opener = os.pipe()


def publish(which: int) -> None:
    while not over.is_set():
        if counts[which] - shared.stats().acknowledged < 200:
            counts[which] += shared.publish_nowait(f"parent/{which}", str(counts[which]), qos=1)


def child(number: int) -> None:
    if GIVEN.first == "parent":
        os.close(opener)
        os.read(gate, 1)  # Ends with the parent.
    sent = sum(shared.publish_nowait(f"child/{number}", str(event), qos=1) for event in range(5))
    shared.close(20)
    if sent != 5 or shared.stats().acknowledged != 5:
        say(child=number, sent=sent, stats=repr(shared.stats()))
        leave(7)
    if number % 2:
        leave()


threads = [threading.Thread(target=publish, args=(which,)) for which in range(2)]
for thread in threads:
    thread.start()
for first in range(0, CHILDREN, 4):
    pids = [fork(lambda number=number: child(number)) for number in range(first, min(first + 4, CHILDREN))]
    if GIVEN.first == "child":
        join(*pids)
over.set()
for thread in threads:
    thread.join()
left = shared.flush(20)
say(counts=counts, left=left)
shared.close(10)
