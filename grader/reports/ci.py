"""What `grade ci` leaves for others to read, as JSON: which files it graded, what came of each, what was asked of them.

The job that writes a comment reads it back. By then it may be anybody's: a pull request can change the workflow that
writes it. So it is checked like any input, and whatever is shown of it is made harmless as a student's text is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from grader.errors import UsageError
from grader.reports import github
from grader.reports.told import Graded
from grader.results import FORMAT_VERSION, LabResult, Model

NAME = "ci.json"
MARK = "<!-- alphabar: one comment, kept up to date -->"
MOST_BYTES = 8 << 20
MOST_COMMENT = 60_000  # GitHub takes 65,536 characters


class GradedFile(Model):
    """One file of the pull request."""

    path: str = Field(description="Where it lies in the repository that was graded.")
    result: LabResult


class Run(Model):
    """One run of `grade ci`."""

    format_version: int = FORMAT_VERSION
    minimum: str = Field(description="What was asked for: points, or percent of each lab's.")
    holds: bool = Field(description="Whether every file has it.")
    notes: list[str] = Field(default=[], description="Sentences for whoever reads the summary.")
    files: list[GradedFile]

    @property
    def graded(self) -> list[Graded]:
        """The files as the reports take them."""
        return [Graded.of(one.result, one.path) for one in self.files]


def read(folder: Path) -> Run:
    """Read what lies in a folder that `grade ci` wrote; UsageError where it is none."""
    path = folder / NAME if folder.is_dir() else folder
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > MOST_BYTES:
        raise UsageError(f"{path} is larger than {MOST_BYTES >> 20} MiB; `grade ci` writes no such file.")
    try:
        return Run.model_validate_json(data)
    except ValidationError as error:
        raise UsageError(
            f"{path} is not what `grade ci` of this version writes ({error.error_count()} faults)."
        ) from None


def comment(run: Run, *, with_points: bool) -> str:
    """Return the comment's text; its first line says whose comment it is, so that the next one takes its place."""
    notes: Sequence[str] = run.notes[:10]
    text = github.summary(run.graded, notes, with_points=with_points, most=MOST_COMMENT)
    return f"{MARK}\n{text or 'Nothing was graded.'}\n"
