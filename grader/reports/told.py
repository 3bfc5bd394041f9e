"""What other people's formats say of a result, the same in each: points, the named mistake, one sentence, one line.

Of a hidden check they say its title and whether it holds, nothing else. The page and the record also show a student
which of Python's exceptions it met; what goes to other people's programs, and is kept there, does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grader.headline import headline, worst_first
from grader.reports import words
from grader.results import CheckResult, LabResult, TaskResult, for_student
from grader.text import clean_name

TRIED = ("partly", "not_yet", "crashed")


@dataclass(frozen=True)
class Graded:
    """A result, and where its file lies in the repository that was graded."""

    result: LabResult
    path: str

    @classmethod
    def of(cls, result: LabResult, path: str) -> Graded:
        """Return it as a student may see it."""
        return cls(for_student(result), clean_name(path))


@dataclass(frozen=True)
class Finding:
    """Something to do: a task that is not right, or a file that cannot be graded. `task` is None for the latter."""

    graded: Graded
    task: TaskResult | None
    says: str
    line: int | None

    @property
    def id(self) -> str:
        """`lab01/add_noise`, or `lab01`."""
        return f"{self.graded.result.lab}/{self.task.id}" if self.task else self.graded.result.lab

    @property
    def title(self) -> str:
        """One line above the sentence: what, and how many points of it are there."""
        if self.task is None:
            return f"{self.id}: not graded"
        score = f"{words.points(self.task.earned)}/{words.points(self.task.possible)}"
        names = named(self.task)
        return f"{self.id} {score}" + (f" behaves like {names}" if names else "")

    @property
    def is_named(self) -> bool:
        """Whether the sentence is a known mistake's, and so the course's."""
        return self.task is not None and bool(named(self.task))

    @property
    def ours(self) -> bool:
        """Whether the grader is to blame."""
        if self.task is None:
            return self.graded.result.problem is not None and self.graded.result.problem.kind == "grader_error"
        return self.task.state == "ungraded"


def findings(all_graded: Sequence[Graded]) -> list[Finding]:
    """Return what there is to do, what costs most first; what was not started is no finding."""
    found = []
    for graded in all_graded:
        problem = graded.result.problem
        if problem is not None:
            says = f"{words.PROBLEMS.get(problem.kind, words.STOPPED.get(problem.kind, 'Not graded'))}: "
            found.append(Finding(graded, None, says + problem.message.split("\n")[0], problem.line))
        for task in graded.result.tasks:
            if task.state in (*TRIED, "ungraded") and not words.unusable(graded.result):
                found.append(Finding(graded, task, sentence(graded.result, task), line(graded.result, task)))
    return sorted(found, key=lambda one: -(one.task.possible - one.task.earned) if one.task else float("-inf"))


def named(task: TaskResult) -> str:
    """Return the mistakes that a task behaves like: "a", "one of a; b together with c", or nothing."""
    likes = words.explanations(task.diagnosis) if task.diagnosis else []
    return likes[0] if len(likes) == 1 else f"one of {'; '.join(likes)}" if likes else ""


def sentence(result: LabResult, task: TaskResult) -> str:
    """Return what is said of a task: its known mistake's sentence, else its worst visible check's."""
    if task.state == "passed":
        return ""
    if task.state == "ungraded":
        return words.OUR_FAULT
    open_checks = [check for check in worst_first(_of(result, task)) if check.outcome not in ("passed", "grader_error")]
    visible = next((check for check in open_checks if check.visible), None)
    if task.state == "not_started":
        return visible.message or "It is not written yet." if visible else "It is not written yet."
    if task.diagnosis is not None and task.diagnosis.misconceptions:
        return task.diagnosis.says
    if visible is not None:
        said = task.diagnosis.says if task.diagnosis else ""
        # Made from this check it knows the line of the value; from a hidden one it is not for here.
        return said if said.endswith(visible.title) else headline(visible, result.filename, task.line)
    titles = words.joined([check.title for check in open_checks[:2]])
    more = f" And {len(open_checks) - 2} more." if len(open_checks) > 2 else ""
    return f"What visible checks ask for holds; hidden checks do not pass: {titles}{more}"


def line(result: LabResult, task: TaskResult) -> int | None:
    """Return the student's line that a task's sentence is about: where a visible check raised, else the definition."""
    for check in worst_first(_of(result, task)):
        if check.visible and check.outcome in ("failed", "crashed", "timed_out") and check.frames:
            return check.frames[-1].line
    return task.line


def message(check: CheckResult) -> str:
    """Return what is said of a check that does not pass; of a hidden one nothing that was found."""
    if check.outcome == "grader_error":
        return words.OUR_FAULT
    if not check.visible:
        return ""
    return check.message or ("It took too long." if check.outcome == "timed_out" else "")


def name(check: CheckResult) -> str:
    """Return what a check is called: its id, which students quote, and its title."""
    return f"{check.id} {check.title}" + ("" if check.visible else " (hidden)")


def _of(result: LabResult, task: TaskResult) -> list[CheckResult]:
    return [check for check in result.checks if check.task == task.id]
