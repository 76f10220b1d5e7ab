"""What a process may use of its machine: control groups of both versions, affinity, and changes of them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from virtual_time import run

from cascade.connectors.mqtt import Environment, ResourceManager

GIB = 2**30


@pytest.fixture
def machine(tmp_path) -> Any:
    """``machine({file: text})`` writes files under a root of its own, which has 64 GiB, and returns that root."""

    def write(files: dict[str, str]) -> Path:
        for name, text in {"proc/meminfo": f"MemTotal: {64 * GIB // 1024} kB\n", **files}.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return Path(tmp_path)

    return write


VERSION_2 = {
    "proc/self/cgroup": "0::/work.slice/job\n",
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
    "sys/fs/cgroup/work.slice/job/cpu.max": "max 100000\n",
    "sys/fs/cgroup/work.slice/job/memory.max": f"{8 * GIB}\n",
    "sys/fs/cgroup/work.slice/cpu.max": "50000 100000\n",
    "sys/fs/cgroup/work.slice/memory.max": "max\n",
}
# In a container the mount begins at the group that the path names.
VERSION_2_IN_A_CONTAINER = {
    "proc/self/cgroup": "0::/docker/abc\n",
    "proc/self/mountinfo": "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
    "sys/fs/cgroup/cpu.max": "50000 100000\n",
    "sys/fs/cgroup/memory.max": f"{8 * GIB}\n",
}
VERSION_1 = {
    "proc/self/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job\n1:name=systemd:/init\n",
    "proc/self/mountinfo": (
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "36 31 0:33 / /sys rw - sysfs sysfs rw\n"
    ),
    "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "50000\n",
    "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{8 * GIB}\n",
}


@pytest.mark.parametrize("files", [VERSION_2, VERSION_2_IN_A_CONTAINER, VERSION_1], ids=["2", "2 in a container", "1"])
def test_the_narrowest_limit_of_the_control_groups_counts(machine, files):
    found = Environment.detect(machine(files))
    assert found == Environment(cpus=0.5, memory_bytes=8 * GIB)
    assert found.capacity() == {"cpu": 0.5, "memory_gb": 8.0}


def test_without_limits_it_is_the_whole_machine(machine):
    unlimited = {
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    everything = Environment(cpus=len(os.sched_getaffinity(0)), memory_bytes=64 * GIB)
    assert Environment.detect(machine({**VERSION_1, **unlimited})) == everything


def test_what_is_not_known_is_left_out(tmp_path):
    found = Environment.detect(tmp_path)
    assert found.memory_bytes is None
    assert set(found.capacity()) == {"cpu"}


def test_affinity_counts():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert Environment.detect().cpus <= 1
    finally:
        os.sched_setaffinity(0, before)


class Published:
    """Stands for a ``TelemetryPublisher``, whose own tests publish."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, Any]] = []

    def resource(self, name: str, action: str, usage: Any) -> bool:
        self.events.append((name, action, usage))
        return True


def test_capacities_follow_the_machine_and_wake_waiters(machine):
    async def main() -> None:
        root = machine(VERSION_2)
        resources, telemetry = ResourceManager({"gpu": 2, "cpu": 64}), Published()
        following = asyncio.create_task(Environment.follow(resources, telemetry=telemetry, root=root, but=["gpu"]))
        await asyncio.sleep(1)
        assert resources.can_acquire({"gpu": 2, "cpu": 0.5, "memory_gb": 8})
        assert not resources.can_acquire({"cpu": 0.6})
        await resources.acquire({"cpu": 0.5, "memory_gb": 6})
        waiter = asyncio.create_task(resources.acquire({"cpu": 0.5}))
        machine({"sys/fs/cgroup/work.slice/cpu.max": "100000 100000", "sys/fs/cgroup/work.slice/memory.max": str(GIB)})
        await asyncio.sleep(5)
        assert waiter.done()
        assert telemetry.events == [
            ("cpu", "ACQUIRE", {"capacity": 0.5, "held": 0.0}),
            ("memory_gb", "ACQUIRE", {"capacity": 8.0, "held": 0.0}),
            ("cpu", "ACQUIRE", {"capacity": 1.0, "held": 0.5}),
            ("memory_gb", "RELEASE", {"capacity": 1.0, "held": 6}),
        ]
        await asyncio.sleep(60)
        assert len(telemetry.events) == 4, "nothing has changed"
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    run(main())


def test_a_machine_that_cannot_be_read_for_a_while_leaves_what_was_known(machine, caplog):
    async def main() -> None:
        root = machine(VERSION_2)
        resources = ResourceManager()
        following = asyncio.create_task(Environment.follow(resources, root=root))
        await asyncio.sleep(1)
        machine({"sys/fs/cgroup/work.slice/cpu.max": "plenty"})
        await asyncio.sleep(60)
        assert resources.can_acquire({"cpu": 0.5})
        assert not resources.can_acquire({"cpu": 0.6})
        machine({"sys/fs/cgroup/work.slice/cpu.max": "10000 100000"})
        await asyncio.sleep(10)
        assert not resources.can_acquire({"cpu": 0.2})
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    run(main())
    assert caplog.text.count("cannot be read") == 1
