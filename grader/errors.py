"""What can go wrong that is not a student's answer.

GraderError
├── UsageError          2   the command line: unknown lab, a file that is already there
├── SubmissionError     3   the submission cannot be graded at all: missing, unreadable, crash at import
├── CourseError         4   the course is wrong: a manifest, a check, an edit that no longer applies
├── MachineError        5   this machine: a required sandbox layer is missing
└── InternalError      70   our own bug

A student's mistake is data (`results.py`), never one of these. Each error is one sentence for the person who reads
it: what was found, where, what was expected, what to do next.
"""

from __future__ import annotations


class GraderError(Exception):
    """An error with a sentence for its reader and the exit code of the command."""

    exit_code = 70


class UsageError(GraderError):
    """The command line asks for something that is not there."""

    exit_code = 2


class SubmissionError(GraderError):
    """The submission cannot be graded at all; `kind` and `line` go into the record's `problem`."""

    exit_code = 3

    def __init__(self, kind: str, message: str, line: int | None = None) -> None:
        """Keep the kind (a word for scripts), the sentence, and the student's line where there is one."""
        super().__init__(message)
        self.kind = kind
        self.line = line


class CourseError(GraderError):
    """The course is invalid; the message names the file, the key and what was expected."""

    exit_code = 4


class MachineError(GraderError):
    """This machine lacks something that was required."""

    exit_code = 5


class InternalError(GraderError):
    """A bug of ours; never the student's fault, never a lost point."""

    exit_code = 70
