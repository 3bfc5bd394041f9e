"""Whose fault it is where files end the judges, the files' or the grader's: the reference is graded to find out."""

from __future__ import annotations

from collections.abc import Iterable

from grader.errors import InternalError
from grader.executors import Done, Work

DOUBTFUL = 2  # so many submissions given up in a row, and the reference is graded
LUCKLESS = 8  # so many, where there is no reference to ask: the grader is broken
REFERENCE = "the reference"


class Doubt:
    """Counts who was given up in a row, over all judges of a run."""

    def __init__(self, reference: bytes | None, tasks: Iterable[str]) -> None:
        """Take the lab's own solution; a student edition has none, and has to count."""
        self._reference = Work(REFERENCE, reference, tuple(tasks)) if reference is not None else None
        self._counts_alone = reference is None
        self._given_up = 0

    def wanted(self) -> Work | None:
        """Return the reference, once, where it has to be graded before anything else."""
        if self._given_up < DOUBTFUL:
            return None
        reference, self._reference = self._reference, None
        return reference

    def settled(self, done: Done) -> bool:
        """Take note of what came of a piece of work; tell whether it is a submission's.

        InternalError where the grader is to blame: then nobody else is graded by it.
        """
        if done.id == REFERENCE:
            if done.fault is not None:
                raise InternalError(f"The grader fails on the reference itself, so it stops: {done.fault}")
            if done.result is None or done.result.score.earned < done.result.score.possible:
                raise InternalError("The grader does not give the reference its full marks, so it stops.")
            return False
        self._given_up = self._given_up + 1 if done.fault is not None else 0
        if self._given_up >= LUCKLESS and self._counts_alone:
            raise InternalError(
                f"The grader failed on {LUCKLESS} submissions in a row and graded none, so it stops. The last said: "
                f"{done.fault}"
            )
        return True
