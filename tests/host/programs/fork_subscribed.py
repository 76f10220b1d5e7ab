"""A child ends the subscriptions that it inherited, while the parent's go on."""

from __future__ import annotations

import asyncio
from typing import Any

from given import connector, fork, join, leave, say

shared = connector()


async def main() -> None:
    got: asyncio.Queue[Any] = asyncio.Queue()
    await shared.connect()
    handle = await shared.subscribe("a", lambda topic, payload: got.put_nowait(payload))
    stream = shared.messages("b")

    async def end() -> None:
        await handle.unsubscribe()
        await stream.aclose()
        say(child="unsubscribed")

    def child() -> None:
        asyncio.run(end())
        leave()

    # On a thread of its own: there is a loop in this one, which a child cannot leave.
    await asyncio.to_thread(lambda: join(fork(child)))
    say(parent=await got.get())
    await shared.disconnect()


asyncio.run(main())
