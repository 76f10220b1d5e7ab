"""What it costs to ask whether a task may start: by the number of constraints in force, alone and through the gate."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.connectors.mqtt import ConstraintManager, Gate, GlobalConstraint

from .bench import Bench

pytestmark = pytest.mark.benchmark(group="constraints")

_TASKS = [SimpleNamespace(name=f"step_{number}") for number in range(1000)]
_SCOPES = ("task:extract_{}*", "task:*_{}", "source:worker-{}-*", "run:nightly-{}", "project:mill-{}")


def _manager(constraints: int) -> ConstraintManager:
    """With so many limits in force, one of which concerns every task; none holds one back."""
    manager = ConstraintManager()
    scopes = itertools.chain(["global"], (_SCOPES[number % 5].format(f"x{number}") for number in itertools.count()))
    for number, scope in enumerate(itertools.islice(scopes, constraints)):
        limit = GlobalConstraint(id=f"{number}", scope=scope, type="rate_limit", params={"rate": 1e9})
        manager.update_constraint(limit)
    return manager


@pytest.mark.parametrize("constraints", [0, 10, 1000])
def test_check_permission(bench: Bench, constraints: int) -> None:
    manager = _manager(constraints)

    def ask(tasks: Any = _TASKS * 20) -> None:
        for task in tasks:
            assert manager.check_permission(task)

    bench.rate("check_permission", ask, case=f"{constraints:,} constraints", events=20_000)


@pytest.mark.parametrize("constraints", [10, 1000])
def test_check_permission_after_a_change(bench: Bench, constraints: int) -> None:
    """Each time for a task that has to be matched with all of them."""
    manager = _manager(constraints)
    change = GlobalConstraint(id="changes", scope="run:another", type="pause", params={})

    def ask() -> None:
        for task in _TASKS[:200]:
            manager.update_constraint(change)
            assert manager.check_permission(task)

    bench.rate("check_permission", ask, case=f"{constraints:,} constraints, one has changed", events=200)


@pytest.mark.parametrize("constraints", [0, 10, 1000])
def test_admit(bench: Bench, constraints: int) -> None:
    gate = Gate(_manager(constraints))

    async def run() -> None:
        for task in _TASKS * 5:
            async with gate.admit(task.name):
                pass

    bench.rate("Gate.admit", run, case=f"{constraints:,} constraints", events=5_000)
