"""Rows made by hand, for what is done with them after grading."""

from typing import Any

from grader.cohort.records import Row
from grader.results import CheckResult, Outcome, Score, TaskResult


def check(name: str, task: str, earned: float, possible: float, outcome: Outcome, **more: Any) -> CheckResult:
    return CheckResult(
        id=f"lab01/{task}.{name}",
        task=task,
        title=more.pop("title", f"{name} holds."),
        outcome=outcome,
        earned=earned,
        possible=possible,
        visible=more.pop("visible", True),
        **more,
    )


def row(student: str = "s001", earned: float = 15, **more: Any) -> Row:
    """Two tasks of 12 and 8 points; the first has two checks."""
    first = min(earned, 12.0)
    return Row(
        lab="lab01",
        title="Toys",
        seed="7",
        submission=more.pop("submission", student),
        filename="lab01.py",
        score=Score(earned=earned, possible=20),
        final=more.pop("final", earned),
        student=student,
        digest="0123456789abcdef",
        tasks=[
            TaskResult(id="scale", title="Scale", function="scale", earned=first, possible=12, state="partly"),
            TaskResult(
                id="jitter", title="Jitter", function="jitter", earned=earned - first, possible=8, state="partly"
            ),
        ],
        checks=more.pop(
            "checks",
            [
                check("plain", "scale", min(first, 6), 6, "passed" if first >= 6 else "failed"),
                check("secret", "scale", max(0, first - 6), 6, "passed" if first >= 12 else "failed", visible=False),
                check("draws", "jitter", earned - first, 8, "passed" if earned == 20 else "failed"),
            ],
        ),
        **more,
    )
