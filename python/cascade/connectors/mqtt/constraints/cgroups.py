"""What control groups leave to this process: CPU time and memory (cgroups(7); both versions)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Limits", "limits"]


class Limits(NamedTuple):
    """CPUs and bytes of memory; infinity where there is no limit."""

    cpus: float = math.inf
    memory_bytes: float = math.inf


def limits(root: Path) -> Limits:
    """The narrowest limits of the groups that this process is in, and of those above them.

    Args:
        root: the directory that holds ``proc`` and ``sys``.
    """
    cpus = memory = math.inf
    for group in _groups(root):
        cpus = min(cpus, _quota(group))
        memory = min(memory, *(_number(group / name) for name in ("memory.max", "memory.limit_in_bytes")))
    return Limits(cpus, memory)


def _groups(root: Path) -> Iterator[Path]:
    """The directories of the groups, each with all that are above it within its mount."""
    paths = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        # Version 2 names no controllers.
        for controller in controllers.split(","):
            paths[controller] = path
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, kind = line.partition(" - ")
        fields, (filesystem, _, options) = mount.split(), kind.split(" ", 2)
        mounted = {"cgroup2": [""], "cgroup": [name for name in options.split(",") if name in ("cpu", "memory")]}
        found = next((paths[name] for name in mounted.get(filesystem, ()) if name in paths), None)
        if found is not None:
            yield from _up_from(found, mounted=fields[3], at=root / fields[4].lstrip("/"))


def _up_from(path: str, *, mounted: str, at: Path) -> Iterator[Path]:
    # In a container the mount may begin at the group itself, or below what this process is told of its path.
    inside = path.removeprefix(mounted.rstrip("/")) if path.startswith(mounted.rstrip("/")) else "/"
    group = at / inside.lstrip("/")
    while True:
        yield group
        if group == at or at not in group.parents:
            return
        group = group.parent


def _quota(group: Path) -> float:
    whole = _lines(group / "cpu.max")
    if whole:
        quota, _, period = whole[0].partition(" ")
        return math.inf if quota == "max" else int(quota) / int(period or 100_000)
    quota_us, period_us = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return math.inf if math.inf in (quota_us, period_us) or quota_us <= 0 else quota_us / period_us


def _number(file: Path) -> float:
    text = "".join(_lines(file))
    return math.inf if text in ("", "max") else float(text)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
