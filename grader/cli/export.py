"""What an instructor types once the grades are right: export. Names come in here and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader import outputs
from grader.errors import UsageError

if TYPE_CHECKING:
    from grader.cohort.gradebooks import Filled
    from grader.cohort.records import CohortResult, Row
    from grader.cohort.roster import Key

MAX_NAME = 255  # bytes of one name of a file system

FORMS = ["canvas", "moodle", "feedback", "gradescope", "names"]


@click.command("export")
@click.argument("graded", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(FORMS), required=True, help="Who is to read it.")
@click.option("-o", "target", metavar="PATH", type=click.Path(path_type=Path), required=True, help="What to write.")
@click.option(
    "--gradebook", type=click.Path(path_type=Path), metavar="FILE", help="canvas, moodle: as the LMS exported it."
)
@click.option("--column", metavar="NAME", help="canvas: the assignment's name or number; default: the lab's id.")
@click.option("--bom", is_flag=True, help="names: mark the file as UTF-8, for Excel.")
def export_command(
    graded: Path, form: str, target: Path, gradebook: Path | None, column: str | None, bom: bool
) -> None:
    """Hand the grades of OUT, which `grade cohort` wrote, to another program.

    canvas and moodle fill in the gradebook that the LMS exported; feedback is the archive of pages that the LMS takes
    back; gradescope is a results.json each; names is a table of everybody by name.
    """
    from grader.cli.instructor import KEY_FILE, read_cohort
    from grader.cohort import gradebooks
    from grader.cohort.roster import read_key

    _refuse_idle_options(form, gradebook, column, bom)
    cohort = read_cohort(graded)
    folder = graded if graded.is_dir() else graded.parent
    if not (folder / KEY_FILE).exists():
        raise UsageError(f"{folder / KEY_FILE} is missing; it says who is who, and `grade cohort` wrote it there.")
    key = read_key(folder / KEY_FILE)
    try:
        if not target.parent.exists():
            outputs.folder(target.parent)
        if form in ("canvas", "moodle"):
            filled = _filled(form, gradebook, column, target, cohort, key)
            _write(target, filled.data)
            _tell(filled)
        elif form == "feedback":
            with outputs.whole(target) as file:
                gradebooks.write_feedback(file, cohort.found.layout, cohort.rows, key, _page_of(folder))
        elif form == "gradescope":
            for row in cohort.rows:
                if row.problem is not None and row.undecided:
                    click.echo(
                        f"! {row.student} has no grade yet, and no results.json: {row.problem.message}", err=True
                    )
                else:
                    _write_results(target, row)
        else:
            tasks = [task.id for task in cohort.rows[0].tasks] if cohort.rows else []
            lines = [gradebooks.grades_head(tasks, named=True)]
            for row in cohort.rows:
                lines += gradebooks.grades_lines(row, tasks, key)
            _write(target, gradebooks.csv_bytes(lines, bom=bom))
    except OSError as error:
        raise UsageError(f"{error.filename or target} cannot be read or written: {error.strerror}.") from None
    if cohort.found.unmatched:
        missing = " ".join(cohort.found.unmatched)
        click.echo(f"nothing was handed in by, and nothing written for: {missing}", err=True)
    click.echo(target)


def _refuse_idle_options(form: str, gradebook: Path | None, column: str | None, bom: bool) -> None:
    if form in ("canvas", "moodle") and gradebook is None:
        raise UsageError(f"give {form.capitalize()}'s own export to fill in: --gradebook FILE.")
    for name, given, forms in (
        ("--gradebook", gradebook is not None, ("canvas", "moodle")),
        ("--column", column is not None, ("canvas",)),
        ("--bom", bom, ("names",)),
    ):
        if given and form not in forms:
            raise UsageError(f"{name} says nothing with --to {form}.")


def _filled(
    form: str, gradebook: Path | None, column: str | None, target: Path, cohort: CohortResult, key: Key
) -> Filled:
    from grader.cohort.gradebooks import fill_canvas, fill_moodle

    assert gradebook is not None  # _refuse_idle_options saw to it
    data = gradebook.read_bytes()
    if target.exists() and target.samefile(gradebook):
        raise UsageError(f"{gradebook} is the LMS's own export; write to another file and keep this one.")
    if form == "canvas":
        return fill_canvas(data, gradebook.name, cohort.rows, key, column or cohort.lab)
    return fill_moodle(data, gradebook.name, cohort.rows, key)


def _tell(filled: Filled) -> None:
    click.echo(f"{filled.filled} grades filled in; {filled.left} rows left as they were.", err=True)
    for note in filled.notes:
        click.echo(f"! {note}", err=True)
    if filled.homeless:
        click.echo(f"! not in the gradebook: {' '.join(filled.homeless)}", err=True)


def _page_of(folder: Path) -> Callable[[Row], bytes]:
    return lambda row: (folder / "students" / f"{row.student}.html").read_bytes()


def _write_results(target: Path, row: Row) -> None:
    from grader.cohort.gradebooks import gradescope

    # A submission's name was chosen by others; it is a folder's name here, never a path.
    name = re.sub(r"[/\\]|\A\.+", "_", row.submission)
    if len(name.encode()) > MAX_NAME:
        name = f"{name[:40]}-{row.student}"
    outputs.folder(target)
    text = json.dumps(gradescope(row), ensure_ascii=False, indent=1)
    outputs.write(outputs.folder(target / name) / "results.json", text + "\n")


def _write(path: Path, data: bytes) -> None:
    with outputs.whole(path) as file:
        file.write(data)
