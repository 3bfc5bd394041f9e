"""Why an official result is not a student's own: the sentences that pages carry, and two records compared."""

from __future__ import annotations

from collections.abc import Iterator

from grader.results import CheckResult, LabResult, TaskResult

LOCAL = (
    "This is the student edition: it has the visible checks alone. The marks that count come from more checks of the "
    "same tasks, so full marks here need not be full marks there."
)
HIDDEN_ONLY = (
    "On your own machine this task passes: the student edition has the visible checks alone, and only hidden ones fail."
)


def fails_hidden_only(checks: list[CheckResult]) -> bool:
    """Tell whether all visible checks of a task pass, and there are some, while a hidden one does not."""
    visible = [check.outcome == "passed" for check in checks if check.visible]
    hidden = [check.outcome in ("failed", "crashed", "timed_out") for check in checks if not check.visible]
    return bool(visible) and all(visible) and any(hidden)


def differences(mine: LabResult, official: LabResult) -> Iterator[str]:
    """Yield a sentence for each reason why the points of two records of a lab differ; none where they do not."""
    before = {task.id: task for task in mine.tasks}
    moved = [task for task in official.tasks if task.id in before and before[task.id].earned != task.earned]
    other_tasks = {task.id for task in official.tasks} ^ before.keys()
    if not moved and not other_tasks and mine.problem == official.problem:
        return
    if mine.submission != official.submission:
        yield "Another file was graded: its digest is not that of the file that you graded last."
    if mine.source and official.source and mine.source != official.source:
        yield (
            "Your edition is of another state of this lab than the official one: `grade update` brings the newer "
            "edition, which your course hands out."
        )
    if official.problem != mine.problem and official.problem is not None:
        yield f"The official run ended early: {official.problem.message}"
    for task in moved:
        yield from _task(before[task.id], task, mine, official)
    if mine.environment and official.environment and mine.environment.libraries != official.environment.libraries:
        yield "The libraries are of other versions there, which moves results only within the tolerances, as a rule."


def _task(before: TaskResult, after: TaskResult, mine: LabResult, official: LabResult) -> Iterator[str]:
    checks = [check for check in official.checks if check.task == after.id]
    own = {check.id: check.outcome for check in mine.checks}
    score = f"{after.id}: {before.earned:g} of {before.possible:g} here, {after.earned:g} of {after.possible:g} there"
    other = [check.id.rpartition(".")[2] for check in checks if own.get(check.id, check.outcome) != check.outcome]
    hidden = sum(check.outcome in ("failed", "crashed", "timed_out") for check in checks if not check.visible)
    if other:
        yield f"{score}. Visible checks came out otherwise: {', '.join(other)}."
    elif hidden:
        passing = "does" if hidden == 1 else "do"
        yield f"{score}. Hidden checks hold other inputs, and {hidden} of them {passing} not pass."
    else:
        yield f"{score}. With the hidden checks, which pass, the visible ones weigh less."
