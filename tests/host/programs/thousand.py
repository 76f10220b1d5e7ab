"""A thousand connectors of one process connect by name, publish and close."""

from __future__ import annotations

from given import connector, say
from measure import MostThreads, threads

made = [connector(first_connect="background") for _ in range(1_000)]
with MostThreads() as most:
    for shared in made:
        shared.open(0)
        shared.publish_nowait("t", "x" * 100, qos=1)
    left = sum(shared.flush(60) for shared in made)
    named = [name for name in threads() if name.startswith("cascade")]
say(
    left=left,
    connected=sum(shared.stats().connected for shared in made),
    acknowledged=sum(shared.stats().acknowledged for shared in made),
    more_threads=most.more,
    named=named,
)
for shared in made:
    shared.close(20)
say(connected=sum(shared.stats().connected for shared in made))
