"""On what a run was made: the machine, and the versions of everything that took part."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

__all__ = ["describe"]

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("orjson", "aiomqtt", "paho-mqtt", "gmqtt", "mqttium", "awscrt", "iotcore", "pytest-benchmark")


def describe() -> list[tuple[str, str]]:
    """Names and values, none of which tells whose machine it is."""
    commit = _said("git", "rev-parse", "--short", "HEAD")
    memory_gib = int((_found("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20
    packages = [f"{name} {version}" for name in _PACKAGES if (version := _installed(name))]
    return [
        ("processor", f"{_found('/proc/cpuinfo', 'model name') or platform.processor()}, {os.cpu_count()} of them"),
        ("memory", f"{memory_gib:.0f} GiB"),
        ("system", f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("compiler", _said("rustc", "--version")),
        ("this package", f"{_installed('cascade-connector-mqtt')}, commit {commit}"),
        ("packages", ", ".join(packages)),
        ("mosquitto", _version_of_mosquitto()),
    ]


def _found(file: str, name: str) -> str | None:
    path = Path(file)
    text = path.read_text() if path.exists() else ""
    match = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1] if match else None


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _version_of_mosquitto() -> str:
    match = re.search(r"version (\S+)", _said("mosquitto", "-h"))
    return match[1] if match else "not installed"


def _said(*command: str) -> str:
    environ = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=_ROOT)
    except FileNotFoundError:
        return "unknown"
    return said.stdout.strip() or "unknown"
