"""Uses a connector in every way, under warnings that are errors; says nothing on standard error."""

from __future__ import annotations

import asyncio
import gc

from given import connector, say


async def use() -> None:
    got: asyncio.Queue[object] = asyncio.Queue()
    async with connector(presence=True, heartbeat=0.2, hang_timeout=5) as shared:
        handle = await shared.subscribe("a/#", lambda topic, payload: got.put_nowait(payload))
        async with shared.messages("b") as messages:
            await shared.publish("t", {"n": 1})
            await shared.publish_confirmed("t", [1, 2, 3])
            say(ready=True)
            say(got=[await got.get(), (await anext(messages)).payload])
        await handle.unsubscribe()
        await shared.flush(20)
    dropped = connector()
    await dropped.connect()
    await dropped.subscribe("c", lambda topic, payload: None)
    del dropped
    gc.collect()
    unused = connector()
    del unused
    # What was dropped closes in the background.
    await asyncio.sleep(0.3)


asyncio.run(use())
shared = connector()
shared.open(20)
shared.publish_nowait("t", "x", qos=1)
shared.flush(20)
shared.close(20)
del shared
gc.collect()
