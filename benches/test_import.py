"""What an import costs beyond asyncio, and what it loads."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import pytest

from .bench import Bench

__all__ = ["import_of"]

_PROGRAM = """
import asyncio, json, sys, time
before = set(sys.modules)
start = time.perf_counter()
import {module}
took = time.perf_counter() - start
print(json.dumps([took, sorted(set(sys.modules) - before)]))
"""
_RUNS = 11
_NOT_BEFORE_NEEDED = ("aiomqtt", "paho", "ssl", "typer", "rich", "iotcore")


@pytest.mark.benchmark(group="import")
def test_import(bench: Bench) -> None:
    import_of("cascade.connectors.mqtt", "native", bench)


def import_of(module: str, client: str, bench: Bench) -> None:
    """The median of some fresh interpreters."""
    runs: list[Any] = []

    def once() -> dict[str, float]:
        program = [sys.executable, "-c", _PROGRAM.format(module=module)]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with tempfile.TemporaryDirectory(prefix="cascade-bytecode-") as bytecode:
            # The first run compiles, as an installer does.
            environ["PYTHONPYCACHEPREFIX"] = bytecode
            answers = [subprocess.check_output(program, env=environ) for _ in range(1 + _RUNS)]
        runs.extend(map(json.loads, answers[1:]))
        figures = {"ms beyond asyncio": statistics.median(took for took, _ in runs) * 1e3, "modules": len(runs[0][1])}
        if client == "native":
            figures["too early"] = len(set(_NOT_BEFORE_NEEDED).intersection(runs[0][1]))
        return figures

    def others() -> str:
        top = module.partition(".")[0]
        strangers = {name.partition(".")[0] for name in runs[0][1]} - {top}
        named = sorted(name for name in strangers if name not in sys.stdlib_module_names)
        return f"beyond the standard library: {', '.join(named) or 'none but its own'}"

    bench.figures(client, once, note=others)
