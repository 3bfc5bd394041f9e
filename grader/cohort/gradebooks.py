"""Grades as other programs take them: Canvas's and Moodle's own files filled in, feedback archives, CSV.

Names of people come from the key file alone and go into these files alone.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from grader.cohort.records import Row
from grader.cohort.roster import Directory, Key, Person, is_no_student
from grader.cohort.sheets import Sheet, plain
from grader.errors import UsageError
from grader.results import LabResult

_CANVAS_NAME = re.compile(r"(LATE_)?.+?(_LATE)?_[A-Za-z0-9]+_\d+_(?!(?:.*_)?\d+_\d+_)(?!\d+_)")


@dataclass(frozen=True)
class Filled:
    """A gradebook to hand back to the LMS, and what a person should know before doing so."""

    data: bytes
    filled: int
    left: int  # rows of the gradebook that nothing was handed in for; they stay as they were
    homeless: list[str]  # students with a grade who are not in the gradebook
    notes: list[str]
    column: str = ""  # the heading of what was filled in
    changes: list[tuple[str, str, str]] = field(default_factory=list)  # whose row, what it held, what it holds
    kept: int = 0  # rows that held something else and were left alone


def fill_canvas(
    template: bytes, name: str, rows: Sequence[Row], key: Key, *columns: str, overwrite: bool = False
) -> Filled:
    """Fill in a gradebook that Canvas exported: who is who, and the one column that is called one of `columns`.

    A cell that holds something already is left alone, and counted, unless `overwrite`.

    Other assignments' columns are left out: Canvas overwrites whatever it finds, also what has changed since.
    """
    sheet = Sheet.parse(template, name)
    header = sheet.header()
    target = _canvas_column(header, columns, name)
    # Canvas translates headings, so the place counts: Student and ID come first, identity ends at the assignments.
    first = next(number for number, heading in enumerate(header) if re.search(r"\(\d+\)\Z", heading))
    students = {}
    points = []
    for line in range(1, len(sheet.rows)):
        if not re.fullmatch(r"\d+", sheet.value(line, 1).strip()):
            points.append(line)
        elif not is_no_student(sheet.value(line, 0)):
            students[line] = _canvas_person(sheet, line, first)
    maximum = next((value for line in points if (value := _number(sheet.value(line, target)))), None)
    filled = _filled(sheet, students, target, rows, key, maximum, _mark(sheet, points, target), overwrite)
    sheet.keep([*range(first), target])
    return replace(filled, data=sheet.render())


def fill_moodle(template: bytes, name: str, rows: Sequence[Row], key: Key, *, overwrite: bool = False) -> Filled:
    """Fill in Moodle's grading worksheet; every byte but the grades stays.

    Headings are in the teacher's language, so places and contents count: the maximum is the column that says the same
    number for everyone beside a column of grades.
    """
    sheet = Sheet.parse(template, name)
    students = {n: _moodle_person(sheet, n) for n in range(1, len(sheet.rows)) if sheet.value(n, 0).strip()}
    target = _moodle_column(sheet, list(students))
    if target is None:
        raise UsageError(
            f"{name} is no grading worksheet of Moodle: it has no column of grades beside one of maximum grades."
        )
    maximum = _number(sheet.value(next(iter(students)), target + 1))
    mark = _mark(sheet, list(students), target + 1)
    filled = _filled(sheet, students, target, rows, key, maximum, mark, overwrite)
    return replace(filled, data=sheet.render())


def write_feedback(
    file: Path | IO[bytes], layout: str, rows: Iterable[Row], key: Key, page: Callable[[Row], bytes]
) -> None:
    """Write the archive that an LMS takes back: each student's page under the name the submission came with."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for row in rows:
            known = key.students.get(row.student)
            names = [known.submission or row.student, *known.others] if known else [row.student]
            for name in names:  # of a team, each under the name of their own
                if layout == "canvas" and (found := _CANVAS_NAME.match(name)):
                    member = f"{found[0]}report.html"  # Canvas finds the submission by the two numbers
                else:
                    member = f"{name}/report.html"
                # The time of a member is fixed: the same grades make the same archive.
                archive.writestr(zipfile.ZipInfo(member), page(row), zipfile.ZIP_DEFLATED)


