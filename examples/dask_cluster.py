"""Dask: each worker of a cluster admits its tasks through a gate, which tells what becomes of them.

Start a broker with `cascade-mqtt broker`, look on with `cascade-mqtt watch`, then run this, and meanwhile
`cascade-mqtt limit 'task:square' --concurrency 1`.
"""

import asyncio
import functools
from contextlib import AsyncExitStack

from distributed import Client, LocalCluster, WorkerPlugin, get_worker

from cascade.connectors.mqtt import Gate, MqttConnector


class Steering(WorkerPlugin):
    name = "steering"

    def __init__(self, host, port):
        self.address = host, port

    async def setup(self, worker):
        self.open = AsyncExitStack()
        connector = await self.open.enter_async_context(MqttConnector(*self.address, first_connect="background"))
        self.gate = await self.open.enter_async_context(Gate.connected(connector))

    async def teardown(self, worker):
        await self.open.aclose()


def steered(function):
    """For tasks that wait at the gate of the worker that has got them."""

    @functools.wraps(function)
    async def run(*args, **kwargs):
        gate = get_worker().plugins[Steering.name].gate
        async with gate.admit(function.__name__):
            return await asyncio.to_thread(function, *args, **kwargs)

    return run


def square(number):
    return number * number


def main(host="127.0.0.1", port=1883):
    with LocalCluster(n_workers=2, threads_per_worker=4, dashboard_address=None) as cluster, Client(cluster) as client:
        client.register_plugin(Steering(host, port))
        print(client.gather(client.map(steered(square), range(50), pure=False)))


if __name__ == "__main__":
    main()
