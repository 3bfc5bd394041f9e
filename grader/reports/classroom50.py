"""Classroom 50's result.json (`classroom50/result/v1`): a row a task, in whole points, and what the release says.

Points are whole numbers there. The rule: a task's points are rounded down, so a row is full only where the task is
right, and the score is the sum of the rows. What was earned exactly stands in each row as `exact`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from grader.errors import UsageError
from grader.reports import told, words
from grader.reports.github import summary
from grader.reports.inert import inert
from grader.reports.told import Graded
from grader.results import LabResult, TaskResult

SCHEMA = "classroom50/result/v1"
MOST_BYTES = 10 << 20

# key -> the runner's variable
_REQUIRED = {
    "classroom": "CLASSROOM",
    "assignment": "ASSIGNMENT",
    "submission": "SUBMISSION_TAG",
    "commit": "COMMIT_URL",
    "release": "RELEASE_URL",
}
RULE = (
    "Points are rounded down to whole ones for each task, as Classroom 50 takes them; `exact` has what was earned. "
    "The mark that counts is your instructor's."
)


def result(all_graded: Sequence[Graded], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the file as plain data; `environ` is what the runner sets."""
    lost = [variable for variable in _REQUIRED.values() if not environ.get(variable)]
    if lost:
        raise UsageError(
            f"classroom50 is written where Classroom 50's runner has set {', '.join(_REQUIRED.values())};"
            f" {lost[0]} is not set here."
        )
    rows = [row for graded in all_graded for row in _rows(graded.result)]
    found: dict[str, Any] = {"schema": SCHEMA}
    found |= {key: environ[variable] for key, variable in _REQUIRED.items()}
    found["review"] = environ.get("REVIEW_URL") or environ["COMMIT_URL"]
    # The runner stamps these itself; with them the file is whole before it does.
    if owner := environ.get("OWNER") or environ.get("USERNAME"):
        found["owner"] = owner
    if kind := environ.get("ASSIGNMENT_TYPE"):
        found["assignment_type"] = kind
    graded_at = _instant(all_graded)
    found["datetime"] = environ.get("SUBMITTED_AT") or graded_at
    found["graded_at"] = graded_at
    found["score"] = sum(row["score"] for row in rows)
    found["max-score"] = sum(row["max-score"] for row in rows)
    found["tests"] = rows
    return found


def release_body(all_graded: Sequence[Graded]) -> str:
    """Return what the release says: the summary, and how its points come to be whole."""
    return f"{summary(all_graded)}\n{RULE}\n"


def _rows(result: LabResult) -> list[dict[str, Any]]:
    if words.unusable(result) or not result.tasks:
        problem = told.findings([Graded(result, result.filename)])
        says = inert(problem[0].says) if problem else "Nothing was graded."
        possible = math.floor(result.score.possible)
        return [
            {
                "test-name": f"{inert(result.lab)}: not graded",
                "passed": False,
                "score": 0,
                "max-score": possible,
                "exact": 0.0,
                "says": says,
            }
        ]
    return [_row(result, task) for task in result.tasks]


def _row(result: LabResult, task: TaskResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "test-name": inert(f"{result.lab}/{task.id} {task.title}"),
        "passed": task.state == "passed",
        "score": math.floor(task.earned),
        # A fault of ours takes a part of the points out of the task; what is left may be no whole number.
        "max-score": math.floor(task.possible),
        "exact": task.earned,
    }
    if task.state != "passed":
        row |= {"behaves-like": inert(told.named(task)), "says": inert(told.sentence(result, task))}
    return row


def _instant(all_graded: Sequence[Graded]) -> str:
    times = [one.result.environment.graded_at for one in all_graded if one.result.environment]
    at = datetime.fromisoformat(times[0]) if times else datetime.now(UTC)
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
