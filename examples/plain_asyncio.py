"""Telemetry out of any asyncio program, and control messages back into it.

Start a broker with `cascade-mqtt broker`, look on with `cascade-mqtt watch`, then run this, and in the middle of it
`cascade-mqtt pause`.
"""

import asyncio

from cascade.connectors.mqtt import Gate, MqttConnector


async def main(host: str = "127.0.0.1", port: int = 1883) -> None:
    async with MqttConnector(host, port) as connector, Gate.connected(connector) as gate:
        for number in range(10):
            async with gate.admit("step", task_id=f"step-{number}"):
                await asyncio.sleep(0.1)  # the work


if __name__ == "__main__":
    asyncio.run(main())
