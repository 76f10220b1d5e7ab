"""Celery under prefork: children tell what they do, the parent hands out no task that a pause or a rate holds back.

In this folder make another one, `queue`, run `celery --app celery_prefork worker` and `cascade-mqtt watch`, then
`python -c "from celery_prefork import square; [square.delay(n) for n in range(50)]"`.
"""

import asyncio
import os
import threading

from celery import Celery, signals
from celery.worker.consumer import Consumer
from kombu.utils.limits import TokenBucket

from cascade.connectors.mqtt import ConstraintManager, ConstraintSync, MqttConnector, TelemetryPublisher

HOST, PORT = os.environ.get("CASCADE_BROKER", "127.0.0.1:1883").split(":")
app = Celery("squares", broker="filesystem://", worker_consumer=f"{__name__}:SteeredConsumer")
app.conf.broker_transport_options = dict.fromkeys(("data_folder_in", "data_folder_out", "control_folder"), "queue")
connector, control = (MqttConnector(HOST, int(PORT), first_connect="background") for _ in range(2))
telemetry = TelemetryPublisher(connector, run_id="squares", qos=1)
manager, loop, over = ConstraintManager(), asyncio.new_event_loop(), asyncio.Event()
thread = threading.Thread(target=lambda: loop.run_until_complete(obey()))  # of the parent


async def obey():
    async with control, ConstraintSync(control, manager):
        await over.wait()


class SteeredConsumer(Consumer):
    def bucket_for_task(self, task):  # asked before a task goes to a child, and again after 50 ms
        async def ask():
            return manager.check_permission(task)

        bucket = TokenBucket(fill_rate=20, capacity=0)
        bucket.can_consume = lambda tokens: asyncio.run_coroutine_threadsafe(ask(), loop).result()
        return bucket


@app.task(name="square")
def square(number):
    return number * number


@signals.task_prerun.connect
@signals.task_postrun.connect
def tell(task_id, task, state="RUNNING", **_):
    telemetry.task_state(task_id, task.name, "COMPLETED" if state == "SUCCESS" else state.replace("FAILURE", "FAILED"))


# Each child opens a connection of its own when it publishes first.
signals.worker_init.connect(lambda **_: (connector.open(), thread.start()), weak=False)
signals.worker_process_shutdown.connect(lambda **_: connector.close(), weak=False)
signals.worker_shutdown.connect(lambda **_: (loop.call_soon_threadsafe(over.set), thread.join()), weak=False)
