"""``publish_nowait`` so many times, for its instructions to be counted: ``python -m benches.one_publish TIMES``."""

from __future__ import annotations

import os
import sys

from cascade.connectors.mqtt import MqttConnector

from .events import TOPIC, sized


def main(times: int) -> None:
    # Nobody listens on port 1, and nobody is asked again: the I/O thread has nothing to do beside the calls.
    connector = MqttConnector(
        "127.0.0.1", 1, backend="native", first_connect="background", reconnect_min_delay=30, connect_timeout=1
    )
    connector.open()
    for event in sized(310, times):
        assert connector.publish_nowait(TOPIC, event)
    # Without the flush that an exit brings.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
