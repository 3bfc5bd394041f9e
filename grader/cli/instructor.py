"""What an instructor types: cohort, diff."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grader import __version__, outputs
from grader.cli.progress import shown
from grader.cli.student import course_option, open_course
from grader.cohort.archives import KEY_FILE as KEY_FILE
from grader.errors import UsageError
from grader.seeds import EXAMPLE, WARNING, fingerprint

if TYPE_CHECKING:
    from grader.cohort.late import LatePolicy
    from grader.cohort.overrides import Override
    from grader.cohort.records import CohortEnvironment, CohortResult, Found
    from grader.cohort.roster import Key
    from grader.cohort.run import Cohort
    from grader.cohort.sources import Sources
    from grader.course import Course, Lab
    from grader.executors import Executor, Setup

LAYOUTS = ["auto", "folders", "canvas", "moodle", "gradescope", "brightspace", "sakai", "classroom", "git"]
STORE_FILE = "results.sqlite"
SHOWN = 8  # lines of what needs attention, and pseudonyms in one


@click.command("cohort")
@click.argument("lab_id", metavar="LAB")
@click.argument("submissions", type=click.Path(path_type=Path))
@click.option(
    "-o", "target", metavar="OUT", type=click.Path(path_type=Path), help="The folder to write; kept results are reused."
)
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="How many judges; default: one a core.")
@click.option("--executor", type=click.Choice(["local", "dask"]), default="local", help="Where judges run.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="A Dask scheduler that runs already; default: one is started here."
)
@click.option("--roster", type=click.Path(path_type=Path), metavar="FILE", help="The class list: who is missing?")
@click.option(
    "--layout", type=click.Choice(LAYOUTS), default="auto", help="How the submissions lie; default: found out."
)
@click.option("--deadline", metavar="TIME", help="With a time zone: 2026-11-22T23:59+01:00.")
@click.option(
    "--adjust",
    "adjust_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Late policy and staff's decisions.",
)
@click.option("--submit-tags", is_flag=True, help="A server of ours makes the submit/ tags of clones; believe them.")
@click.option("--require-sandbox", is_flag=True, help="Run nothing unless every isolation layer is active.")
@click.option("--pictures", is_flag=True, help="Draw the pages' pictures too; that takes longer than grading.")
@click.option("--regrade", is_flag=True, help="Grade everything again, also what has a result.")
@click.option("--dry-run", is_flag=True, help="Only show which file is whose, and grade nothing.")
@course_option
@click.pass_context
def cohort_command(
    ctx: click.Context,
    lab_id: str,
    submissions: Path,
    target: Path | None,
    jobs: int | None,
    executor: str,
    scheduler: str | None,
    roster: Path | None,
    layout: str,
    deadline: str | None,
    adjust_path: Path | None,
    submit_tags: bool,
    require_sandbox: bool,
    pictures: bool,
    regrade: bool,
    dry_run: bool,
    course_dir: str | None,
) -> None:
    """Grade a class: SUBMISSIONS is what the LMS exported for LAB, a folder or a zip file.

    Interrupted at any moment, the next run with the same OUT does only what is missing. Names stay in the key file.
    """
    from grader.cohort.find import find
    from grader.cohort.overrides import Adjustments, check_items, read_adjustments, resolved, with_decided
    from grader.cohort.publish import cannot_write, held
    from grader.cohort.roster import read_key
    from grader.cohort.sources import Sources

    if scheduler is not None and executor != "dask":
        raise UsageError("--scheduler needs --executor dask.")
    course = open_course(course_dir)
    lab = course.lab(lab_id)
    due = _time(deadline)
    adjustments = read_adjustments(adjust_path) if adjust_path is not None else Adjustments()
    tasks = [task.id for task in lab.tasks]
    options: dict[str, Any] = {
        "overrides": adjustments.override,
        "layout": layout,
        "roster": roster,
        "deadline": due,
        "trust_tags": submit_tags,
    }
    if dry_run:
        with tempfile.TemporaryDirectory() as folder, Sources() as sources:
            key = _key_copy(folder, target)
            found = find(submissions, lab, key_path=key, sources=sources, **options)
            check_items(resolved(adjustments, read_key(key), found), lab.id, tasks)
            _show_mapping(found)
        return
    if target is None:
        raise UsageError("give the folder to write: -o OUT.")
    with contextlib.ExitStack() as stack:
        try:
            outputs.folder(target)
            stack.enter_context(held(target))
        except OSError as error:
            raise cannot_write(target, error) from None
        sources = stack.enter_context(Sources())
        # A copy, which takes the place of the key file when the grades do: a run that stops has changed nothing.
        key = _key_copy(stack.enter_context(tempfile.TemporaryDirectory()), target)
        _refuse_another_class(target, key, lab)
        found = find(submissions, lab, key_path=key, sources=sources, **options)
        decided = resolved(adjustments, read_key(key), found)
        check_items(decided, lab.id, tasks)
        found = with_decided(found, decided, f"{lab.id}.py")
        click.echo(_found_line(found), err=True)
        if course.seed == EXAMPLE:
            click.echo(f"note: {WARNING}", err=True)
        code = _grade(
            course,
            lab,
            found,
            sources,
            target,
            jobs or _cores(),
            executor,
            scheduler,
            due,
            adjustments.late,
            decided,
            key,
            require_sandbox,
            pictures,
            regrade,
        )
    ctx.exit(code)


def _key_copy(folder: str, target: Path | None) -> Path:
    """Return a key file of its own that says what that of OUT says."""
    key = Path(folder) / KEY_FILE
    if target is not None and (target / KEY_FILE).exists():
        shutil.copyfile(target / KEY_FILE, key)
    return key


def _refuse_another_class(target: Path, key_path: Path, lab: Lab) -> None:
    """Raise UsageError where OUT holds the grades of another lab."""
    from grader.cohort.roster import read_key

    there = read_key(key_path).lab
    if there and there != lab.id:
        raise UsageError(f"{target} holds the grades of {there}; give {lab.id} a folder of its own: -o OUT.")


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time; write 2026-11-22T23:59+01:00.") from None
    if not 1990 < found.year < 2200:
        raise UsageError(f"{text!r} lies outside the calendar of a course.")
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _found_line(found: Found) -> str:
    parts = [f"found {len(found.entries)} submissions ({found.layout})", *found.notes]
    if found.unmatched:
        parts.append(f"{len(found.unmatched)} on the roster are missing: {' '.join(found.unmatched[:10])}")
    if found.ignored:
        parts.append(f"{len(found.ignored)} files left out")
    return " · ".join(parts)


def _show_mapping(found: Found) -> None:
    from grader.cohort.find import mapping
    from grader.text import clean_line

    head = ("student", "submission", "file", "when", "note")
    table = [tuple(clean_line(cell) for cell in row) for row in (head, *mapping(found))]
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[4]]).rstrip())
    for name in found.ignored:
        click.echo(f"left out: {clean_line(name)}", err=True)
    click.echo(_found_line(found), err=True)


def _grade(
    course: Course,
    lab: Lab,
    found: Found,
    sources: Sources,
    target: Path,
    jobs: int,
    kind: str,
    scheduler: str | None,
    due: datetime | None,
    policy: LatePolicy | None,
    decided: Mapping[str, Sequence[Override]],
    key: Path,
    require_sandbox: bool,
    pictures: bool,
    regrade: bool,
) -> int:
    from grader.cohort.publish import LEFT, Publication, cannot_write
    from grader.cohort.records import CohortEnvironment
    from grader.cohort.roster import read_key, write_key
    from grader.cohort.run import Cohort
    from grader.store import Store

    started = time.monotonic()
    with Store(target / STORE_FILE) as store:
        cohort = Cohort(course, lab, found, sources, store, require_sandbox)
        works = cohort.work(regrade)
        kept = cohort.files - len(works)
        if kept:
            click.echo(f"{kept} files have their result already", err=True)
        most = min(jobs, cohort.files if pictures else len(works))
        try:
            ran = _run(cohort, works, pictures, lambda: _executor(kind, scheduler, cohort.setup, lab, most))
        except KeyboardInterrupt:
            click.echo("\ninterrupted; what was graded is kept, and the next run goes on from there.", err=True)
            return 130
        environment = CohortEnvironment(
            grader=__version__,
            executor=kind,
            jobs=ran or jobs,
            graded_at=datetime.now(UTC).replace(microsecond=0),
            graded=len(works),
            kept=kept,
            seconds=round(time.monotonic() - started, 1),
        )
        try:
            with Publication(target) as publication:
                args = (course, lab, found, cohort, environment, publication.folder, due, policy, decided, pictures)
                result = _write(*args)
                left = publication.set_aside([entry.student for entry in found.entries])
                write_key(target / KEY_FILE, read_key(key).model_copy(update={"lab": lab.id}))
                publication.finish()
        except OSError as error:
            raise cannot_write(target, error) from None
    if left:
        click.echo(f"! not in the class any more, pages moved to {target / LEFT}: {' '.join(left)}", err=True)
    return _summary(result, target)


def _run(cohort: Cohort, works: Mapping[str, Sequence[str]], pictures: bool, start: Callable[[], Executor]) -> int:
    """Grade, and draw where that was asked for; return how many judges did."""
    executor = None
    try:
        if works:
            executor = start()
            with shown("grading", len(works), executor.jobs) as tell:
                cohort.grade(works, executor, tell)
        undrawn = cohort.undrawn() if pictures else []
        if undrawn:
            executor = executor or start()
            with shown("drawing", len(undrawn), executor.jobs) as tell:
                stopped = cohort.draw(undrawn, executor, tell)
            if stopped is not None:
                click.echo(f"! Drawing stopped: {stopped}", err=True)
        return executor.jobs if executor is not None else 0
    finally:
        if executor is not None:
            executor.close()


def _executor(kind: str, scheduler: str | None, setup: Setup, lab: Lab, jobs: int) -> Executor:
    deadline_s = 300 + 10 * len(lab.tasks) * lab.manifest.limits.cpu_s
    if kind == "dask":
        from grader.executors.dask import DaskExecutor

        return DaskExecutor(setup, jobs, deadline_s, scheduler)
    from grader.executors.local import LocalExecutor

    reference = None if lab.is_student_edition else lab.reference.encode()
    return LocalExecutor(setup, jobs, deadline_s, reference=reference)


def _write(
    course: Course,
    lab: Lab,
    found: Found,
    cohort: Cohort,
    environment: CohortEnvironment,
    target: Path,
    due: datetime | None,
    policy: LatePolicy | None,
    decided: Mapping[str, Sequence[Override]],
    pictures: bool,
) -> CohortResult:
    """Write everything, one student after the other, into a folder that nobody reads yet."""
    from grader.cohort.gradebooks import csv_bytes, grades_head, grades_lines, items_table, told
    from grader.cohort.overrides import adjust
    from grader.cohort.records import CohortResult, FoundSummary
    from grader.cohort.statistics import Gathering
    from grader.reports.cohort import cohort_page, line
    from grader.reports.html import failed_page, student_page
    from grader.results import Drawn

    gathering, lines = Gathering(lab), []
    tasks = [task.id for task in lab.tasks]
    names = ("cohort.json", "grades.csv", "items.csv")
    with contextlib.ExitStack() as stack:
        file, grades, items = (stack.enter_context(outputs.whole(target / name)) for name in names)
        grades.write(csv_bytes([grades_head(tasks)]))
        items.write(csv_bytes(items_table([])))
        summary = FoundSummary(
            layout=found.layout,
            submissions=len(found.entries),
            unmatched=found.unmatched,
            ignored=found.ignored,
            deadline=due,
        )
        head = CohortResult(
            lab=lab.id,
            title=lab.manifest.title,
            course=lab.course,
            seed=fingerprint(course.seed),
            found=summary,
            rows=[],
            statistics=Gathering(lab).finish(found),
        )
        ahead = head.model_dump_json(exclude={"rows", "statistics", "environment"})
        file.write(ahead.removesuffix("}").encode() + b',\n"rows": [')
        for number, (entry, graded) in enumerate(zip(found.entries, cohort.rows(), strict=True)):
            row = adjust(graded, decided.get(entry.student, ()), policy)
            notes = told(row)
            drawn = cohort.drawn(entry)
            if pictures and drawn is None and row.problem is None and cohort.setup.drawn_by:
                drawn = Drawn(faults=["The pictures were not drawn"])
            if drawn is not None and drawn.faults:
                gathering.attend("pictures", drawn.faults[0], row)
                notes = [*notes, "Not all pictures of this page could be drawn. That is our fault, and costs no point."]
            grades.write(csv_bytes(grades_lines(row, tasks)))
            items.write(csv_bytes(itertools.islice(items_table([row]), 1, None)))  # without the headings
            gathering.add(row)
            lines.append(line(row))
            shown_pictures = drawn.pictures if drawn is not None else []
            own = row.model_copy(update={"submission": row.digest, "pictures": shown_pictures})
            try:
                page = student_page(own, page_url=None, hints=lab.hints, templates_dir=course.templates, notes=notes)
            except Exception as error:  # a page that cannot be made costs itself, and nobody else's
                gathering.attend("grader_error", _no_page(error), row)
                page = failed_page(row.digest, _no_page(error), notes)
            outputs.write(target / "students" / f"{row.student}.html", page)
            file.write((",\n" if number else "\n").encode() + row.model_dump_json().encode())
        environment = environment.model_copy(update={"isolation": dict(sorted(gathering.isolation.items()))})
        result = head.model_copy(update={"statistics": gathering.finish(found), "environment": environment})
        behind = result.model_dump_json(include={"statistics", "environment"})
        file.write(b"\n],\n" + behind.removeprefix("{").encode() + b"\n")
    try:
        page = "".join(cohort_page(result, lab.tasks, lines, course.templates, names))
    except Exception as error:
        click.echo(f"! {_no_page(error)}", err=True)
        page, result = failed_page("the class", _no_page(error), []), _failed(result, error)
    outputs.write(target / "cohort.html", page)
    return result


def _no_page(error: Exception) -> str:
    return f"The page could not be made, which is a bug of ours ({type(error).__name__}); the points are right"


def _failed(result: CohortResult, error: Exception) -> CohortResult:
    """Return the result with our fault in front, for the exit code and the summary."""
    from grader.cohort.records import Attention

    first = Attention(kind="grader_error", says=_no_page(error))
    attention = [first, *result.statistics.attention]
    return result.model_copy(update={"statistics": result.statistics.model_copy(update={"attention": attention})})


def _summary(result: CohortResult, target: Path) -> int:
    from grader.reports.words import PROBLEMS
    from grader.text import clean_line

    attention = result.statistics.attention
    for one in attention[:SHOWN]:
        says = f"{PROBLEMS[one.kind]}: {one.says}" if one.kind in PROBLEMS else one.says
        who = " ".join(one.students[:SHOWN]) + (" ..." if len(one.students) > SHOWN else "")
        click.echo(f"! {clean_line(says)}  {who}".rstrip(), err=True)
    if len(attention) > SHOWN:
        click.echo(f"! {len(attention) - SHOWN} more in cohort.html", err=True)
    for name in ("cohort.html", "cohort.json", "grades.csv", "items.csv"):
        click.echo(target / name)
    return 70 if any(one.kind == "grader_error" for one in attention) else 0


@click.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
def diff_command(old: Path, new: Path) -> None:
    """Say whose score moves from OLD to NEW, and by which check: two cohort.json files, or their folders."""
    from grader.cohort.diff import differences

    found = differences(read_cohort(old), read_cohort(new), _keys_of(old, new))
    for move in found.moves:
        click.echo(f"{move.student}  {move.before:g} -> {move.after:g}  ({move.after - move.before:+g})")
        for sentence in move.checks:
            click.echo(f"    {sentence}")
    for names, word in ((found.gone, "only in OLD"), (found.new, "only in NEW")):
        for name in names:
            click.echo(f"{name}  {word}")
    down = sum(move.after < move.before for move in found.moves)
    up = sum(move.after > move.before for move in found.moves)
    click.echo(
        f"{down} lose points, {up} gain, {len(found.moves) - up - down} move otherwise, {found.same} are unchanged."
    )


def _keys_of(old: Path, new: Path) -> tuple[Key, Key] | None:
    """Return the key files that lie beside both, or None."""
    from grader.cohort.roster import read_key

    files = [(path if path.is_dir() else path.parent) / KEY_FILE for path in (old, new)]
    return (read_key(files[0]), read_key(files[1])) if all(file.exists() for file in files) else None


def read_cohort(path: Path) -> CohortResult:
    """Read a cohort.json, or the one in a folder."""
    from pydantic import ValidationError

    from grader.cohort.records import CohortResult

    file = path / "cohort.json" if path.is_dir() else path
    try:
        return CohortResult.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{file} is no cohort.json of this version: {where}: {first['msg']}.") from None
