"""Workers of multiprocessing publish, each in a process of its own; how they begin is given."""

from __future__ import annotations

import multiprocessing

from given import GIVEN, connector, say

shared = connector(source_id=GIVEN.source)


def work(number: int) -> None:
    if GIVEN.method != "fork":
        # Nothing is inherited, so the worker's own copy of this module has to open its connector.
        shared.open(20)
    for event in range(50):
        shared.publish_nowait(f"{GIVEN.prefix}/{number}", str(event), qos=1)
    if number == 0:
        shared.close(20)
    # The others just end: what is queued is sent by the finalizer.


if __name__ == "__main__":
    context = multiprocessing.get_context(GIVEN.method)
    shared.open(20)
    workers = [context.Process(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    for event in range(50):
        shared.publish_nowait(f"{GIVEN.prefix}/parent", str(event), qos=1)
    for worker in workers:
        worker.join(60)
    say(exits=[worker.exitcode for worker in workers])
    shared.close(20)
