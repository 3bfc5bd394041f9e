"""Which modules of the engine a student edition holds: what its commands import, and no more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from grader.digests import JUDGING
from grader.root import PACKAGE

# Modules of cli/ whose commands students type, or their repositories run. An edition says that it has no other.
STUDENTS = ("student", "update", "ci")


def engine_files() -> list[Path]:
    """Return the files of the package that a student edition holds: all that judges, and what students type."""
    waiting = [path for part in JUDGING for path in _files(part)]
    waiting += [PACKAGE / "cli" / f"{module}.py" for module in ("__init__", *STUDENTS)]
    kept: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in kept:
            continue
        kept.add(path)
        waiting += _imported(path)
    return sorted(kept)


def _files(part: str) -> list[Path]:
    folder = PACKAGE / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def _imported(path: Path) -> Iterator[Path]:
    """Yield the package's files that a module imports, wherever in its text, but for type checkers alone."""
    for name in _names(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")
        if parts[0] == PACKAGE.name:
            for end in range(1, len(parts) + 1):
                place = PACKAGE.joinpath(*parts[1:end])
                yield from (one for one in (place / "__init__.py", place.with_suffix(".py")) if one.is_file())


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        for inner in ast.iter_child_nodes(node):
            yield from _names(inner)
