"""More connectors than the process may have descriptors; some are closed later."""

from __future__ import annotations

import asyncio
import resource
import sys

from given import connector, say

LIMIT, CONNECTORS = 60, 80


async def main() -> None:
    first = connector()
    await first.connect()
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    another = asyncio.Event()
    options = {"first_connect": "background", "connect_timeout": 2, "reconnect_max_delay": 0.2}
    made = [connector(on_state_change=lambda _: another.set(), **options) for _ in range(CONNECTORS)]
    await asyncio.gather(*(shared.connect() for shared in made))
    without = [shared for shared in made if not shared.connected]
    await first.publish_confirmed("t", "others go on")
    say(connected=CONNECTORS - len(without), errors=sorted({str(shared.stats().last_error) for shared in without}))
    sys.stdin.readline()
    await asyncio.gather(*(shared.disconnect() for shared in made if shared not in without))
    async with asyncio.timeout(30):
        while not any(shared.connected for shared in without):
            another.clear()
            await another.wait()
    await asyncio.gather(*(shared.disconnect(0) for shared in without))
    await first.publish_confirmed("t", "to the end")
    await first.disconnect()


asyncio.run(main())
