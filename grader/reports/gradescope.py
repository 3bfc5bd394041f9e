"""Gradescope's results.json: a test a check, and the score that counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grader.reports import told
from grader.reports.inert import inert
from grader.reports.told import Graded


def results(all_graded: Sequence[Graded], final: float | None = None, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the file as plain data; `final` and `notes` are what staff or a late policy made of the score."""
    problems = [graded.result.problem.message for graded in all_graded if graded.result.problem]
    earned = round(sum(graded.result.score.earned for graded in all_graded), 2)
    return {
        "score": earned if final is None else final,
        "output": "\n".join(inert(text, 2_000) for text in [*problems, *notes]),
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "stdout_visibility": "hidden",
        "tests": [
            {
                "name": inert(check.title) + ("" if check.visible else " (hidden)"),
                "number": inert(check.id),
                "score": check.earned,
                "max_score": check.possible,
                "status": "passed" if check.outcome == "passed" else "failed",
                "output": inert(told.message(check)),
                "visibility": "visible",
                "tags": [inert(check.task)],
            }
            for graded in all_graded
            for check in graded.result.checks
        ],
        "extra_data": {
            "labs": [
                {
                    "lab": graded.result.lab,
                    "submission": inert(graded.result.submission),
                    "graded": graded.result.score.earned,
                    "tasks": [_task(graded, task.id) for task in graded.result.tasks],
                }
                for graded in all_graded
            ]
        },
    }


def _task(graded: Graded, id: str) -> dict[str, Any]:
    task = next(task for task in graded.result.tasks if task.id == id)
    return {
        "task": inert(id),
        "earned": task.earned,
        "possible": task.possible,
        "behaves_like": inert(told.named(task)),
    }
