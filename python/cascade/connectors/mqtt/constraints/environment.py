"""What this process may use of its machine, and how that becomes capacity."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .cgroups import limits
from .resources import ResourceManager

if TYPE_CHECKING:
    from ..telemetry import TelemetryPublisher

__all__ = ["Environment"]

_logger = logging.getLogger("cascade.connectors.mqtt")
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What is there for this process alone, as far as the system says.

    Args:
        cpus: how many, by affinity and by the quota of its control groups; 1.5 is one and a half.
        memory_bytes: by the limits of its control groups, and by what the machine has; None where that is not known.
    """

    cpus: float
    memory_bytes: int | None

    @classmethod
    def detect(cls, root: str | os.PathLike[str] = "/") -> Environment:
        """Look at it now.

        Args:
            root: the directory that holds ``proc`` and ``sys``.
        """
        narrowest = limits(Path(root))
        memory = min(narrowest.memory_bytes, _memory_of_the_machine(Path(root)))
        return cls(
            cpus=min(float(_processors()), narrowest.cpus), memory_bytes=None if memory == math.inf else int(memory)
        )

    def capacity(self) -> dict[str, float]:
        """As capacities of a ``ResourceManager``: ``cpu``, and ``memory_gb`` in units of 2**30 bytes."""
        found = {"cpu": self.cpus}
        if self.memory_bytes is not None:
            found["memory_gb"] = self.memory_bytes / _GIB
        return found

    @classmethod
    async def follow(
        cls,
        resources: ResourceManager,
        *,
        telemetry: TelemetryPublisher | None = None,
        interval: float = 5.0,
        but: Collection[str] = (),
        root: str | os.PathLike[str] = "/",
    ) -> None:
        """Set the capacities, and again when they change, until cancelled; waiters are woken.

        Each one set is published as a ``ResourceEvent``: ACQUIRE where there is more than before, RELEASE where there
        is less, with ``{"capacity": …, "held": …}`` as its usage.

        Args:
            interval: seconds between two looks.
            but: resources to leave alone.
        """
        known: dict[str, float] = {}
        is_readable = True
        while True:
            try:
                found, is_readable = cls.detect(root).capacity(), True
            except (OSError, ValueError):
                # A container may be in the middle of a change: the next look may tell.
                if is_readable:
                    _logger.exception("what the machine has cannot be read; %s stays", known or "it")
                found, is_readable = {}, False
            for name, amount in found.items():
                before = known.get(name)
                if name in but or amount == before:
                    continue
                known[name] = amount
                resources.update_resource(name, amount)
                if before is not None:
                    _logger.info("capacity of %s: %g, it was %g", name, amount, before)
                if telemetry is not None:
                    action = "ACQUIRE" if before is None or amount > before else "RELEASE"
                    telemetry.resource(name, action, {"capacity": amount, "held": resources.usage().get(name, 0.0)})
            await asyncio.sleep(interval)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_of_the_machine(root: Path) -> float:
    try:
        text = (root / "proc/meminfo").read_text()
    except OSError:
        return math.inf
    total = next((line for line in text.splitlines() if line.startswith("MemTotal:")), None)
    return math.inf if total is None else float(total.split()[1]) * 1024
