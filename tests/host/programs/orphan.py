"""The parent is killed; its child lives on until it is told, and publishes nothing."""

from __future__ import annotations

import os
import signal
import sys

from given import GIVEN, connector, fork, leave, say

shared = connector()
shared.open(20)


def child() -> None:
    say(child=os.getpid())
    os.read(GIVEN.gate, 1)  # Until the test has seen enough: standard input is the parent's alone.
    leave()


fork(child)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
