"""Telemetry out of any asyncio program, and control messages back into it.

Start a broker with `cascade-mqtt broker`, look on with `cascade-mqtt watch`, then run this.
"""

import asyncio

from cascade.connectors.mqtt import MqttConnector, TelemetryPublisher


async def main() -> None:
    async with MqttConnector("127.0.0.1") as connector:
        telemetry = TelemetryPublisher(connector, run_id="nightly")
        await connector.subscribe("cascade/constraints/#", print)
        for number in range(10):
            telemetry.task_state(f"step-{number}", "step", "RUNNING")
            await asyncio.sleep(0.1)  # the work
            telemetry.task_state(f"step-{number}", "step", "COMPLETED", duration_ms=100)


asyncio.run(main())