def grades_head(tasks: Sequence[str], *, named: bool = False) -> list[str]:
    """Return the heading of grades.csv, one column a task at its end."""
    head = ["student", "submission", *(["name", "email", "id"] if named else [])]
    head += ["points", "graded", "maximum", "late", "submitted_at", "attempts", "problem", "adjustments", "notes"]
    return [*head, "report", *tasks]


def grades_lines(row: Row, tasks: Sequence[str], key: Key | None = None) -> list[list[Any]]:
    """Return a student's line of grades.csv; with `key` one line a person, named: a group has several."""
    by_task = {task.id: task.earned for task in row.tasks}
    told = [
        "" if row.undecided else row.final,
        row.score.earned,
        row.score.possible,
        "late" if row.late else "",
        row.submitted_at.isoformat(timespec="seconds") if row.submitted_at else "",
        row.attempts,
        row.problem.kind if row.problem else "",
        " ".join(adjustments(row)),
        " ".join(row.notes),
        f"students/{row.student}.html",
        *(by_task.get(task, "") for task in tasks),
    ]
    if key is None:
        return [[row.student, row.submission, *told]]
    return [
        [
            row.student,
            row.submission,
            person.name,
            person.email,
            person.sid or person.login or person.lms.rpartition(":")[2],
            *told,
        ]
        for person in _people(key, row.student)
    ]


def adjustments(row: Row) -> list[str]:
    """One sentence for each adjustment: who changed what, from what to what, and why."""
    return [
        f"{'Adjusted by staff' if made.by == 'staff' else 'Late'}: {made.item or 'the score'}"
        f" {made.before:g} -> {made.after:g}. {made.why}"
        for made in row.adjustments
    ]


def told(row: Row) -> list[str]:
    """What a student's page says of the adjustments: each one, and the score that counts."""
    final = f"After this your score is {row.final:g} of {row.score.possible:g} points; below is what was graded."
    return [*adjustments(row), final] if row.adjustments else []


def items_table(results: Iterable[tuple[str, LabResult]], who: str = "student") -> Iterator[list[Any]]:
    """Yield one line for every check of every named result, for whoever wants to count otherwise than we do."""
    yield [who, "task", "check", "visible", "outcome", "earned", "possible", "unstable"]
    for name, result in results:
        for c in result.checks:
            yield [name, c.task, c.id, int(c.visible), c.outcome, c.earned, c.possible, int(c.unstable)]


