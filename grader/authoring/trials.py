"""Trials: one source, graded for the audit through the same door as a student's file, and what came of it.

A `Spec` says what to run and is plain data, so that it can go to another process; a `Trial` is what came back, so that
it can be kept. What a trial means, whether a promise holds, is decided in `grader.authoring.audit`.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import BaseModel, Field

from grader.authoring import canaries, contract, hollow, separate
from grader.checking.oracle import LiveOracle
from grader.checking.session import Bench, Examination
from grader.course import Course, Lab
from grader.errors import CourseError, SubmissionError
from grader.grading import Job, assess
from grader.results import LabResult
from grader.sandbox.launcher import Sandbox
from grader.submission import parse

Kind = Literal[
    "reference",
    "starter",
    "misconception",
    "equivalent",
    "pair",
    "mutant",
    "hollow",
    "noise",
    "broken",
    "seed",
    "search",
]
TRUSTED_CPU_S = 6.0  # an endless mutant may waste this much a task
FRESH = ("reference", "starter", "equivalent")  # graded just as a student's file is, worker and all
DIAGNOSED = ("misconception", "pair")


@dataclass(frozen=True)
class Spec:
    """What to run: a source, the tasks whose checks it meets, and the course's seed."""

    kind: Kind
    source: str
    seed: str
    task: str | None = None
    ids: tuple[str, ...] = ()
    tasks: tuple[str, ...] | None = None
    line: int | None = None
    diff: str = ""

    @property
    def digest(self) -> str:
        """Digest of everything that can change the outcome."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:20]

    def __str__(self) -> str:
        """Name it for its reader."""
        return " ".join(filter(None, [self.kind, self.task, " + ".join(self.ids)]))


class Trial(BaseModel):
    """One source, graded."""

    kind: Kind
    task: str | None = None
    ids: list[str] = []
    seed: str
    line: int | None = Field(default=None, description="Of the reference, where a mutant differs.")
    diff: str = Field(default="", description="What a mutant changes.")
    earned: float
    possible: float
    outcomes: dict[str, str] = Field(description="Check -> outcome.")
    distances: dict[str, float | None] = Field(
        default={}, description="Check -> largest distance in tolerances; null: a difference in structure."
    )
    seconds: dict[str, float] = Field(default={}, description="Check -> time. Of the reference only.")
    named: list[list[str]] = Field(default=[], description="What the diagnosis named.")
    reported: dict[str, float] = Field(
        default={}, description="Checks of what a process says of itself -> their share of the task. Reference only."
    )
    properties: list[str] = Field(default=[], description="Checks that look at answers alone. Of the reference only.")
    unstable: list[str] = Field(default=[], description="Checks whose verdict changed when they were run again.")
    first: str | None = Field(default=None, description="What was found by the first check that did not pass.")
    applies: bool = Field(
        default=True, description="False: a hollow answer that is right here, such as a rounded word."
    )
    leaks: list[str] = Field(default=[], description="What a student would see and must not.")
    separates: str | None = Field(default=None, description="A call on which a survivor answers otherwise.")
    searched: int = Field(default=0, description="Calls that were tried on a survivor.")

    @property
    def rejected_by(self) -> list[str]:
        """The checks that did not pass."""
        return [check for check, outcome in self.outcomes.items() if outcome != "passed"]

    @property
    def distance(self) -> float | None:
        """The largest distance in tolerances; None where the structure differs or something was raised."""
        values = list(self.distances.values())
        if any(value is None for value in values):
            return None
        if any(outcome not in ("passed", "failed") for outcome in self.outcomes.values()):
            return None
        return max((value for value in values if value is not None), default=0.0)


class Runner:
    """Runs trials of one lab in a sandbox, one after the other, in this process. Nothing starts before the first."""

    def __init__(self, course: Course, lab: Lab, sandbox: Sandbox) -> None:
        """Take the course, for its page's template, and what is lent."""
        self.lab = lab
        self._canary = canaries.Canary(course, lab)
        self._sandbox = sandbox
        self._benches: dict[bool, Bench] = {}
        self._oracle = LiveOracle(lab, sandbox)  # one for both benches: what it answers is the same for either
        self._seed: str | None = None

    def run(self, spec: Spec) -> Trial:
        """Run one trial; CourseError where it is the grader that fails."""
        if spec.kind == "search":
            return self._search(spec)
        bench = self._bench(trusted=spec.kind not in FRESH, seed=spec.seed)
        source = spec.source
        if spec.kind == "hollow" and spec.ids == (f"hollow: {hollow.HARD_CODED}",):
            assert spec.task is not None
            first, _ = self._assess(bench, spec, hollow.digests(self.lab, spec.task))
            known = {d for check in first.checks if check.visible for d in hollow.read_digests(check.output)}
            source = hollow.hard_coded(self.lab, spec.task, known)
        result, seen = self._assess(bench, spec, source)
        return self._trial(spec, result, seen)

    def close(self) -> None:
        """End what was started, but not the sandbox."""
        for bench in self._benches.values():
            bench.close()

    def _bench(self, *, trusted: bool, seed: str) -> Bench:
        if trusted not in self._benches:
            self._benches[trusted] = Bench(self.lab, self._sandbox, seed, TRUSTED_CPU_S if trusted else None)
            self._benches[trusted].oracle = self._oracle
        if self._seed != seed:
            self._oracle.forget()  # twenty seeds' answers are a lot of memory, and none is asked for again
            self._seed = seed
        bench = self._benches[trusted]
        bench.course_seed = seed
        return bench

    def _assess(self, bench: Bench, spec: Spec, source: str) -> tuple[LabResult, Examination]:
        try:
            submission = parse(source.encode(), f"{self.lab.id}.py")
        except SubmissionError as error:
            raise CourseError(f"{self.lab.folder.name}: {spec} is no Python: {error}") from None
        result, seen = assess(Job(self.lab, submission, spec.tasks), bench, diagnose=spec.kind in DIAGNOSED)
        for check in result.checks:
            if check.outcome == "grader_error":
                why = check.evidence.yours if check.evidence else check.message
                raise CourseError(f"{check.id}, grading {spec}: {why}")
        if result.problem and result.problem.kind == "grader_error":
            raise CourseError(f"{self.lab.id}, grading {spec}: {result.problem.message}")
        return result, seen

    def _trial(self, spec: Spec, result: LabResult, seen: Examination) -> Trial:
        failed = next((check for check in result.checks if check.outcome != "passed"), None)
        applies = spec.kind != "hollow" or spec.ids == (f"hollow: {hollow.HARD_CODED}",)
        leaks = self._canary.leaks(spec.source, result)
        if spec.kind == "reference":
            leaks += canaries.telling_sentences(self.lab, result, seen)
            leaks += contract.breaches(self.lab, seen)
        return Trial(
            kind=spec.kind,
            task=spec.task,
            ids=list(spec.ids),
            seed=spec.seed,
            line=spec.line,
            diff=spec.diff,
            earned=result.score.earned,
            possible=result.score.possible,
            outcomes={check.id: check.outcome for check in result.checks},
            distances={c: round(d, 4) if math.isfinite(d) else None for c, d in seen.distances.items()},
            seconds={one.id: round(one.verdict.seconds, 3) for one in seen.checks} if spec.kind == "reference" else {},
            named=[names for t in result.tasks if t.diagnosis for names in t.diagnosis.misconceptions],
            reported=_reported(result, seen) if spec.kind == "reference" else {},
            properties=[check.id for check in result.checks if check.property] if spec.kind == "reference" else [],
            unstable=[check.id for check in result.checks if check.unstable],
            first=f"{failed.id}: {failed.message}" if failed else None,
            applies=applies or any(hollow.changed_anything(check.output) for check in result.checks),
            leaks=leaks,
        )

    def _search(self, spec: Spec) -> Trial:
        """Look for a call that tells a survivor from the reference."""
        bench = self._bench(trusted=True, seed=spec.seed)
        plain = Spec("reference", self.lab.reference, spec.seed, tasks=spec.tasks)
        _, seen = self._assess(bench, plain, plain.source)
        calls = [one.call for task in spec.tasks or () for one in seen.scripts.get(task, [])]
        found = separate.separate(self._oracle, spec.source, calls)
        return Trial(
            kind="search",
            task=spec.task,
            ids=list(spec.ids),
            seed=spec.seed,
            earned=0.0,
            possible=0.0,
            outcomes={},
            separates=found.says,
            searched=found.tried,
            distances={"search": round(found.distance, 4) if math.isfinite(found.distance) else None},
        )


def _reported(result: LabResult, seen: Examination) -> dict[str, float]:
    shares = {task.id: task.possible for task in result.tasks}
    reported = {one.id for one in seen.checks if one.mark.reported}
    return {check.id: check.possible / shares[check.task] for check in result.checks if check.id in reported}


def start_method() -> Literal["fork", "spawn"]:
    """Return how this system's zygotes start workers."""
    return "fork" if sys.platform == "linux" else "spawn"
