"""What is said first of a task that is not right, where no known mistake explains it: its worst check's own words."""

from __future__ import annotations

import math
from collections.abc import Iterable

from grader.results import CheckResult

_RANKS = {"timed_out": 1, "crashed": 2, "failed": 2, "grader_error": 3, "skipped": 4, "passed": 5}


def worst_first(checks: Iterable[CheckResult]) -> list[CheckResult]:
    """Sort checks by how much they tell of what is wrong; equal ones stay in the order of the lab.

    First what is wrong after other calls only, for it makes all the rest doubtful; then what raised at a line of the
    student's, or took too long; then what differs, visible checks first and the largest difference first. Of hidden
    ones no measure is used: where they stand would tell it.
    """
    return sorted(checks, key=_rank)


def _rank(check: CheckResult) -> tuple[int, bool, float]:
    rank = 0 if check.keeps else 1 if check.outcome == "crashed" and check.frames else _RANKS[check.outcome]
    if rank > _RANKS["failed"]:
        return rank, False, 0.0
    measured = check.evidence.in_tolerances if check.evidence else None
    far = math.inf if measured is None else measured
    return rank, not check.visible, -far if check.visible else 0.0


def headline(check: CheckResult, filename: str, line: int | None) -> str:
    """Return the sentence of a check that did not pass: where, what was found, what fails.

    `line` is where the task's value comes from, for a check that differs; what keeps something is said with its line.
    """
    at = check.frames[-1].line if check.frames else line if check.outcome == "failed" and not check.keeps else None
    where = f"{filename}, line {at}: " if at else f"{filename}: "
    found = (check.message or "this does not hold").strip().split("\n")[0]
    if found.startswith(filename):
        where = ""
    return f"{where}{found}{'' if found.endswith(('.', '!', '?')) else '.'} What fails: {check.title}"
