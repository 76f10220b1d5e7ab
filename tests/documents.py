"""Reading the documents: tables, what is quoted in them, and the tests that they name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

__all__ = ["names_of_tests", "quoted", "table"]


def table(text: str, head: str) -> list[list[str]]:
    """The rows of the Markdown table whose header line begins with ``head``, cells stripped."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(head):
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert rows, head
    return rows


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def names_of_tests(file: Path) -> set[str]:
    """The names of the test functions of a module, or of a crate's test file."""
    if file.suffix == ".rs":
        return set(re.findall(r"#\[test\]\s+fn (\w+)", file.read_text("utf-8")))
    tree = ast.parse(file.read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
