"""The measuring crates, compiled when they are first needed."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["counted", "rumqttc_loop", "sink"]

_ROOT = Path(__file__).resolve().parent.parent
# Not where maturin compiles: each would have the other's environment, and compile all of it again.
_TARGET = _ROOT / "target" / "benches"


@functools.cache
def sink() -> Path:
    """The program ``cascade-sink``."""
    return _program("cascade-sink")


@functools.cache
def counted() -> Path:
    """The program ``cascade-counted``."""
    return _program("cascade-counted")


@functools.cache
def rumqttc_loop() -> ModuleType:
    """rumqttc's event loop fed by our encoder, loaded from where cargo leaves it."""
    _build("rumqttc-loop")
    file = _TARGET / "release" / ("librumqttc_loop.dylib" if sys.platform == "darwin" else "librumqttc_loop.so")
    loader = importlib.machinery.ExtensionFileLoader("rumqttc_loop", str(file))
    spec = importlib.util.spec_from_file_location("rumqttc_loop", file, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _program(name: str) -> Path:
    _build(name)
    return _TARGET / "release" / name


def _build(package: str) -> None:
    cargo = shutil.which("cargo")
    if cargo is None:
        raise FileNotFoundError(f"{package} is compiled by cargo, which is not installed")
    # An extension module leaves the interpreter's symbols to the process that loads it.
    environ = {**os.environ, "PYO3_PYTHON": sys.executable, "PYO3_BUILD_EXTENSION_MODULE": "1"}
    command = [cargo, "build", "--quiet", "--release", "--target-dir", str(_TARGET), "--package", package]
    done = subprocess.run(command, cwd=_ROOT, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr}")
