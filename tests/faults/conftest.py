"""What the tests of faults share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.register_assert_rewrite("stream")


@pytest.fixture
def passwords(tmp_path) -> Callable[..., Path]:
    """``passwords(ada="...")`` writes mosquitto's password file anew and returns where it is."""
    path = Path(tmp_path / "passwords")

    def write(**users: str) -> Path:
        path.write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
        subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True)
        path.chmod(0o644)
        return path

    return write
