"""What an instructor types over several folders of results: who, term, merge. Names are shown here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader import outputs
from grader.cohort.archives import KEY_FILE
from grader.errors import UsageError
from grader.text import clean_line

if TYPE_CHECKING:
    from grader.cohort.records import CohortResult
    from grader.cohort.roster import Key


def _read(folder: Path) -> tuple[CohortResult, Key]:
    from grader.cli.instructor import read_cohort
    from grader.cohort.roster import read_key

    if not (folder / KEY_FILE).exists():
        raise UsageError(f"{folder / KEY_FILE} is missing; it says who is who, and `grade cohort` wrote it there.")
    return read_cohort(folder), read_key(folder / KEY_FILE)


@click.command("who")
@click.argument("graded", metavar="OUT", type=click.Path(path_type=Path))
@click.argument("students", metavar="[STUDENT]...", nargs=-1)
def who_command(graded: Path, students: tuple[str, ...]) -> None:
    """Say who a pseudonym of OUT is, or everybody; the other way round by a name, a number or an address."""
    from grader.cohort.roster import Person, in_order
    from grader.cohort.sheets import plain

    cohort, key = _read(graded)
    rows = {row.student: row for row in cohort.rows}
    shown = []
    for word in students or sorted(key.students, key=in_order):
        fits = [
            student
            for student, known in key.students.items()
            if student == word
            or any(plain(word) in map(plain, (one.name, one.email, one.login, one.sid)) for one in known.people)
            or word in (known.identity, known.submission, *known.also, *(one.lms for one in known.people))
        ]
        if not fits:
            raise UsageError(f"{graded} knows nobody who is called {word!r}; `grade who {graded}` lists everybody.")
        shown += fits
    for student in dict.fromkeys(shown):
        known = key.students[student]
        for person in known.people or [Person()]:
            facts = [person.name, person.email, person.sid, person.login, person.lms]
            about = clean_line(", ".join(fact for fact in facts if fact)) or clean_line(known.identity)
            row = rows.get(student)
            points = "-" if row is None or row.undecided else f"{row.final:g} of {row.score.possible:g}"
            click.echo(f"{student}  {about}  {points}  {clean_line(known.submission)}".rstrip())


@click.command("term")
@click.argument("graded", metavar="OUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "target", metavar="PATH", type=click.Path(path_type=Path), required=True, help="The folder to write."
)
def term_command(graded: tuple[Path, ...], target: Path) -> None:
    """Join the labs of a term: one gradebook and one page of students by labs, each OUT one lab. Both hold names."""
    from grader.cohort import term
    from grader.cohort.gradebooks import csv_bytes
    from grader.cohort.publish import cannot_write
    from grader.reports.term import term_page

    found = term.gathered([_read(folder) for folder in graded])
    try:
        outputs.folder(target)
        with outputs.whole(target / "term.csv") as file:
            file.write(csv_bytes(term.table(found)))
        outputs.write(target / "term.html", term_page(found))
    except OSError as error:
        raise cannot_write(target, error) from None
    missing = sum(len(one.missing) for one in found.students)
    click.echo(target / "term.html")
    click.echo(target / "term.csv")
    for one, other, why in found.doubts:
        both = f"{term.shown(one, found.labs)} and {term.shown(other, found.labs)}"
        click.echo(f"! may be one person, and has two lines: {clean_line(both)}: {why}", err=True)
    if found.doubts:
        click.echo(f"! {term.HOW_TO_TELL}", err=True)
    doubts = f" · {len(found.doubts)} in doubt" if found.doubts else ""
    click.echo(f"{len(found.students)} students · {len(found.labs)} labs · missing {missing}{doubts}", err=True)


@click.command("merge")
@click.argument("sections", metavar="OUT OUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "target", metavar="OUT", type=click.Path(path_type=Path), required=True, help="The folder to write."
)
@click.option("--course", "course_dir", metavar="DIR", help="The course's folder.")
def merge_command(sections: tuple[Path, ...], target: Path, course_dir: str | None) -> None:
    """Join sections of one class that were graded in folders of their own; nobody may be in two of them."""
    from grader.cli.merging import merge
    from grader.cli.student import open_course

    if len(sections) < 2:
        raise UsageError("name the folders to be joined, two or more.")
    result = merge([(folder, *_read(folder)) for folder in sections], target, open_course(course_dir))
    click.echo(target / "cohort.html")
    click.echo(f"{len(result.rows)} students of {len(sections)} sections", err=True)
