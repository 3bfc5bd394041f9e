"""The one door: `grade(job, bench) -> LabResult`. A student's run, the cohort, CI and the audit all come in here.

The whole story: run the checks on the submission, ask what the mistakes look like, add up the points, write the record.
"""

from __future__ import annotations

import contextlib
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from grader import __version__
from grader.checking import diagnosis, drawing
from grader.checking.sentences import error_sentence
from grader.checking.session import Bench, Examination, examine
from grader.course import Lab
from grader.headline import headline, worst_first
from grader.manifest import Task
from grader.results import (
    CheckResult,
    Diagnosis,
    Environment,
    LabResult,
    Problem,
    TaskResult,
)
from grader.sandbox.launcher import Sandbox
from grader.scoring import earned, share_points, state, total
from grader.seeds import fingerprint
from grader.submission import Definition, Submission
from grader.trim import trim, with_pictures

EARNS_LATER = "This holds, and earns its points as soon as one check of this task that compares values passes."
EARNS_WITH = (
    "This holds, and earns its points as soon as the checks of this task pass that the kernel holds to their memory."
)


@dataclass(frozen=True)
class Job:
    """One submission for one lab; no name: grading is blind."""

    lab: Lab
    submission: Submission
    tasks: Sequence[str] | None = None  # None: all


@contextlib.contextmanager
def open_bench(
    lab: Lab,
    course_seed: str,
    sandbox: Sandbox | None = None,
    trusted_cpu_s: float | None = None,
    require_sandbox: bool = False,
) -> Iterator[Bench]:
    """Open a bench for `lab` on `sandbox`, or on one of its own; close what it opened. Rest as for `Bench`.

    `require_sandbox`: a sandbox of its own refuses to run anything when a layer is missing.
    """
    own = None
    if sandbox is None:
        sandbox = own = Sandbox(
            lab.manifest.libraries,
            start_method="fork" if sys.platform == "linux" else "spawn",
            require=require_sandbox,
            meta_device=lab.manifest.uses_meta_device,
        )
    try:
        bench = Bench(lab, sandbox, course_seed, trusted_cpu_s)
        try:
            yield bench
        finally:
            bench.close()
    finally:
        if own is not None:
            own.close()


def grade(job: Job, bench: Bench) -> LabResult:
    """Grade one submission on an open bench."""
    return assess(job, bench)[0]


def assess(job: Job, bench: Bench, *, diagnose: bool = True) -> tuple[LabResult, Examination]:
    """Grade, and return beside the record the calls and distances it rests on: for the audit and for `repro`."""
    started = time.monotonic()
    durations: dict[str, float] = {}
    with _timed(durations, "checks"):
        seen = examine(bench, job.submission, job.tasks)
    tasks, checks = [], []
    with _timed(durations, "diagnosis"):
        for task in job.lab.tasks:
            if job.tasks is None or task.id in job.tasks:
                task_checks = _check_results(task, seen)
                checks += task_checks
                tasks.append(_task_result(task, task_checks, seen, job, bench, diagnose))
    durations["total"] = round(time.monotonic() - started, 3)
    durations |= {f"task {name}": round(seconds, 3) for name, seconds in seen.spent.items()}
    result = LabResult(
        lab=job.lab.id,
        title=job.lab.manifest.title,
        course=job.lab.course,
        source=job.lab.source,
        edition=job.lab.edition,
        seed=fingerprint(bench.course_seed),
        submission=job.submission.digest,
        filename=job.submission.filename,
        score=total((t.earned, t.possible) for t in tasks),
        tasks=tasks,
        checks=checks,
        problem=_problem(seen, bench),
        environment=_environment(bench, durations, seen),
    )
    return trim(result), seen


@contextlib.contextmanager
def open_figure_bench(bench: Bench) -> Iterator[Bench]:
    """Yield where the lab's figures are drawn: `bench`, or one of their own where their scenarios import more.

    Graded code never gets those libraries: they hold answers. A picture earns nothing. The second sandbox starts in the
    background and stands back until `illustrate` wants it, so open it before there is something to draw.
    """
    wanted = bench.lab.manifest.figure_libraries
    if wanted is None or wanted == bench.lab.manifest.libraries:
        yield bench
        return
    sandbox = bench.sandbox.sibling(wanted)
    try:
        other = Bench(bench.lab, sandbox, bench.course_seed)
        try:
            yield other
        finally:
            other.close()
    finally:
        sandbox.close()


def drawable(result: LabResult, job: Job) -> list[str]:
    """Return the tasks whose pictures the student's code can take part in; without any, no picture is drawn."""
    if result.problem is not None or not job.lab.figures_path.is_file():
        return []
    limit = job.lab.manifest.limits.cpu_s
    spent = result.environment.durations if result.environment else {}
    return [
        task.id
        for task in result.tasks
        if job.submission.unfit(job.lab.signatures_of(job.lab.task(task.id))) is None
        and spent.get(f"task {task.id}", 0.0) < limit  # a task that hung would hang again
    ]


