"""Counts the instructions of one object file, a program or a shared library, while a command runs (valgrind)."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Counts", "count", "per_time"]


class Counts(NamedTuple):
    """What one object did, nothing of what others did for it: those differ by machine and by build."""

    instructions: float
    calls_out: float
    """Calls from it into any other object: the interpreter, libc."""


def per_time(command: Sequence[str], object_file: Path, times: int) -> Counts:
    """What the ``times`` last of twice as many rounds take, for one of them; the number is the command's last argument.

    So what comes before and behind them, and what only the first ones do, does not count.
    """
    few, many = (_counts([*command, str(number)], object_file) for number in (times, 2 * times))
    return Counts(*((more - less) / times for more, less in zip(many, few, strict=True)))


def _counts(command: Sequence[str], object_file: Path) -> Counts:
    with tempfile.TemporaryDirectory(prefix="cascade-callgrind-") as directory:
        options = ["--dump-line=no", "--compress-strings=no", "--compress-pos=no"]
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out", *options]
        # Hashes of strings, and so the shapes of dicts, are the same each time.
        environ = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run([*tool, *command], env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        return count((Path(directory) / "out").read_text().splitlines(), str(object_file.resolve()))


def count(lines: Iterable[str], wanted: str) -> Counts:
    """Callgrind's profile: ``ob=`` begins an object, ``calls=`` is followed by the line of what the callee took."""
    instructions = calls_out = 0
    here = into = ""
    rest = iter(lines)
    for line in rest:
        key, _, value = line.partition("=")
        if key == "ob":
            here = into = value
        elif key == "fn":
            into = here
        elif key == "cob":
            into = value
        elif key == "calls":
            if here == wanted != into:
                calls_out += int(value.split()[0])
            next(rest)
            into = here
        elif here == wanted and (cost := _COST.fullmatch(line)):
            instructions += int(cost[1])
    return Counts(instructions, calls_out)


# A position, absolute or relative to the one before, and what was spent there.
_COST = re.compile(r"[\d+*-]\S* (\d+)")
