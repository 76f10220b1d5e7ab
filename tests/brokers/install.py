"""Puts brokers into build/brokers, each by its own ecosystem's tool; what could not be done is noted there.

python tests/brokers/install.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AEDES", "BUILT", "HIVEMQ", "MOCHI", "NATS", "RECIPES", "Recipe"]

_HERE = Path(__file__).parent
BUILT = _HERE.parents[1] / "build" / "brokers"
_DEADLINE_S = 600


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one version of a broker gets here; another version is another directory."""

    name: str
    version: str
    tools: tuple[str, ...]
    command: Callable[[str, Path], list[str]]
    """What fills the directory with this version."""

    @property
    def directory(self) -> Path:
        return BUILT / f"{self.name}-{self.version}"

    @property
    def _note(self) -> Path:
        return BUILT / f"{self.name}-{self.version}.absent"

    def absent(self) -> str:
        """Why it is not here; empty: it is."""
        if self.directory.exists():
            return ""
        return self._note.read_text().strip() if self._note.exists() else "`make test-brokers` has not installed it"

    def install(self) -> None:
        """Does nothing where it is already here."""
        if self.directory.exists():
            return
        BUILT.mkdir(parents=True, exist_ok=True)
        if why := self._try():
            self._note.write_text(f"{why}\n")

    def _try(self) -> str:
        if missing := [tool for tool in self.tools if not shutil.which(tool)]:
            return f"no {' and no '.join(missing)} on PATH"
        part = BUILT / f"{self.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        command = self.command(self.version, part)
        try:
            done = subprocess.run(
                command,
                env=os.environ | {"GOBIN": str(part)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_DEADLINE_S,
            )
        except subprocess.TimeoutExpired:
            return f"{command[0]} took longer than {_DEADLINE_S} s"
        if done.returncode:
            return f"{command[0]} failed: {' '.join(done.stdout.split())[-300:]}"
        part.rename(self.directory)
        return ""


NATS = Recipe(
    name="nats",
    version="2.15.2",
    tools=("go",),
    command=lambda version, _: ["go", "install", f"github.com/nats-io/nats-server/v2@v{version}"],
)
MOCHI = Recipe(
    name="mochi",
    version="2.7.9",
    tools=("go",),
    command=lambda version, _: ["go", "install", f"github.com/mochi-mqtt/server/v2/cmd@v{version}"],
)
AEDES = Recipe(
    name="aedes",
    version="1.2.0",
    tools=("npm", "node"),
    command=lambda version, directory: ["npm", "install", "--silent", "--prefix", str(directory), f"aedes@{version}"],
)
HIVEMQ = Recipe(
    name="hivemq",
    version="2025.5",
    tools=("mvn", "java"),
    command=lambda version, directory: [
        *("mvn", "--quiet", "--batch-mode", "--file", str(_HERE / "hivemq/pom.xml"), f"-Dhivemq.version={version}"),
        *("dependency:copy-dependencies", f"-DoutputDirectory={directory}"),
    ],
)
RECIPES = (NATS, MOCHI, AEDES, HIVEMQ)

if __name__ == "__main__":
    for recipe in RECIPES:
        print(f"==> {recipe.name} {recipe.version}", flush=True)
        recipe.install()
        if why := recipe.absent():
            print(f"    not installed: {why}", flush=True)
