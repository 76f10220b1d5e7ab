"""What a test hands to the programs beside this file, and how they answer: one JSON object a line."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from cascade.connectors.mqtt import MqttConnector

GIVEN = SimpleNamespace(**json.loads(sys.argv[1]))
# A child that hangs says where, and dies.
PATIENCE_S = 60
faulthandler.register(signal.SIGALRM, chain=True)


def connector(**options: Any) -> MqttConnector:
    host = vars(GIVEN).get("host", "127.0.0.1")
    return MqttConnector(host, GIVEN.port, **{"backend": GIVEN.backend, "reconnect_max_delay": 0.3, **options})


def say(**facts: Any) -> None:
    # One write: several processes may share the pipe.
    os.write(1, (json.dumps(facts) + "\n").encode())


def fork(child: Callable[[], None]) -> int:
    """Run ``child`` in a child process that ends as programs do; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(PATIENCE_S)
    child()
    sys.exit(0)


def join(*pids: int) -> None:
    """Wait for children; the first that failed ends this program."""
    for pid in pids:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            sys.exit(f"child {pid} ended with {status}")


def leave(status: int = 0) -> None:
    """End at once, without what Python does at an exit."""
    sys.stderr.flush()
    os._exit(status)
