"""A Cascade workflow that tells what it does: `cascade-mqtt watch` shows it, a retained constraint pauses it.

Needs the Cascade engine, which is not on PyPI; start a broker with `cascade-mqtt broker`.
"""

import cascade as cs
from cascade.connectors.mqtt import MqttConnector


@cs.task
def square(number: int) -> int:
    return number * number


print(cs.run(square.map(number=range(10)), connector=MqttConnector("127.0.0.1")))
