"""What the wheels in a directory hold: one of each kind, our directory alone, nothing of a namespace."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

OURS = "cascade/connectors/mqtt/"
NEEDED = {f"{OURS}{name}" for name in ("__init__.py", "connector.py", "py.typed", "cli/__init__.py")}


def check(wheel: Path) -> None:
    files = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in files if ".dist-info/" in name}
    strangers = {name for name in files - metadata if not name.startswith(OURS)}
    assert not strangers, f"{wheel.name} holds {sorted(strangers)}"
    assert files >= NEEDED, f"{wheel.name} lacks {sorted(NEEDED - files)}"
    assert any(name.endswith("/licenses/LICENSE") for name in metadata), f"{wheel.name} lacks the licence"
    assert not [name for name in files if name.endswith((".pyc", ".rs"))], wheel.name
    compiled = {name for name in files if name.startswith(f"{OURS}_native")}
    if wheel.name.endswith("-none-any.whl"):
        assert not compiled, f"{wheel.name} is pure and holds {compiled}"
    else:
        assert {Path(name).suffix for name in compiled} == {".pyi", ".so"}, f"{wheel.name} holds {compiled}"
    print(f"{wheel.name}: {len(files)} files, {wheel.stat().st_size // 1024} KiB")


wheels = sorted(Path(sys.argv[1]).glob("*.whl"))
assert [wheel.name.endswith("-none-any.whl") for wheel in wheels].count(True) == len(wheels) - 1 == 1, wheels
for wheel in wheels:
    check(wheel)
