"""The record: what grading found, as every report, export and script reads it. Pure data, runs anywhere."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION = 2
OUR_FAULT = "The grader failed here, not your code. It costs you nothing; tell your instructor."

Outcome = Literal["passed", "failed", "crashed", "timed_out", "skipped", "grader_error"]
TaskState = Literal["passed", "partly", "not_yet", "crashed", "not_started", "ungraded"]


class Model(BaseModel):
    """Base of every record: unknown keys are refused, values do not change after they are made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(Model):
    """Points, rounded to two digits."""

    earned: float
    possible: float


class Diagnosis(Model):
    """What is said of a task that is not right: the known mistakes that explain it, or else its worst check."""

    misconceptions: list[list[str]] = Field(
        description="Known mistakes that give exactly the student's answers, on every call of the task: each one id or "
        "a pair of ids; several mean 'one of'. Empty: none does."
    )
    says: str = Field(
        description="The sentence a student reads first: the mistakes', or what the worst check found, and where."
    )
    facts: list[str] = Field(
        default=[], description="Sentences about the answers as a whole, where no known mistake explains them."
    )
    see: list[str] = Field(default=[], description="Anchors on the lab's page.")


class Frame(Model):
    """One line of the student's own file in a traceback."""

    line: int
    function: str
    code: str


class Evidence(Model):
    """What was measured when an answer differed. Only for visible checks, and for instructors."""

    call: str | None = Field(default=None, description="The call that was made, in recipe form.")
    where: str | None = Field(default=None, description="Path of the first differing value in the answer.")
    max_error: float | None = Field(
        default=None, description="The error where it is furthest out of tolerance: one place, the one that is shown."
    )
    in_tolerances: float | None = Field(default=None, description="That error in units of tolerance; 1 is the limit.")
    yours: str | None = None
    expected: str | None = None


class CheckResult(Model):
    """One check's verdict."""

    id: str = Field(description="lab/task.check, stable; students quote it.")
    task: str
    title: str = Field(description="What must hold: the check's docstring.")
    outcome: Outcome
    earned: float
    possible: float
    visible: bool
    property: bool = Field(
        default=False, description="It looks at the student's answers alone; earns only beside a check of values."
    )
    message: str | None = Field(default=None, description="What was found, for the student.")
    evidence: Evidence | None = None
    frames: list[Frame] = Field(default=[], description="The student's own lines, outermost first.")
    output: str = Field(default="", description="What the student's code printed; capped, control characters shown.")
    unstable: bool = Field(default=False, description="The verdict changed when the check was run again.")
    keeps: bool = Field(
        default=False, description="Right when called first, wrong after other calls: the code keeps something."
    )


class TaskResult(Model):
    """One task: its points and, where something is wrong, what it looks like."""

    id: str
    title: str
    function: str
    line: int | None = Field(default=None, description="Where the student's file defines it.")
    earned: float
    possible: float
    state: TaskState
    diagnosis: Diagnosis | None = None


class Problem(Model):
    """Why a submission could not be graded at all."""

    kind: str
    message: str
    line: int | None = None


class Series(Model):
    """One line of a chart."""

    label: str
    role: Literal["yours", "reference", "other"]
    points: list[tuple[float, float]]


class Picture(Model):
    """A picture of the report: a grid of small images, or a chart; drawn from public scenarios only."""

    task: str
    title: str
    caption: str
    alt: str
    columns: list[str] = []
    rows: list[tuple[str, list[str]]] = Field(default=[], description="(label, base64 PNGs), one image a column.")
    x_label: str = ""
    y_label: str = ""
    series: list[Series] = []
    log_y: bool = False
    limits: list[tuple[str, float]] = Field(default=[], description="Horizontal lines of a chart: (label, y).")
    missing: str = Field(default="", description="Why there is nothing to see: what is not installed, in a sentence.")


class Drawn(Model):
    """The pictures of one submission, and why some are missing."""

    pictures: list[Picture] = []
    faults: list[str] = Field(
        default=[], description="Sentences for whoever looks after the course; ours, all of them."
    )


class Environment(Model):
    """Where and how it ran. Left out of `canonical`."""

    grader: str
    python: str
    platform: str
    libraries: dict[str, str]
    start_method: Literal["fork", "spawn"]
    sandbox: dict[str, bool | str] = Field(description="layer -> true, or the reason why it is off.")
    isolation: Literal["full", "partial", "none"]
    graded_at: str
    durations: dict[str, float] = Field(description="Seconds, by phase and by task.")


class LabResult(Model):
    """One submission, one lab. `grade schema` prints this as JSON Schema."""

    format_version: int = FORMAT_VERSION
    lab: str
    title: str
    course: str = Field(
        default="", description="What judged it: the course's title, version and digest. Left out of `canonical`."
    )
    source: str = Field(
        default="",
        description="Digest of the lab as its author wrote it; that of a student edition is the lab's that it was "
        "released from. Left out of `canonical`.",
    )
    edition: str = Field(
        default="",
        description="The student edition that judged it; empty for the whole course. Left out of `canonical`.",
    )
    seed: str | None = Field(description="A fingerprint of the course's seed, which is a secret; null for a student.")
    submission: str = Field(description="sha256 of the source, first 16 digits; blind, no name.")
    filename: str
    score: Score
    tasks: list[TaskResult]
    checks: list[CheckResult]
    problem: Problem | None = None
    environment: Environment | None = None
    pictures: list[Picture] = []


def canonical(result: LabResult) -> str:
    """Return the part of `result` that must not depend on when, where or how it was graded, as JSON text.

    Left out: `environment` (versions, layers, times), `output`, `pictures`, the file's name, and the course's digests,
    which any changed sentence changes. Evidence is already rounded to two digits when it is made.
    """
    data: dict[str, Any] = result.model_dump(
        mode="json", exclude={"environment", "pictures", "filename", "course", "source", "edition"}
    )
    for check in data["checks"]:
        check.pop("output")
    return json.dumps(data, sort_keys=True, ensure_ascii=False, indent=1)


def for_student(result: LabResult) -> LabResult:
    """Redact hidden checks: title, outcome, Python's own exception types and one line stay; nothing measured does.

    A hidden check's `message` and `frames` are made without anything that the student's code could choose freely, see
    `checking.sentences` and `checking.plugin.own_line`. Times are told in tenths of a second: how long hidden inputs
    take is for the code to say. What exactly failed on our side may name a hidden check's call, and is for instructors
    too. So is the seed that hidden inputs are made from.
    """
    checks = [
        check if check.visible else check.model_copy(update={"evidence": None, "output": ""}) for check in result.checks
    ]
    problem = result.problem
    if problem is not None and problem.kind == "grader_error":
        problem = problem.model_copy(update={"message": OUR_FAULT})
    environment = result.environment
    if environment is not None:
        tenths = {name: round(seconds, 1) for name, seconds in environment.durations.items()}
        environment = environment.model_copy(update={"durations": tenths})
    return result.model_copy(update={"checks": checks, "problem": problem, "seed": None, "environment": environment})


def for_instructor(result: LabResult) -> LabResult:
    """Return everything; the one function through which instructors' outputs pass."""
    return result
