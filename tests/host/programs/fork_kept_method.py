"""What was taken from a connector before the fork, and is used after it: a bound method, a hook that forks."""

from __future__ import annotations

from typing import Any

from given import connector, fork, join, leave, say

pids: list[int] = []


class Forks:
    """A payload whose encoding forks the process."""


def encode(payload: Any) -> str:
    pids.append(fork_here())
    return "child" if not pids[-1] else "parent"


def fork_here() -> int:
    import os

    return os.fork()


shared = connector(default=encode)
shared.open(20)
publish_nowait = shared.publish_nowait
publish_nowait("before", "x", qos=1)
kept = shared.publish_nowait


def child() -> None:
    queued = [publish_nowait("first", "x", qos=1), kept("second", "x", qos=1)]
    shared.close(20)
    say(queued=queued, acknowledged=shared.stats().acknowledged)


join(fork(child))
kept("in a hook", Forks(), qos=1)
if not pids[0]:
    # The call went on in the child, with what was the parent's; the next one is the child's own.
    kept("after the hook", "x", qos=1)
    shared.close(20)
    leave()
join(*pids)
shared.close(20)
