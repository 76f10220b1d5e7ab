"""Metadata of the pure wheel, taken from where the compiled one has it, so that they cannot differ."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

TOP = Path(__file__).resolve().parents[2]


class SharedMetadata(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
        cargo = tomllib.loads((TOP / "Cargo.toml").read_text())
        project["version"] = cargo["workspace"]["package"]["version"]
        for name in metadata["dynamic"]:
            metadata[name] = project[name]
