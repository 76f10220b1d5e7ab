"""The real work: what is done to a file of the standard library, to a package, and to all of it."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileFigures", "LibraryReport", "PackageFigures", "figures", "imports", "package", "parse", "read", "report"]

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class FileFigures:
    """What one module amounts to; ``code`` are the lines neither blank nor a comment alone."""

    lines: int
    code: int
    functions: int
    classes: int
    imports: frozenset[str]


@dataclass(frozen=True, slots=True)
class PackageFigures:
    """The modules of one package that parse, and how many of them import which top-level module."""

    name: str
    modules: int
    lines: int
    code: int
    functions: int
    classes: int
    imported: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LibraryReport:
    """The standard library in figures; the rankings are ``(name, count)``, largest first."""

    packages: int
    modules: int
    lines: int
    code: int
    functions: int
    classes: int
    most_imported: tuple[tuple[str, int], ...]
    biggest_packages: tuple[tuple[str, int], ...]


def read(path: Path) -> bytes:
    """The source of a module, in its own encoding."""
    return path.read_bytes()


def parse(source: bytes) -> ast.Module:
    """Its syntax tree.

    Raises:
        SyntaxError: it is not Python, or not in the encoding that it declares.
        ValueError: it holds a null byte.
    """
    return ast.parse(source)


def imports(tree: ast.Module) -> frozenset[str]:
    """The top-level names of the modules that it imports, wherever it does so; relative imports apart."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return frozenset(name.partition(".")[0] for name in names)


def figures(source: bytes, tree: ast.Module, imported: frozenset[str]) -> FileFigures:
    """How long a module is, what it defines and what it imports."""
    lines = [line.strip() for line in source.splitlines()]
    kinds = Counter(type(node) for node in ast.walk(tree))
    return FileFigures(
        lines=len(lines),
        code=sum(1 for line in lines if line and not line.startswith(b"#")),
        functions=kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
        classes=kinds[ast.ClassDef],
        imports=imported,
    )


def package(name: str, modules: Iterable[FileFigures]) -> PackageFigures:
    """The figures of a package out of those of its modules."""
    found = list(modules)
    return PackageFigures(
        name=name,
        modules=len(found),
        lines=sum(one.lines for one in found),
        code=sum(one.code for one in found),
        functions=sum(one.functions for one in found),
        classes=sum(one.classes for one in found),
        imported=Counter(imported for one in found for imported in one.imports),
    )


def report(packages: Iterable[PackageFigures]) -> LibraryReport:
    """The figures of the whole library out of those of its packages."""
    found = list(packages)
    imported: Counter[str] = Counter()
    for one in found:
        imported.update(one.imported)
    by_size = sorted(((one.name, one.code) for one in found), key=_largest_first)
    return LibraryReport(
        packages=len(found),
        modules=sum(one.modules for one in found),
        lines=sum(one.lines for one in found),
        code=sum(one.code for one in found),
        functions=sum(one.functions for one in found),
        classes=sum(one.classes for one in found),
        most_imported=tuple(sorted(imported.items(), key=_largest_first)[:_SHOWN]),
        biggest_packages=tuple(by_size[:_SHOWN]),
    )


def _largest_first(item: tuple[str, int]) -> tuple[int, str]:
    name, count = item
    return -count, name
