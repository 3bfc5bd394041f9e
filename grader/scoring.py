"""From outcomes to points. Pure functions of plain data, without numpy: an unreadable file is judged at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise

from grader.course import Lab
from grader.results import CheckResult, LabResult, Outcome, Problem, Score, TaskResult, TaskState


def share_points(points: int, weights: Sequence[int]) -> list[float]:
    """Split a task's points over its checks by weight, each rounded to two digits; together they are the points."""
    # Rounding the running sum, not each share, keeps the total exact.
    cents = [round(Fraction(100 * points * so_far, sum(weights))) for so_far in accumulate(weights)]
    return [(after - before) / 100 for before, after in pairwise([0, *cents])]


def earned(checks: Iterable[CheckResult]) -> float:
    """Return the points that checks earned, rounded to two digits."""
    return round(sum(check.earned for check in checks), 2)


def total(parts: Iterable[tuple[float, float]]) -> Score:
    """Add up (earned, possible) pairs."""
    parts = list(parts)
    return Score(earned=round(sum(p[0] for p in parts), 2), possible=round(sum(p[1] for p in parts), 2))


def state(outcomes: Sequence[Outcome], earned: float) -> TaskState:
    """Return a task's state from its checks' outcomes and its points.

    `ungraded` (a fault of ours) outranks all: nothing may then be said of the student. A task is `not_started` when
    none of its checks was run, `partly` when it has points: a refusal that holds, and earns nothing alone, is no part.
    `crashed` when every check that did not pass crashed or ran out of time.
    """
    if "grader_error" in outcomes:
        return "ungraded"
    if all(outcome == "passed" for outcome in outcomes):
        return "passed"
    if all(outcome == "skipped" for outcome in outcomes):
        return "not_started"
    if earned:
        return "partly"
    if all(outcome in ("passed", "crashed", "timed_out", "skipped") for outcome in outcomes):
        return "crashed"
    return "not_yet"


def problem_result(lab: Lab, seed: str, filename: str, problem: Problem) -> LabResult:
    """Return the record of a submission that could not be read: nought points. `seed` is the seed's fingerprint."""
    possible = sum(task.points for task in lab.tasks)
    return LabResult(
        lab=lab.id,
        title=lab.manifest.title,
        course=lab.course,
        source=lab.source,
        edition=lab.edition,
        seed=seed,
        submission="",
        filename=filename,
        score=Score(earned=0, possible=possible),
        tasks=[
            TaskResult(
                id=t.id,
                title=t.title,
                function=" and ".join(t.functions),
                earned=0,
                possible=t.points,
                state="not_started",
            )
            for t in lab.tasks
        ],
        checks=[],
        problem=problem,
    )
