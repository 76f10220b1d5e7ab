"""``python -m benches.instructions``: instructions of the hot paths beside the committed ones (``--update``: new ones).

Only what the core itself executes is counted, so that neither the interpreter's build nor the processor's variant of
memcpy plays a part; calls out of it are counted in the interpreter's stead.
"""

from __future__ import annotations

import importlib
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from . import built, callgrind

__all__ = ["FIGURES", "judge"]

FIGURES = Path(__file__).with_name("instructions.json")
# More than this and the gate is shut; less by this much and the committed figure is out of date.
_TOLERANCE = 0.05
_PARTS = ("framing", "parsing", "outbox, QoS 0", "outbox, QoS 1", "session")
_TIMES = {"core": 5_000, "python": 1_000}


def measure() -> Iterator[tuple[str, float]]:
    """Names and figures, each for one message."""
    program = built.counted()
    for part in _PARTS:
        yield part, callgrind.per_time([str(program), part], program, _TIMES["core"]).instructions
    core = Path(str(importlib.import_module("cascade.connectors.mqtt._native").__file__))
    counts = callgrind.per_time([sys.executable, "-m", "benches.one_publish"], core, _TIMES["python"])
    # The core is compiled for one version of the interpreter, whose macros are part of it.
    version = "CPython " + ".".join(platform.python_version_tuple()[:2])
    yield f"publish_nowait, {version}", counts.instructions
    yield f"publish_nowait, {version}, calls out of the core", counts.calls_out


def judge(measured: float, committed: float | None) -> str:
    """What is to be said of a figure; what begins with ``over`` shuts the gate."""
    if committed is None:
        return "no committed figure to compare with"
    change = measured / committed - 1
    shown = f"{change:+.1%} of {committed:,.1f}"
    if change > _TOLERANCE:
        return f"over: {shown}; if it is worth that, make instructions UPDATE=1"
    if change < -_TOLERANCE:
        return f"better: {shown}; make instructions UPDATE=1 keeps it so"
    return f"as committed: {shown}"


def main(update: bool) -> int:
    """The number of figures that are over."""
    if shutil.which("valgrind") is None:
        sys.exit("valgrind counts the instructions, and is not installed: apt-get install valgrind")
    committed: dict[str, float] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    over = 0
    for name, figure in measure():
        verdict = judge(figure, committed.get(name))
        over += verdict.startswith("over")
        print(f"{name}: {figure:,.1f} {verdict}", flush=True)
        if update:
            committed[name] = round(figure, 1)
    compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"compiled by {compiler}; each for one message, {_TOLERANCE:.0%} more is too much")
    if update:
        FIGURES.write_text(json.dumps(committed, indent=2) + "\n")
        return 0
    return over


if __name__ == "__main__":
    sys.exit(main("--update" in sys.argv[1:]))
