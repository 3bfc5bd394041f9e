"""The words and numbers that all reports share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from grader.headline import worst_first
from grader.results import CheckResult, Diagnosis, Environment, LabResult, TaskResult
from grader.text import clean_line

STATES = {
    "passed": "Passed",
    "partly": "Partly",
    "not_yet": "Not yet",
    "crashed": "Broke off",
    "not_started": "Not started",
    "ungraded": "Not graded",
}

OUTCOMES = {
    "passed": "Passed",
    "failed": "Not yet",
    "crashed": "Crashed",
    "timed_out": "Timed out",
    "skipped": "Not run",
    "grader_error": "Our error",
}

PROBLEMS = {
    "missing": "The file is missing",
    "notebook": "A notebook, no Python file",
    "several": "Several files could be the submission",
    "symlink": "The file is a link",
    "unreadable": "The file cannot be read",
    "not_a_file": "This is no file",
    "bad_archive": "The archive cannot be opened",
    "unsafe_archive": "The archive is not safe to open",
    "too_large": "The file is too large",
    "empty": "The file is empty",
    "not_text": "The file is no readable text",
    "syntax_error": "The file is not valid Python",
    "too_nested": "The file is nested too deeply",
    "import_error": "The file cannot be imported",
    "import_crashed": "The file crashes when it is imported",
    "import_timed_out": "The file takes too long to import",
}

# Problems that are none of the file's: what was graded before stands.
STOPPED = {
    "interrupted": "Interrupted before the end",
    "grader_error": "The grader stopped, by a fault of ours",
}

OUR_FAULT = (
    "Our fault, not yours: the grader itself stopped here. It costs you no point. "
    "Tell your instructor, and quote the id of the check."
)


def shorten(text: str, most: int) -> str:
    """Cut `text` after `most` characters, and say so."""
    return text if len(text) <= most else f"{text[:most].rstrip()} … ({len(text) - most:,} characters more)"


def cap(text: str, most_bytes: int = 8_000, most_lines: int = 200) -> str:
    """Return the beginning of a long output, and how many lines are left out."""
    lines = text.rstrip("\n").split("\n")
    kept: list[str] = []
    room = most_bytes
    for line in lines[:most_lines]:
        size = len(line.encode("utf-8", "replace")) + 1
        if size > room:
            if not kept:
                kept.append(line.encode("utf-8", "replace")[:room].decode("utf-8", "ignore") + " …")
            break
        kept.append(line)
        room -= size
    more = len(lines) - len(kept)
    return "\n".join(kept) + (f"\n… {more:,} lines more" if more > 1 else "\n… 1 line more" if more else "")


def count(number: int, noun: str) -> str:
    """Write "1 line" or "1,312 lines"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def points(value: float) -> str:
    """Write points without needless digits: 5, 2.5, 1.67."""
    return f"{round(value, 2):.2f}".rstrip("0").rstrip(".")


def number(value: float) -> str:
    """Write a measured number with three digits."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def joined(parts: Sequence[str], last: str = "and") -> str:
    """Write "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}" if parts else ""


def when(graded_at: str) -> str:
    """Write a time of the record for people; what is no time stays as it is."""
    try:
        time = datetime.fromisoformat(graded_at)
    except ValueError:
        return graded_at
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    zone = time.strftime("%Z") or "local time"
    return f"{time.day} {months[time.month - 1]} {time.year}, {time:%H:%M} {zone}"


def checks_of(result: LabResult, task: TaskResult) -> list[CheckResult]:
    """Return the task's checks: the worst first, else in the order of the lab."""
    return worst_first(check for check in result.checks if check.task == task.id)


def where(check: CheckResult) -> str | None:
    """Return the path of the difference in the answer, such as ['mean'], unless the message says it already."""
    found = check.evidence.where if check.evidence else None
    return found if found and found.startswith("[") and found not in (check.message or "") else None


def why_not_started(result: LabResult, task: TaskResult) -> str:
    """Return why a task was not run, where a check says so."""
    return next((clean_line(check.message) for check in checks_of(result, task) if check.message), "")


def explanations(diagnosis: Diagnosis) -> list[str]:
    """Return each explanation as text: "one_mistake", or "one_mistake together with another"."""
    return [" together with ".join(clean_line(id) for id in ids) for ids in diagnosis.misconceptions]


def next_task(result: LabResult) -> TaskResult | None:
    """Return the task to fix first.

    What was tried and does not pass comes before what was not started. Among the tried ones the most points to gain
    decide; an untried lab is begun at its beginning, since later tasks build on earlier ones.
    """
    tried = [task for task in result.tasks if task.state in ("partly", "not_yet", "crashed")]
    if tried:
        return max(tried, key=lambda task: task.possible - task.earned)
    return next((task for task in result.tasks if task.state == "not_started"), None)


def full_marks(result: LabResult) -> bool:
    """Say whether every task was graded and passed."""
    return result.problem is None and bool(result.tasks) and all(task.state == "passed" for task in result.tasks)


def isolation(environment: Environment | None) -> tuple[str, str] | None:
    """Return headline and detail where the code was not fully isolated, None where it was or nothing is recorded."""
    if environment is None or environment.isolation == "full":
        return None
    reasons: dict[str, list[str]] = {}
    for layer, state in sorted(environment.sandbox.items()):
        if state is not True:
            reasons.setdefault(clean_line(state) if state else "", []).append(clean_line(layer))
    off = [joined(layers) + (f" ({reason})" if reason else "") for reason, layers in reasons.items()]
    missing = f"Off: {'; '.join(off)}. " if off else ""
    if environment.isolation == "none":
        return (
            "No isolation",
            f"The code ran with all rights of the user who graded it. {missing}The checks and the points are the same.",
        )
    return "Partly isolated", f"{missing}The checks and the points are the same."


def unusable(result: LabResult) -> bool:
    """Say whether nothing of the file could be graded, so that the student has to repair it first."""
    return result.problem is not None and result.problem.kind not in STOPPED


def summary(result: LabResult) -> str:
    """Write how many tasks are in which state: "3 passed, 1 partly"."""
    states = [task.state for task in result.tasks]
    return ", ".join(f"{states.count(state)} {word.lower()}" for state, word in STATES.items() if state in states)
