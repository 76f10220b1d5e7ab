"""Connects in a loop, leaves the loop, and goes on without one."""

from __future__ import annotations

import asyncio
import os
import sys

from given import GIVEN, connector, say

shared = connector(source_id=GIVEN.source, hang_timeout=0.5)
asyncio.run(shared.connect())
say(loop="ended")
sys.stdin.readline()
os._exit(0)
