"""A connector in a subinterpreter, while the main one has its own."""

from __future__ import annotations

import sys

from given import GIVEN, connector, say

if sys.version_info >= (3, 13):
    import _interpreters as interpreters
else:
    import _xxsubinterpreters as interpreters

PROGRAM = f"""
import os, sys
sys.path[:] = {sys.path!r}
from cascade.connectors.mqtt import BackendUnavailable, ConnectError, MqttConnector
try:
    MqttConnector("127.0.0.1", {GIVEN.port}, backend={GIVEN.backend!r}).open(20)
except (BackendUnavailable, ConnectError) as error:
    os.write(1, b'{{"refused": "%s"}}\\n' % str(error).encode())
"""

shared = connector()
shared.open(20)
interpreter = interpreters.create()
interpreters.run_string(interpreter, PROGRAM)
interpreters.destroy(interpreter)
shared.publish_nowait("t", "x", qos=1)
say(left=shared.flush(20))
shared.close(20)
