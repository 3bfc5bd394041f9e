"""`grade audit`: the proof that a lab's checks accept right code and reject wrong code, and name it.

Everything goes through `grading.assess`, as a student's file would: the reference must earn everything, the starter nothing, every
misconception must lose points in its task and be named alone, every equivalent must pass with half the tolerance to spare.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence

from pydantic import BaseModel, Field

from grader.checking.session import Bench
from grader.course import Course, Lab, apply_edits, definition_span
from grader.errors import CourseError
from grader.grading import Job, assess, open_bench
from grader.manifest import Edit, Task
from grader.reports.page import anchors
from grader.results import LabResult
from grader.submission import parse

EQUIVALENT_LIMIT = 0.5  # an honest rewrite may use half the tolerance
MISCONCEPTION_MARGIN = 5.0  # a real-valued mistake misses by this many tolerances


class Trial(BaseModel):
    """One edited reference, graded."""

    kind: str = Field(description="reference, starter, misconception, equivalent or pair")
    task: str | None = None
    ids: list[str] = []
    earned: float
    possible: float
    rejected_by: list[str] = Field(default=[], description="Checks that did not pass.")
    named: list[list[str]] = Field(default=[], description="What the diagnosis named.")
    distance: float | None = Field(default=None, description="Largest distance in tolerances; null: structural.")
    fault: str | None = Field(default=None, description="Why this trial breaks a promise; null: it holds.")


class PairCounts(BaseModel):
    """How two mistakes at once were diagnosed."""

    exact: int = 0
    one_of: int = Field(default=0, description="Named together with others that answer the same.")
    subset: int = Field(default=0, description="One of the two was named: it hides the other.")
    unnamed: int = 0
    wrong: int = Field(default=0, description="Something else was named.")
    passed: int = Field(default=0, description="The two cancelled: full marks.")


class LabAudit(BaseModel):
    """The audit of one lab; clean when `faults` is empty."""

    lab: str
    title: str
    checks: int
    misconceptions: int
    equivalents: int
    trials: list[Trial]
    pairs: PairCounts | None
    faults: list[str]


def audit(course: Course, lab: Lab, *, quick: bool, progress: Callable[[str], None]) -> LabAudit:
    """Audit one lab; `quick` leaves out the pairs."""
    if lab.is_student_edition:
        raise CourseError(f"{lab.id} is a student edition: it holds no reference to audit against.")
    faults = list(_written_faults(lab))
    trials: list[Trial] = []
    pairs = None if quick else PairCounts()
    with open_bench(lab, course.manifest.seed) as bench:
        progress("reference and starter")
        result, reference = _trial(bench, "reference", lab.reference)
        trials.append(reference)
        trials.append(_trial(bench, "starter", lab.starter)[1])
        for edit in lab.misconceptions:
            progress(f"misconception {edit.task}/{edit.id}")
            trials.append(_trial(bench, "misconception", _edited(lab, [edit]), edit.task, [edit.id])[1])
        for equivalent in lab.equivalents:
            progress(f"equivalent {equivalent.task}/{equivalent.id}")
            source = _edited(lab, [equivalent])
            trials.append(_trial(bench, "equivalent", source, equivalent.task, [equivalent.id])[1])
        if pairs is not None:
            trials += _pair_trials(bench, lab, pairs, progress)
    faults += [f"{' + '.join(t.ids) or t.kind}: {t.fault}" for t in trials if t.fault]
    faults += _idle_checks(result, trials)
    return LabAudit(
        lab=lab.id,
        title=lab.manifest.title,
        checks=len(result.checks),
        misconceptions=len(lab.misconceptions),
        equivalents=len(lab.equivalents),
        trials=trials,
        pairs=pairs,
        faults=faults,
    )


def _edited(lab: Lab, edits: Sequence[Edit]) -> str:
    source = apply_edits(lab.reference, edits, lab.manifest.reference)
    if source is None:
        raise CourseError(f"{lab.id}: the places that {edits[0].task}/{edits[0].id} replaces overlap each other.")
    return source


def _trial(
    bench: Bench, kind: str, source: str, task: str | None = None, ids: Sequence[str] = ()
) -> tuple[LabResult, Trial]:
    submission = parse(source.encode(), f"{bench.lab.id}.py")
    result, seen = assess(Job(bench.lab, submission), bench)
    if result.problem and result.problem.kind == "grader_error":
        raise CourseError(f"{bench.lab.id}, grading {kind} {' + '.join(ids)}: {result.problem.message}")
    rejected = [check for check in result.checks if check.outcome != "passed"]
    tasks = [t for t in result.tasks if task is None or t.id == task]
    distances = list(seen.distances.values())
    distance = max(distances, default=0.0)
    trial = Trial(
        kind=kind,
        task=task,
        ids=list(ids),
        earned=result.score.earned,
        possible=result.score.possible,
        rejected_by=[check.id for check in rejected],
        named=[names for t in tasks if t.diagnosis for names in t.diagnosis.misconceptions],
        distance=round(distance, 3) if math.isfinite(distance) else None,
    )
    trial.fault = _fault(trial, result)
    return result, trial


def _fault(trial: Trial, result: LabResult) -> str | None:
    """Return the promise that a trial breaks, as a sentence, or None."""
    unstable = [check.id for check in result.checks if check.unstable]
    if unstable:
        return f"the verdict of {', '.join(unstable)} changed when it was run again"
    if trial.kind == "reference" and trial.rejected_by:
        first = next(check for check in result.checks if check.outcome != "passed")
        return f"the reference does not pass {first.id}: {first.message}"
    if trial.kind == "starter" and trial.earned:
        return f"the starter earns {trial.earned:g} points"
    if trial.kind == "equivalent":
        if trial.rejected_by:
            first = next(check for check in result.checks if check.outcome != "passed")
            return f"right code in another form fails {first.id}: {first.message}"
        if trial.distance is None or trial.distance > EQUIVALENT_LIMIT:
            return f"passes with {trial.distance:.2g} of the tolerance; at most {EQUIVALENT_LIMIT} was expected"
    if trial.kind == "misconception":
        if not trial.rejected_by:
            return "no check rejects it"
        strayed = [name for name in trial.rejected_by if not name.startswith(f"{result.lab}/{trial.task}.")]
        if strayed:
            return f"loses points in another task: {', '.join(strayed)}"
        if trial.named != [trial.ids]:
            said = " or ".join("+".join(names) for names in trial.named) or "nothing"
            return f"the diagnosis names {said}"
        if trial.distance is not None and 1.0 < trial.distance < MISCONCEPTION_MARGIN:
            return f"misses by only {trial.distance:.2g} tolerances; at least {MISCONCEPTION_MARGIN:g} were expected"
    return None


def _pair_trials(bench: Bench, lab: Lab, counts: PairCounts, progress: Callable[[str], None]) -> Iterator[Trial]:
    for first, second in itertools.combinations(lab.misconceptions, 2):
        if first.task != second.task:
            continue
        source = apply_edits(lab.reference, [first, second], lab.manifest.reference)
        if source is None:
            continue  # they edit the same place: nobody can make both mistakes
        progress(f"pair {first.task}/{first.id}+{second.id}")
        ids = [first.id, second.id]
        _, trial = _trial(bench, "pair", source, first.task, ids)
        if not trial.rejected_by:
            counts.passed += 1
            trial.fault = "two mistakes at once earn full marks"
        elif trial.named == [ids]:
            counts.exact += 1
        elif ids in trial.named:
            counts.one_of += 1
        elif not trial.named:
            counts.unnamed += 1
        elif all(set(names) < set(ids) for names in trial.named):
            counts.subset += 1
        else:
            # Another explanation that answers the same on every call is true, but it is not what was done.
            counts.wrong += 1
        yield trial


def _idle_checks(result: LabResult, trials: Sequence[Trial]) -> list[str]:
    """Return a fault for each check that rejects no misconception: nothing proves that it can fail."""
    proved = {name for t in trials if t.kind == "misconception" for name in t.rejected_by}
    return [f"{check.id}: rejects no misconception" for check in result.checks if check.id not in proved]


def _written_faults(lab: Lab) -> Iterator[str]:
    """Yield what can be seen without running: signatures, hints, anchors, numbers in sentences, unique ids."""
    seen: set[tuple[str, str]] = set()
    on_page = set(anchors(lab.page))
    known = {task.id for task in lab.tasks}
    edits: list[Edit] = [*lab.misconceptions, *lab.equivalents]
    for edit in edits:
        if edit.task not in known:
            yield f"{edit.task}/{edit.id}: lab.toml lists no task {edit.task}"
        if (edit.task, edit.id) in seen:
            yield f"{edit.task}/{edit.id}: this id stands twice"
        seen.add((edit.task, edit.id))
    for mistake in lab.misconceptions:
        if mistake.see and mistake.see not in on_page:
            yield f"{mistake.task}/{mistake.id}: page.md has no heading for #{mistake.see}"
    for task in lab.tasks:
        yield from _task_faults(lab, task, on_page)


def _task_faults(lab: Lab, task: Task, on_page: set[str]) -> Iterator[str]:
    if task.see and task.see not in on_page:
        yield f"{task.id}: page.md has no heading for #{task.see}"
    if not lab.hints.get(task.id):
        yield f"{task.id}: hints.toml has no hints for it"
    if not any(m.task == task.id for m in lab.misconceptions):
        yield f"{task.id}: misconceptions.toml knows no mistake for it"
    if not any(e.task == task.id for e in lab.equivalents):
        yield f"{task.id}: equivalents.toml holds no other right form, so nothing justifies its tolerance"
    starter, reference = (
        _signature(source, task.id, where)
        for source, where in ((lab.starter, "starter.py"), (lab.reference, lab.manifest.reference))
    )
    if starter != reference:
        yield f"{task.id}: starter.py has {starter}, the reference {reference}"


def _signature(source: str, name: str, where: str) -> str:
    """Return a function's parameters, or a class's public methods with theirs, as text."""
    start, end = definition_span(source, name, where)
    node = ast.parse(source[start:end]).body[0]
    if isinstance(node, ast.FunctionDef):
        return f"{name}({ast.unparse(node.args)})"
    methods = [m for m in ast.walk(node) if isinstance(m, ast.FunctionDef) and not re.match(r"_(?!_init__)", m.name)]
    return f"{name}: " + ", ".join(f"{m.name}({ast.unparse(m.args)})" for m in methods)