def csv_bytes(lines: Iterable[Sequence[Any]], *, bom: bool = False) -> bytes:
    """Return a CSV file that no spreadsheet takes for formulas; with `bom`, one that Excel reads as UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([_guarded(cell) for cell in line] for line in lines)
    return text.getvalue().encode("utf-8-sig" if bom else "utf-8")


# Where a spreadsheet's separator is another than ours, what follows one inside a text begins a cell of its own.
_FORMULA = re.compile(r"(\A|(?<=[;\t|]))(\s*)(?=[=+\-@])")


def _guarded(cell: Any) -> Any:
    """Keep a spreadsheet from running a text, or a part of it, as a formula, and every record on one line."""
    if not isinstance(cell, str):
        return cell
    cell = _FORMULA.sub(r"'\2", re.sub(r"[\r\n]+", " ", cell))
    return f"'{cell}" if cell.startswith("\t") else cell


def _people(key: Key, student: str) -> list[Person]:
    known = key.students.get(student)
    return (known.people if known else []) or [Person()]


def _canvas_column(header: Sequence[str], columns: Sequence[str], name: str) -> int:
    """Return the column that is called exactly one of `columns`, by its name or its number."""
    assignments = {number: heading for number, heading in enumerate(header) if re.search(r"\(\d+\)\Z", heading)}
    if not assignments or min(assignments) < 2:
        raise UsageError(f"{name} is no gradebook of Canvas: it has no column like 'lab01 (12345)'.")
    several = False
    for wanted in columns:
        exact = [n for n, text in assignments.items() if text == wanted.strip() or text.endswith(f"({wanted.strip()})")]
        named = [n for n, text in assignments.items() if plain(re.sub(r"\(\d+\)\Z", "", text)) == plain(wanted)]
        for found in (exact, named):
            if len(found) == 1:
                return found[0]
            several = several or len(found) > 1
    listed = ", ".join(repr(heading) for heading in assignments.values())
    says = "fits several columns" if several else "is none of its columns"
    raise UsageError(f"{name}: {columns[0]!r} {says}; say which with --column: one of {listed}.")


def _canvas_person(sheet: Sheet, row: int, identity: int) -> Person:
    """Student, ID, [SIS User ID,] [SIS Login ID,] ... Section: by place; who may not see SIS data has fewer."""
    cells = [sheet.value(row, number).strip() for number in range(identity)]
    sid = cells[2] if identity >= 5 else ""
    login = cells[3] if identity >= 5 else cells[2] if identity == 4 else ""
    email = login if "@" in login else ""
    return Person(name=cells[0], lms=f"canvas:{cells[1]}", sid=sid, login=login, email=email)


def _moodle_person(sheet: Sheet, row: int) -> Person:
    """Identifier, Full name, [ID number,] Email address, Status ...; a blind worksheet has no names."""
    cells = [sheet.value(row, number).strip() for number in range(min(4, len(sheet.rows[row])))]
    number = re.search(r"\d+\Z", cells[0])
    at = next((n for n, cell in enumerate(cells) if re.fullmatch(r"[^@\s]+@[^@\s]+", cell)), 0)
    return Person(
        name=cells[1] if at > 1 else "",
        lms=f"moodle:{number[0]}" if number else "",
        sid=cells[2] if at == 3 else "",
        email=cells[at] if at else "",
    )


def _moodle_column(sheet: Sheet, students: Sequence[int]) -> int | None:
    for target in range(1, len(sheet.header()) - 1):
        limits = {sheet.value(row, target + 1).strip() for row in students}
        grades = [sheet.value(row, target).strip() for row in students]
        if (
            len(limits) == 1
            and (_number(next(iter(limits))) or 0) > 0
            and all(text in ("", "-") or _number(text) is not None for text in grades)
        ):
            return target
    return None


def _filled(
    sheet: Sheet,
    students: dict[int, Person],
    target: int,
    rows: Sequence[Row],
    key: Key,
    maximum: float | None,
    mark: str,
    overwrite: bool,
) -> Filled:
    """Put the grades into the sheet: which cells changed, who has no row, what to know."""
    ours = [(row, person) for row in rows for person in _people(key, row.student)]
    directory = Directory(person for _, person in ours)
    placed: set[int] = set()
    notes: list[str] = []
    filled = kept = 0
    changes = []
    for line, person in students.items():
        found = directory.find(person)
        if found is None:
            continue
        row = ours[found][0]
        if found in placed:
            notes.append(f"Two rows of the gradebook fit {row.student}; only the first was filled in.")
            continue
        placed.add(found)
        if row.problem is not None and row.undecided:
            notes.append(f"{row.student} has no grade yet, and the row stays as it was: {row.problem.message}")
            continue
        share = maximum / row.score.possible if maximum and row.score.possible else 1.0
        value = f"{round(row.final * share, 2):.10g}".replace(".", mark)
        held = sheet.value(line, target).strip()
        if held not in ("", "-") and _number(held) != _number(value) and not overwrite:
            kept += 1  # a person's own decision, or EX
            continue
        filled += 1
        if held != value:
            changes.append((person.name or person.lms, held, value))
            sheet.put(line, target, value)
    possible = {row.score.possible for row in rows if row.score.possible}
    if maximum and possible and possible != {maximum}:
        notes.append(f"The gradebook's maximum is {maximum:g}; points were scaled to it.")
    homeless = dict.fromkeys(row.student for number, (row, _) in enumerate(ours) if number not in placed)
    if kept:
        one = "1 row holds another grade already, and stays as it was; --overwrite changes it."
        many = f"{kept} rows hold another grade already, and stay as they were; --overwrite changes them."
        notes.append(one if kept == 1 else many)
    left = len(students) - filled
    return Filled(b"", filled, left, list(homeless), notes, sheet.header()[target], changes, kept)


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text.replace(",", ".")) if re.fullmatch(r"\d+([.,]\d+)?", text) else None


def _mark(sheet: Sheet, rows: Sequence[int], column: int) -> str:
    """Return the decimal mark that the file uses."""
    return "," if any(re.fullmatch(r"\d+,\d+", sheet.value(row, column).strip()) for row in rows) else "."
