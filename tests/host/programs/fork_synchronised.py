"""A child leaves the constraints that it inherited, while the parent goes on to obey them."""

from __future__ import annotations

import asyncio

from given import connector, fork, join, leave, say

from cascade.connectors.mqtt import ConstraintManager, ConstraintSync

shared = connector(source_id="parent")


async def main() -> None:
    await shared.connect()
    sync = ConstraintSync(shared, ConstraintManager())
    await sync.start(20)
    while not shared.stats().written:  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    def child() -> None:
        asyncio.run(sync.stop())
        shared.publish_nowait("child", "left", qos=1)
        shared.close(20)
        say(child="left")
        leave()

    # On a thread of its own: there is a loop in this one, which a child cannot leave.
    await asyncio.to_thread(lambda: join(fork(child)))
    shared.publish_nowait("parent", "goes on", qos=1)
    await shared.flush(20)
    await sync.stop()
    await shared.disconnect()
    say(parent="left")


asyncio.run(main())
