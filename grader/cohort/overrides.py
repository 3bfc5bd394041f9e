"""Scores that a person changed, read from a reviewed file, and always shown as such."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from datetime import date
from pathlib import Path

from pydantic import Field

from grader.cohort import late
from grader.cohort.late import LatePolicy
from grader.cohort.records import Adjustment, Row
from grader.errors import UsageError
from grader.manifest import Manifest, Sentence, read


class Override(Manifest):
    """One decision: whose, what, how many points instead, and who answers for it."""

    student: str = Field(description="Pseudonym.")
    item: str | None = Field(default=None, description="A check's id or a task's; left out: the whole score.")
    points: float = Field(ge=0)
    why: Sentence
    by: str = Field(min_length=1)
    date: date


class Adjustments(Manifest):
    """The reviewed file: a late policy, and decisions about single students."""

    late: LatePolicy | None = None
    override: list[Override] = Field(default=[], description="In the order in which they were decided.")


def read_adjustments(path: Path) -> Adjustments:
    """Read the reviewed TOML file; CourseError names the key that is wrong."""
    return read(path, Adjustments)


def check_students(adjustments: Adjustments, students: Collection[str]) -> None:
    """Raise UsageError where a decision fits nobody; to be asked before anything is graded."""
    for override in adjustments.override:
        if override.student not in students:
            raise UsageError(f"an override names {override.student!r}; {_meant(override.student, students)}")


def adjust(row: Row, adjustments: Adjustments) -> Row:
    """Return `row` with what people decided, then with the late policy on what is left; `score` stays as graded.

    UsageError where a decision names no check or task, or where two decide the same points.
    """
    for override in adjustments.override:
        if override.student == row.student:
            row = _overridden(row, override)
    return row if adjustments.late is None else late.apply(row, adjustments.late)


def _overridden(row: Row, override: Override) -> Row:
    checks = {check.id: check for check in row.checks}
    tasks = {task.id: task for task in row.tasks}
    item = override.item
    for done in row.adjustments:
        one, other = (checks[i].task if i in checks else i for i in (item, done.item))
        same_task = one == other and (item == done.item or item in tasks or done.item in tasks)
        if item is None or done.item is None or same_task:
            both = " and ".join(name or "the whole score" for name in (done.item, item))
            raise UsageError(f"two overrides decide the same points of {row.student}: {both}.")
    if item is None:
        before, possible = row.final, row.score.possible
    elif item in checks:
        before, possible = checks[item].earned, checks[item].possible
    elif item in tasks:
        before, possible = tasks[item].earned, tasks[item].possible
    else:
        raise UsageError(f"an override of {row.student} names {item!r}; {_meant(item, [*checks, *tasks])}")
    if override.points > possible and possible > 0:
        raise UsageError(
            f"an override gives {row.student} {override.points:g} points for {item or 'the lab'}, worth {possible:g}."
        )
    made = Adjustment(
        by="staff",
        item=item,
        before=before,
        after=override.points,
        why=f"{override.why} ({override.by}, {override.date.isoformat()})",
    )
    final = round(row.final + override.points - before, 2)
    return row.model_copy(update={"final": final, "adjustments": [*row.adjustments, made]})


def _meant(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), 1)
    return f"did you mean {near[0]!r}?" if near else "there is nothing of that name."