def illustrate(result: LabResult, job: Job, bench: Bench, on_fault: Callable[[str], None]) -> LabResult:
    """Return `result` with the pictures of its tasks, drawn from public calls; a verdict need not wait for them.

    `bench` is what `open_figure_bench` yields. A picture that we fail to draw is missing, and `on_fault` is told why.
    """
    runnable = drawable(result, job)
    if not runnable:
        return result
    graded = {task.id for task in result.tasks}
    if bench.sandbox.is_lost:  # by an earlier file: its pictures told of it
        bench.replace_sandbox()
    bench.sandbox.step_forward()
    bench.seat(job.submission)
    pictures = [picture for picture in drawing.draw(bench, runnable, on_fault) if picture.task in graded]
    bench.dismiss()
    result, left = with_pictures(result, pictures)
    missing = [picture.missing for picture in result.pictures if picture.missing]
    if missing:
        says = missing[0][0].lower() + missing[0][1:]
        on_fault(f"{len(missing)} of {len(result.pictures)} pictures were {says}")
    for picture in left:
        on_fault(f"the picture {picture.title!r} of {job.lab.id} was left out: the record would be too large.")
    return result


def _check_results(task: Task, seen: Examination) -> list[CheckResult]:
    found = [one for one in seen.checks if one.mark.task == task.id]
    # A hollow answer passes what looks at the student's answers alone, or asks for a refusal.
    has_value = any(one.verdict.outcome == "passed" and not (one.mark.property or one.mark.reported) for one in found)
    # What a process says of its memory is worth nothing where the kernel has seen that it is not so.
    fails = ("failed", "crashed", "timed_out")
    is_belied = any(one.verdict.outcome in fails and one.mark.memory_mib is not None for one in found)
    results = []
    for one, points in zip(found, share_points(task.points, [f.mark.weight for f in found]), strict=True):
        verdict = one.verdict
        counts = has_value or not (one.mark.property or one.mark.reported)
        later = EARNS_LATER
        if counts and one.mark.reported and is_belied:
            counts, later = False, EARNS_WITH
        message = verdict.message if counts or verdict.outcome != "passed" else later
        results.append(
            CheckResult(
                id=one.id,
                task=task.id,
                title=one.title,
                outcome=verdict.outcome,
                earned=points if verdict.outcome == "passed" and counts else 0.0,
                # A fault of ours takes the check out of the score, not the points out of the student.
                possible=0.0 if verdict.outcome == "grader_error" else points,
                visible=one.mark.visible,
                property=one.mark.property,
                message=message,
                evidence=verdict.evidence,
                frames=verdict.frames,
                output=verdict.output,
                unstable=verdict.unstable,
                keeps=verdict.keeps,
            )
        )
    return results


def _task_result(
    task: Task, checks: Sequence[CheckResult], seen: Examination, job: Job, bench: Bench, diagnose: bool
) -> TaskResult:
    written = [job.submission.definitions[name] for name in task.functions if name in job.submission.definitions]
    points = earned(checks)
    return TaskResult(
        id=task.id,
        title=task.title,
        function=" and ".join(task.functions),
        line=written[0].line if written else None,
        earned=points,
        possible=round(sum(check.possible for check in checks), 2),
        state=state([check.outcome for check in checks], points),
        diagnosis=_diagnosis(task, checks, seen, bench, job.submission.filename, written) if diagnose else None,
    )


def _diagnosis(
    task: Task,
    checks: Sequence[CheckResult],
    seen: Examination,
    bench: Bench,
    filename: str,
    written: Sequence[Definition],
) -> Diagnosis | None:
    failed = [check for check in checks if check.outcome in ("failed", "crashed", "timed_out")]
    if seen.interrupted or not failed or any(check.outcome == "grader_error" for check in checks):
        return None
    script = seen.scripts.get(task.id, [])
    if not script:  # it was not called, and every check says why
        return Diagnosis(misconceptions=[], says=failed[0].message or "")
    returns = [line for one in written for line in one.returns]
    line = returns[0] if len(returns) == 1 else written[0].line if written else None
    says = headline(worst_first(failed)[0], filename, line)
    # A name rests on all calls of the task, each with a verdict that can be relied on.
    if any(check.unstable or check.keeps for check in checks):
        return Diagnosis(misconceptions=[], says=says)
    edits = [edit for edit in bench.oracle.misconceptions if edit.task == task.id]
    return diagnosis.diagnose(script, bench.oracle, edits, says, returns, [check.id for check in failed])


def _problem(seen: Examination, bench: Bench) -> Problem | None:
    if seen.fault is not None:
        return Problem(kind="grader_error", message=str(seen.fault))
    if seen.interrupted:
        return Problem(kind="interrupted", message="Interrupted: only the checks that had ended are here.")
    error = seen.load_error
    if error is None:
        return None
    kinds = {"raised": "import_error", "timed_out": "import_timed_out"}
    message = error_sentence(error, True, bench.sandbox.libraries)
    if error.frames:
        message += f"\n    {error.frames[-1][2].strip()}"
    return Problem(kind=kinds.get(error.kind, "import_crashed"), message=message, line=error.line)


def _environment(bench: Bench, durations: dict[str, float], seen: Examination) -> Environment:
    sandbox = bench.sandbox
    ran = bool(seen.spent) or seen.load_error is not None
    if ran:
        sandbox.ready()
    return Environment(
        grader=__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        libraries=dict(sandbox.versions) if ran else {},
        start_method=sandbox.start_method,
        sandbox=dict(sandbox.layers) if ran else {},
        isolation=sandbox.isolation if ran else "full",
        graded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        durations=durations,
    )


@contextlib.contextmanager
def _timed(durations: dict[str, float], name: str) -> Iterator[None]:
    before = time.monotonic()
    yield
    durations[name] = round(time.monotonic() - before, 3)
