"""Writes what `grade cohort` publishes, one student after the other: tables, record, pages."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import IO

from grader import outputs
from grader.cohort.gradebooks import csv_bytes, grades_head, grades_lines, items_table, told
from grader.cohort.late import LatePolicy
from grader.cohort.overrides import Override, adjust
from grader.cohort.publish import PAGES, Publication
from grader.cohort.records import Attention, CohortEnvironment, CohortResult, Found, FoundSummary, Row
from grader.cohort.roster import in_order
from grader.cohort.run import Cohort
from grader.cohort.statistics import Gathering
from grader.course import Course, Lab
from grader.reports.cohort import Line, cohort_page, line
from grader.reports.html import failed_page, student_page
from grader.results import Drawn
from grader.seeds import fingerprint

BESIDE = ("cohort.json", "grades.csv", "items.csv")
NOT_DRAWN = "Not all pictures of this page could be drawn. That is our fault, and costs no point."


class Writer:
    """Writes one publication. `students` and `scores` say afterwards who is in it."""

    def __init__(
        self,
        course: Course,
        lab: Lab,
        publication: Publication,
        policy: LatePolicy | None,
        decided: Mapping[str, Sequence[Override]],
        pictures: bool,
    ) -> None:
        """Write nothing yet."""
        self._course = course
        self._lab = lab
        self._there = publication.folder
        self._before = publication.before()
        self._policy = policy
        self._decided = decided
        self._pictures = pictures
        self._gathering = Gathering(lab)
        self._lines: list[Line] = []
        self.students: list[str] = []
        self.scores: list[float | None] = []  # None: nobody has judged it

    def write(
        self,
        found: Found,
        cohort: Cohort,
        environment: CohortEnvironment,
        due: datetime | None,
        others: Mapping[str, Row],
        again: Mapping[str, Row],
    ) -> CohortResult:
        """Write everything into a folder that nobody reads yet.

        The rows of `others` stay as they were. `again` are rows as they were of those who are graded on their own.
        """
        present = {entry.student for entry in found.entries}
        summary = FoundSummary(
            layout=found.layout,
            submissions=len(present | others.keys()),
            unmatched=[student for student in found.unmatched if student not in others],
            ignored=found.ignored,
            deadline=due,
        )
        head = CohortResult(
            lab=self._lab.id,
            title=self._lab.manifest.title,
            course=self._lab.course,
            seed=fingerprint(self._course.seed),
            found=summary,
            rows=[],
            statistics=Gathering(self._lab).finish(found),
        )
        tasks = [task.id for task in self._lab.tasks]
        with contextlib.ExitStack() as stack:
            file, grades, items = (stack.enter_context(outputs.whole(self._there / name)) for name in BESIDE)
            grades.write(csv_bytes([grades_head(tasks)]))
            items.write(csv_bytes(items_table([])))
            ahead = head.model_dump_json(exclude={"rows", "statistics", "environment"})
            file.write(ahead.removesuffix("}").encode() + b',\n"rows": [')
            for number, row in enumerate(self._rows(found, cohort, others, again)):
                grades.write(csv_bytes(grades_lines(row, tasks)))
                mine = itertools.islice(items_table([(row.student, row)]), 1, None)  # without the headings
                items.write(csv_bytes(mine))
                self._gathering.add(row)
                self._lines.append(line(row))
                self.students.append(row.student)
                self.scores.append(None if row.undecided else row.final)
                file.write((",\n" if number else "\n").encode() + row.model_dump_json().encode())
            environment = environment.model_copy(update={"isolation": dict(sorted(self._gathering.isolation.items()))})
            statistics = self._gathering.finish(found)
            result = head.model_copy(update={"statistics": statistics, "environment": environment})
            self._end(file, result)
        return self._page(result)

    @staticmethod
    def _end(file: IO[bytes], result: CohortResult) -> None:
        behind = result.model_dump_json(include={"statistics", "environment"})
        file.write(b"\n],\n" + behind.removeprefix("{").encode() + b"\n")

    def _rows(self, found: Found, cohort: Cohort, others: Mapping[str, Row], again: Mapping[str, Row]) -> Iterator[Row]:
        """Yield everybody's row in order, and write the page that belongs to it."""
        entries = {entry.student: entry for entry in found.entries}
        for student in sorted(entries.keys() | others.keys(), key=in_order):
            if student in others:
                row = others[student]
                if not self._same_page(student):
                    self._student_page(row, [], told(row))
            else:
                row = adjust(cohort.row(entries[student]), self._decided.get(student, ()), self._policy)
                if student in again:
                    row = row.model_copy(update={"notes": [*row.notes, graded_before(again[student])]})
                self._drawn_page(row, cohort.drawn(entries[student]), cohort)
            yield row

    def _same_page(self, student: str) -> bool:
        """Take over the page that is published now; say whether there was one."""
        old = self._before / PAGES / f"{student}.html" if self._before is not None else None
        if old is None or not old.is_file():
            return False
        with outputs.whole(self._there / PAGES / old.name) as file:
            file.write(old.read_bytes())
        return True

    def _drawn_page(self, row: Row, drawn: Drawn | None, cohort: Cohort) -> None:
        notes = told(row)
        if self._pictures and drawn is None and row.problem is None and cohort.setup.drawn_by:
            drawn = Drawn(faults=["The pictures were not drawn"])
        if drawn is not None and drawn.faults:
            self._gathering.attend("pictures", drawn.faults[0], row)
            notes = [*notes, NOT_DRAWN]
        self._student_page(row, drawn.pictures if drawn is not None else [], notes)

    def _student_page(self, row: Row, pictures: Sequence[object], notes: list[str]) -> None:
        own = row.model_copy(update={"submission": row.digest, "pictures": list(pictures)})
        known = {"hints": self._lab.hints, "templates_dir": self._course.templates, "notes": notes}
        try:
            page = student_page(own, page_url=None, who=row.student, **known)  # type: ignore[arg-type]
        except Exception as error:  # a page that cannot be made costs itself, and nobody else's
            self._gathering.attend("grader_error", _no_page(error), row)
            page = failed_page(row.student, _no_page(error), notes)
        outputs.write(self._there / PAGES / f"{row.student}.html", page)

    def _page(self, result: CohortResult) -> CohortResult:
        try:
            page = "".join(cohort_page(result, self._lab.tasks, self._lines, self._course.templates, BESIDE))
        except Exception as error:
            page = failed_page("the class", _no_page(error), [])
            first = Attention(kind="grader_error", says=_no_page(error))
            attention = [first, *result.statistics.attention]
            failed = result.statistics.model_copy(update={"attention": attention})
            result = result.model_copy(update={"statistics": failed})
        outputs.write(self._there / "cohort.html", page)
        return result


def _no_page(error: Exception) -> str:
    return f"The page could not be made, which is a bug of ours ({type(error).__name__}); the points are right"


def graded_before(row: Row) -> str:
    """Return the sentence about the score that a row had before it was graded again on its own."""
    points = "no points" if row.undecided else f"{row.final:g} of {row.score.possible:g} points"
    digest = re.sub(r"\W", "", row.digest)[:8]
    return f"Graded again on its own; before it had {points} (file {digest})."
