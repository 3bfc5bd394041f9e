"""The cohort's records: what was found before grading, and what grading made of it. Pure data, no names of people."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field

from grader.results import FORMAT_VERSION, LabResult, Model, Problem

Layout = Literal["folders", "canvas", "moodle", "gradescope", "brightspace", "sakai", "classroom", "git"]


# Nobody's work was judged: there is no grade, and so no nought, until a person has looked.
UNDECIDED = {
    "missing",
    "notebook",
    "several",
    "bad_archive",
    "unsafe_archive",
    "symlink",
    "unreadable",
    "not_a_file",
    "too_large",
    "grader_error",
    "interrupted",
}


class Entry(Model):
    """One submission as found, before grading."""

    submission: str = Field(
        description="The folder's or archive member's name without the person's name where the layout shows which part"
        " that is; unique in the cohort."
    )
    student: str = Field(description="Pseudonym s001...; the key file maps it to who it is.")
    filename: str = Field(description="lab01.py as found.")
    source: str | None = Field(description="The file's digest, see `Sources`. None: nothing to grade, see `problem`.")
    problem: Problem | None = Field(description="Missing, several, not text, too large, bad archive ...")
    submitted_at: AwareDatetime | None = Field(description="UTC, from the LMS's own data, never a file's time.")
    due: AwareDatetime | None = Field(default=None, description="This student's deadline, an extension included.")
    late: bool
    attempts: int = Field(description="How many there were; `notes` says which one counts.")
    notes: list[str] = Field(description="Sentences a person sees: renamed file, duplicate of s007, several attempts.")


class Found(Model):
    """Everything that lay in a folder or an archive of submissions."""

    layout: Layout
    entries: list[Entry]
    unmatched: list[str] = Field(description="Roster rows without a submission, as pseudonyms.")
    ignored: list[str] = Field(description="Junk that was left out, by name.")
    notes: list[str] = Field(default=[], description="What was done to find them: folders that were looked through.")


class Adjustment(Model):
    """A score that a person or a rule changed after grading; always shown beside what was graded."""

    by: Literal["staff", "late policy"]
    item: str | None = Field(default=None, description="A check's or a task's id; None: the whole score.")
    before: float
    after: float
    why: str


class Row(LabResult):
    """One student's line of cohort.json: the submission's LabResult, and what the cohort knows beside it.

    `submission` is here the folder's or archive member's name; `score` is as graded, never adjusted; pictures are left
    to the student's page.
    """

    student: str
    digest: str = Field(description="The LabResult's `submission`: sha256 of the source, first 16 digits.")
    submitted_at: AwareDatetime | None = None
    due: AwareDatetime | None = None
    late: bool = False
    attempts: int = 1
    notes: list[str] = Field(default=[], description="Sentences a person sees.")
    final: float = Field(description="Points after `adjustments`; what the gradebooks get.")
    adjustments: list[Adjustment] = Field(default=[], description="In the order in which they were made.")

    @property
    def undecided(self) -> bool:
        """Whether nobody has judged this work, neither the grader nor staff."""
        decided = any(made.by == "staff" for made in self.adjustments)
        return self.problem is not None and self.problem.kind in UNDECIDED and not decided

    @classmethod
    def of(cls, entry: Entry, result: LabResult) -> Row:
        """Join what was found with what was graded; nothing is adjusted yet."""
        return cls(
            **dict(result)
            | {
                "submission": entry.submission,
                "student": entry.student,
                "digest": result.submission,
                "filename": entry.filename,
                "submitted_at": entry.submitted_at,
                "due": entry.due,
                "late": entry.late,
                "attempts": entry.attempts,
                "notes": entry.notes,
                "final": result.score.earned,
                "problem": entry.problem or result.problem,
                "pictures": [],
            }
        )


class Rate(Model):
    """How a check or a task went over the class. A number is None where too few students were graded."""

    id: str
    passed: int
    graded: int
    difficulty: float | None = Field(description="Share of points earned, 0 (nobody) to 1 (everybody).")
    discrimination: float | None = Field(description="Correlation with the rest of the score (item-rest).")
    unstable: int = 0
    seconds: float | None = Field(default=None, description="Median time, for tasks.")
    slowest: float | None = Field(default=None, description="Longest time, for tasks.")


class Named(Model):
    """A known mistake and who seems to make it."""

    task: str
    misconceptions: list[str]
    says: str
    students: list[str]


class Cluster(Model):
    """Failures without a name that look the same."""

    task: str
    signature: str
    says: str
    students: list[str]


class Attention(Model):
    """Something a person should look at first."""

    kind: str
    says: str
    students: list[str] = Field(default=[], description="Pseudonyms.")


class Statistics(Model):
    """What the class as a whole shows."""

    students: int
    enough: bool = Field(description="False: too few students for difficulty, discrimination and alpha.")
    alpha: float | None = Field(description="Cronbach's alpha over tasks.")
    tasks: list[Rate]
    checks: list[Rate]
    named: list[Named]
    clusters: list[Cluster]
    attention: list[Attention]


class FoundSummary(Model):
    """What `Found` said, without the sources."""

    layout: Layout
    submissions: int
    unmatched: list[str]
    ignored: list[str]
    deadline: AwareDatetime | None = None


class CohortEnvironment(Model):
    """Where and how the cohort ran. Left out of its canonical form."""

    grader: str
    executor: str
    jobs: int
    graded_at: datetime
    graded: int = Field(description="Jobs that ran now.")
    kept: int = Field(description="Results that came from the store.")
    seconds: float
    isolation: dict[str, int] = Field(
        default={}, description="full, partial or none -> how many submissions' code ran so; `rows` say which layers."
    )


class CohortResult(Model):
    """One lab, one class: cohort.json."""

    format_version: int = FORMAT_VERSION
    lab: str
    title: str
    course: str = ""  # title, version and digest
    seed: str  # a fingerprint: the seed itself is a secret
    found: FoundSummary
    rows: list[Row]
    statistics: Statistics
    environment: CohortEnvironment | None = None
