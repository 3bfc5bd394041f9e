"""The student's desk: the folder `.grade/`, which keeps the pages, each lab's last result, and the hints seen."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from grader import outputs
from grader.errors import SubmissionError
from grader.results import LabResult
from grader.submission import open_plain

MAX_RESULT = 8 << 20  # what lies there may be anybody's


def folder(name: str) -> Path:
    """Return `.grade/<name>/` (a lab, or `pages`) below the working directory, made on first use and ignored by git."""
    top = outputs.folder(Path.cwd() / ".grade")
    with contextlib.suppress(FileExistsError):
        outputs.create(top / ".gitignore", "*\n")
    return outputs.folder(top / name)


def last_result(lab_id: str) -> LabResult | None:
    """Return the last result of a lab, or None where there is none that can be read."""
    return read_result(Path.cwd() / ".grade" / lab_id / "result.json")


def read_result(path: Path) -> LabResult | None:
    """Return a result that was written to a file, or None where there is none that can be read."""
    try:
        return LabResult.model_validate_json(_read(path))
    except (SubmissionError, ValueError):
        return None


def _read(path: Path) -> bytes:
    with open_plain(path) as file:
        return file.read(MAX_RESULT)


def next_hint(lab_id: str, task: str, count: int) -> int:
    """Return the number of the hint to show now, counting from 1, and remember it."""
    try:
        seen = json.loads(_read(Path.cwd() / ".grade" / lab_id / "hints.json"))
        shown = int(seen.get(task, 0))
    except (SubmissionError, ValueError, AttributeError, TypeError, RecursionError):
        seen, shown = {}, 0
    number = max(1, min(shown + 1, count))
    with contextlib.suppress(OSError):  # where nothing can be kept, a hint is shown all the same
        outputs.write(folder(lab_id) / "hints.json", json.dumps({**seen, task: number}))
    return number
