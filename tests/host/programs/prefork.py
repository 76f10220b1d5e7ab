"""A server that forks its workers once all is loaded; each publishes synchronously, request by request."""

from __future__ import annotations

import os

from given import GIVEN, connector, fork, join, say

application = connector()  # Made before the fork, never opened there.


def worker() -> None:
    application.open(20)
    left = 0
    for request in range(20):
        application.publish_nowait(f"worker/{os.getpid()}", str(request), qos=1)
        left += application.flush(20)
    application.close(20)
    say(pid=os.getpid(), left=left, acknowledged=application.stats().acknowledged, source=application.source_id)


join(*[fork(worker) for _ in range(GIVEN.workers)])
say(master=application.stats().submitted)
