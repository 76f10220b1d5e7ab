"""Connects, publishes, and stays until it is told to disconnect."""

from __future__ import annotations

import asyncio
import sys

from given import GIVEN, connector, say


async def main() -> None:
    shared = connector(source_id=GIVEN.prefix)
    await shared.connect()
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), told.set)
    for number in range(500):
        shared.publish_nowait(f"{GIVEN.prefix}/out", str(number), qos=1)
    say(connected=True)
    await told.wait()
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    await shared.disconnect()


asyncio.run(main())
