"""The student's desk: the folder `.grade/`, which keeps the pages, each lab's last result, and the hints seen."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from grader.results import LabResult


def folder(name: str) -> Path:
    """Return `.grade/<name>/` (a lab, or `pages`) below the working directory, made on first use and ignored by git."""
    top = Path.cwd() / ".grade"
    top.mkdir(exist_ok=True)
    ignore = top / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    inner = top / name
    inner.mkdir(exist_ok=True)
    return inner


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with whole(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written piece by piece; it takes its place when all of it is there, or never."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        yield file
    part.replace(path)


def last_result(lab_id: str) -> LabResult | None:
    """Return the last result of a lab, or None where there is none that can be read."""
    path = Path.cwd() / ".grade" / lab_id / "result.json"
    try:
        return LabResult.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def next_hint(lab_id: str, task: str, count: int) -> int:
    """Return the number of the hint to show now, counting from 1, and remember it."""
    try:
        seen = json.loads((Path.cwd() / ".grade" / lab_id / "hints.json").read_text(encoding="utf-8"))
        shown = int(seen.get(task, 0))
    except (OSError, ValueError, AttributeError):
        seen, shown = {}, 0
    number = min(shown + 1, count)
    with contextlib.suppress(OSError):  # where nothing can be kept, a hint is shown all the same
        write(folder(lab_id) / "hints.json", json.dumps({**seen, task: number}))
    return number
