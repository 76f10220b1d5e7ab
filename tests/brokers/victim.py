"""A program with a will, to be killed: ``victim.py PORT BACKEND TOPIC``."""

import asyncio
import sys
from types import SimpleNamespace

from cascade.connectors.mqtt import MqttConnector


async def main(port: str, backend: str, topic: str) -> None:
    will = SimpleNamespace(topic=topic, payload=b"gone", qos=1, retain=False)
    async with MqttConnector("127.0.0.1", int(port), backend=backend, will=will):
        print("connected", flush=True)
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
