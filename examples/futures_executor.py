"""An executor of `concurrent.futures` whose calls start when constraints allow it, and whose fates are told.

Start a broker with `cascade-mqtt broker`, look on with `cascade-mqtt watch`, then run this, and in the middle of it
`cascade-mqtt limit task:fetch --rate 2/s`.
"""

import asyncio
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from functools import partial

from cascade.connectors.mqtt import Gate, MqttConnector


class SteeredExecutor(Executor):
    """A pool of threads behind a gate, which a loop on one more thread keeps."""

    def __init__(self, workers: int, connector: MqttConnector) -> None:
        self._pool, self._futures, self._over, opened = ThreadPoolExecutor(workers), [], asyncio.Event(), Future()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(workers, connector, opened),))
        self._thread.start()
        self._loop, self._gate = opened.result()

    async def _serve(self, workers, connector, opened):
        async with connector, Gate.connected(connector, resources={"threads": workers}) as gate:
            opened.set_result((asyncio.get_running_loop(), gate))
            await self._over.wait()

    async def _admit(self, name, call):
        async with self._gate.admit(name, requirements={"threads": 1}):
            return await self._loop.run_in_executor(self._pool, call)

    def submit(self, function, /, *args, **kwargs) -> Future:
        admitted = self._admit(function.__name__, partial(function, *args, **kwargs))
        self._futures.append(asyncio.run_coroutine_threadsafe(admitted, self._loop))
        return self._futures[-1]

    def shutdown(self, *_, **__) -> None:
        wait(self._futures)
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._pool.shutdown()


def fetch(number: int) -> int:
    time.sleep(0.1)  # the work
    return number * number


def main(host: str = "127.0.0.1", port: int = 1883) -> None:
    with SteeredExecutor(4, MqttConnector(host, port, first_connect="background")) as executor:
        print(list(executor.map(fetch, range(20))))


if __name__ == "__main__":
    main()
