"""Connects, publishes, and ends as the test says; nobody disconnects."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import sys
import threading

from given import GIVEN, connector, say

from cascade.connectors.mqtt import MqttConnector

# As modules do: it is there until the interpreter is taken down.
kept: list[MqttConnector] = []


def publish(shared: MqttConnector, topic: str = "out", events: int = 500) -> None:
    for number in range(events):
        shared.publish_nowait(f"{GIVEN.prefix}/{topic}", str(number), qos=number % 2)


def end(shared: MqttConnector) -> None:
    match GIVEN.ending:
        case "exception":
            raise LookupError("the workflow failed")
        case "SIGINT":
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(20)
        case "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(20)
        case "SIGTERM handled":
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(20)
        case "sys.exit":
            sys.exit(5)
        case "sys.exit in a thread":
            # That ends the thread alone (threading.excepthook says nothing of it).
            thread = threading.Thread(target=sys.exit, args=(6,))
            thread.start()
            thread.join()
            publish(shared, "after the thread", 2)
        case "a thread goes on":
            # Python waits for it before what is registered with atexit.
            threading.Thread(target=lambda: (threading.Event().wait(0.3), publish(shared, "thread", 2))).start()
        case "at exit":
            atexit.register(lambda: publish(shared, "at exit", 2))
        case "os._exit":
            os._exit(7)


async def with_a_loop() -> None:
    shared = connector(source_id=GIVEN.prefix)
    await shared.connect()
    publish(shared)
    end(shared)


def without_a_loop() -> None:
    shared = connector(source_id=GIVEN.prefix)
    kept.append(shared)
    shared.open(20)
    publish(shared)
    end(shared)


say(pid=os.getpid())
if GIVEN.loop:
    asyncio.run(with_a_loop())
else:
    without_a_loop()
