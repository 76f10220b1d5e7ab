"""A broker that is not here says why."""

from __future__ import annotations

import sys

import install
import pytest
from install import Recipe


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(install, "BUILT", tmp_path)


def recipe(*program: str, tool: str = sys.executable) -> Recipe:
    return Recipe(name="any", version="1", tools=(tool,), command=lambda *_: [sys.executable, "-c", *program])


def test_before_it_is_installed():
    assert "make test-brokers" in recipe("").absent()


def test_a_missing_tool_is_named():
    one = recipe("", tool="no-such-tool")
    one.install()
    assert one.absent() == "no no-such-tool on PATH"


def test_what_a_tool_complains_of_is_kept():
    one = recipe("raise SystemExit('the registry does not answer')")
    one.install()
    assert one.absent().endswith("the registry does not answer")
    assert not one.directory.exists()


def test_installed():
    one = recipe("import os, pathlib; pathlib.Path(os.environ['GOBIN'], 'broker').touch()")
    one.install()
    assert one.absent() == ""
    assert [path.name for path in one.directory.iterdir()] == ["broker"]
