"""What an instructor types once the grades are right: export. Names come in here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader import outputs
from grader.errors import UsageError
from grader.text import clean_line

if TYPE_CHECKING:
    from grader.cohort.gradebooks import Filled
    from grader.cohort.records import CohortResult, Row
    from grader.cohort.roster import Key

MAX_NAME = 255  # bytes of one name of a file system

FORMS = ["canvas", "moodle", "feedback", "gradescope", "names"]


@click.command("export")
@click.argument("graded", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(FORMS), required=True, help="Who is to read it.")
@click.option("-o", "target", metavar="PATH", type=click.Path(path_type=Path), help="What to write.")
@click.option(
    "--gradebook", type=click.Path(path_type=Path), metavar="FILE", help="canvas, moodle: as the LMS exported it."
)
@click.option("--column", metavar="NAME", help="canvas: the assignment's name or number; default: the lab's id.")
@click.option("--overwrite", is_flag=True, help="canvas, moodle: also change cells that hold something already.")
@click.option("--dry-run", is_flag=True, help="canvas, moodle: list every cell that would change, and write nothing.")
@click.option("--bom", is_flag=True, help="names: mark the file as UTF-8, for Excel.")
def export_command(
    graded: Path,
    form: str,
    target: Path | None,
    gradebook: Path | None,
    column: str | None,
    overwrite: bool,
    dry_run: bool,
    bom: bool,
) -> None:
    """Hand the grades of OUT, which `grade cohort` wrote, to another program.

    canvas and moodle fill in the gradebook that the LMS exported; feedback is the archive of pages that the LMS takes
    back; gradescope is a results.json each; names is a table of everybody by name.
    """
    from grader.cli.instructor import KEY_FILE, read_cohort
    from grader.cohort import gradebooks
    from grader.cohort.roster import read_key

    _refuse_idle_options(form, gradebook, column, overwrite, dry_run, bom)
    if target is None and not dry_run:
        raise UsageError("give the file or the folder to write: -o PATH.")
    cohort = read_cohort(graded)
    folder = graded if graded.is_dir() else graded.parent
    if not (folder / KEY_FILE).exists():
        raise UsageError(f"{folder / KEY_FILE} is missing; it says who is who, and `grade cohort` wrote it there.")
    key = read_key(folder / KEY_FILE)
    if dry_run:
        _tell(_filled(form, gradebook, column, None, cohort, key, overwrite), each=True)
        return
    assert target is not None  # seen to above
    try:
        if not target.parent.exists():
            outputs.folder(target.parent)
        if form in ("canvas", "moodle"):
            filled = _filled(form, gradebook, column, target, cohort, key, overwrite)
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


def _refuse_idle_options(
    form: str, gradebook: Path | None, column: str | None, overwrite: bool, dry_run: bool, bom: bool
) -> None:
    if form in ("canvas", "moodle") and gradebook is None:
        raise UsageError(f"give {form.capitalize()}'s own export to fill in: --gradebook FILE.")
    for name, given, forms in (
        ("--gradebook", gradebook is not None, ("canvas", "moodle")),
        ("--column", column is not None, ("canvas",)),
        ("--overwrite", overwrite, ("canvas", "moodle")),
        ("--dry-run", dry_run, ("canvas", "moodle")),
        ("--bom", bom, ("names",)),
    ):
        if given and form not in forms:
            raise UsageError(f"{name} says nothing with --to {form}.")


def _filled(
    form: str,
    gradebook: Path | None,
    column: str | None,
    target: Path | None,
    cohort: CohortResult,
    key: Key,
    overwrite: bool,
) -> Filled:
    from grader.cohort.gradebooks import fill_canvas, fill_moodle

    assert gradebook is not None  # _refuse_idle_options saw to it
    try:
        data = gradebook.read_bytes()
        if target is not None and target.exists() and target.samefile(gradebook):
            raise UsageError(f"{gradebook} is the LMS's own export; write to another file and keep this one.")
    except OSError as error:
        raise UsageError(f"{gradebook} cannot be read or written: {error.strerror}.") from None
    if form == "canvas":
        columns = [column] if column else [cohort.lab, f"{cohort.lab} {cohort.title}"]
        return fill_canvas(data, gradebook.name, cohort.rows, key, *columns, overwrite=overwrite)
    return fill_moodle(data, gradebook.name, cohort.rows, key, overwrite=overwrite)


def _tell(filled: Filled, each: bool = False) -> None:
    from grader.reports.words import count

    if each:
        for who, before, after in filled.changes:
            click.echo(f"{clean_line(who)}: {clean_line(before) or '(empty)'} -> {after}")
    changed = f"{len(filled.changes)} of them changed" if filled.changes else "none of them changed"
    click.echo(
        f"column {clean_line(filled.column)!r}: {count(filled.filled, 'grade')} filled in, {changed};"
        f" {count(filled.left, 'row')} left as before.",
        err=True,
    )
    for note in filled.notes:
        click.echo(f"! {note}", err=True)
    if filled.homeless:
        click.echo(f"! not in the gradebook: {' '.join(filled.homeless)}", err=True)


def _page_of(folder: Path) -> Callable[[Row], bytes]:
    return lambda row: (folder / "students" / f"{row.student}.html").read_bytes()


def _write_results(target: Path, row: Row) -> None:
    from grader.cohort.gradebooks import adjustments
    from grader.reports.formats import in_json
    from grader.reports.gradescope import results
    from grader.reports.told import Graded

    # A submission's name was chosen by others; it is a folder's name here, never a path.
    name = re.sub(r"[/\\]|\A\.+", "_", row.submission)
    if len(name.encode()) > MAX_NAME:
        name = f"{name[:40]}-{row.student}"
    outputs.folder(target)
    graded = Graded.of(row.model_copy(update={"submission": row.digest}), row.filename)
    text = in_json(results([graded], row.final, adjustments(row)))
    outputs.write(outputs.folder(target / name) / "results.json", text)


def _write(path: Path, data: bytes) -> None:
    with outputs.whole(path) as file:
        file.write(data)
