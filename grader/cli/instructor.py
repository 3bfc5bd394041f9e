"""What an instructor types: cohort, diff."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grader import __version__, outputs
from grader.cli.progress import shown
from grader.cli.student import course_option, open_course
from grader.cohort.archives import KEY_FILE as KEY_FILE
from grader.errors import UsageError
from grader.seeds import EXAMPLE, WARNING

if TYPE_CHECKING:
    from grader.cohort.late import LatePolicy
    from grader.cohort.overrides import Override
    from grader.cohort.records import CohortResult, Found, Row
    from grader.cohort.roster import Key
    from grader.cohort.run import Cohort
    from grader.cohort.sources import Sources
    from grader.course import Course, Lab
    from grader.executors import Executor, Setup

LAYOUTS = ["auto", "folders", "canvas", "moodle", "gradescope", "brightspace", "sakai", "classroom", "git"]
STORE_FILE = "results.sqlite"
SLOW_FILE = ".slow.json"  # what took too long to look through, so that it does so once
SHOWN = 8  # lines of what needs attention, and pseudonyms in one
LINE = 100  # characters of what the last line says of the first of them


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
@click.option("--only", multiple=True, metavar="WHO", help="Grade these again and leave all others as they are.")
@click.option("--merge", is_flag=True, help="Add these students to those whose grades are in OUT already.")
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
    only: tuple[str, ...],
    merge: bool,
    dry_run: bool,
    course_dir: str | None,
) -> None:
    """Grade a class: SUBMISSIONS is what the LMS exported for LAB, a folder or a zip file.

    Interrupted at any moment, the next run with the same OUT does only what is missing. Names stay in the key file.
    """
    from grader.cohort.find import find
    from grader.cohort.overrides import Adjustments, check_items, read_adjustments, resolved, with_decided
    from grader.cohort.publish import PUBLISHED, cannot_write, held
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
            slow = _slow(target) if target is not None else {}
            found = find(submissions, lab, key_path=key, sources=sources, slow=slow, **options)
            check_items(resolved(adjustments, read_key(key), found), lab.id, tasks)
            _show_mapping(found, read_key(key))
        return
    if target is None:
        raise UsageError("give the folder to write: -o OUT.")
    with contextlib.ExitStack() as stack:
        try:
            outputs.folder(target)
            stack.enter_context(held(target))
            outputs.folder(target / PUBLISHED)  # before an hour of grading, not after it
        except OSError as error:
            raise cannot_write(target, error) from None
        sources = stack.enter_context(Sources())
        # A copy, which takes the place of the key file when the grades do: a run that stops has changed nothing.
        key = _key_copy(stack.enter_context(tempfile.TemporaryDirectory()), target)
        _refuse_another_class(target, key, lab)
        slow = _slow(target)
        known = dict(slow)
        found = find(submissions, lab, key_path=key, sources=sources, slow=slow, **options)
        if slow != known:
            try:
                outputs.write(target / SLOW_FILE, json.dumps(slow, indent=1) + "\n")
            except OSError as error:
                raise cannot_write(target, error) from None
        before = _before(target)
        others = [row.student for row in before.rows] if before is not None and merge else []
        decided = resolved(adjustments, read_key(key), found, others)
        check_items(decided, lab.id, tasks)
        found = with_decided(found, decided, f"{lab.id}.py")
        kept_rows, chosen = _left_alone(before, found, read_key(key), only, merge, target)
        if before is not None and (merge or chosen is not None):
            found = _with_others(found, before, kept_rows, chosen)
        again = {row.student: row for row in before.rows if row.student in chosen} if before and chosen else {}
        click.echo(_found_line(found, read_key(key)), err=True)
        if before is not None:
            _say_what_is_dropped(
                [row for row in before.rows if row.student not in kept_rows], decided, adjustments.late
            )
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
            kept_rows,
            again,
            chosen,
            require_sandbox,
            pictures,
            regrade,
        )
    ctx.exit(code)


def _key_copy(folder: str, target: Path | None) -> Path:
    """Return a key file of its own that says what that of OUT says."""
    from grader.cohort.roster import read_key

    key = Path(folder) / KEY_FILE
    there = target / KEY_FILE if target is not None else None
    if there is not None and there.is_symlink():
        raise UsageError(f"{there} is a symbolic link; who is who is kept in the folder itself.")
    if there is not None and there.exists():
        read_key(there)
        shutil.copyfile(there, key)
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


def _slow(target: Path) -> dict[str, str]:
    try:
        found = json.loads((target / SLOW_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(says) for name, says in found.items()} if isinstance(found, dict) else {}


def _before(target: Path) -> CohortResult | None:
    """Return what OUT holds already."""
    try:
        return read_cohort(target) if (target / "cohort.json").exists() else None
    except UsageError:  # of another version: then nothing of it is kept
        return None


def _left_alone(
    before: CohortResult | None, found: Found, key: Key, only: Sequence[str], merge: bool, target: Path
) -> tuple[dict[str, Row], list[str] | None]:
    """Return whose rows stay as they are in OUT, and who is graded (None: everybody who was found).

    UsageError where OUT holds another class, or --only fits nobody.
    """
    from grader.cohort.overrides import is_about

    rows = {row.student: row for row in before.rows} if before is not None else {}
    present = [entry.student for entry in found.entries]
    if before is not None and not merge:
        there, here = {*rows, *before.found.unmatched}, {*present, *found.unmatched}
        if len(there & here) * 2 < min(len(there), len(here)):
            raise UsageError(
                f"{target} holds the grades of another class: of {len(there)} people there, {len(there & here)} are"
                f" among these {len(here)}. Give this one a folder of its own, or add it to the other with --merge."
            )
    if merge and not only:
        return {student: row for student, row in rows.items() if student not in present}, None
    if not only:
        return {}, None
    if before is None:
        raise UsageError(
            f"{target} holds no grades yet, so there is nobody to grade --only again; grade the class first."
        )
    chosen = []
    for word in only:
        fits = [
            student
            for student in present
            if student == word
            or ((line := key.students.get(student)) and is_about(word, [line.identity, *line.also], line.people))
        ]
        if len(fits) != 1:
            nobody = f"is no pseudonym, number or address of anybody here; `grade who {target}` lists everybody"
            says = f"fits {' and '.join(fits[:3])}" if fits else nobody
            raise UsageError(f"--only {word!r} {says}.")
        chosen += fits
    return {student: row for student, row in rows.items() if student not in chosen}, chosen


def _say_what_is_dropped(
    rows: Sequence[Row], decided: Mapping[str, Sequence[Override]], policy: LatePolicy | None
) -> None:
    """Say which decisions stand in OUT and are not in this run: nothing that a person decided goes without a word."""
    staff = [
        row.student for row in rows if row.student not in decided and any(a.by == "staff" for a in row.adjustments)
    ]
    late = [row.student for row in rows if policy is None and any(a.by == "late policy" for a in row.adjustments)]
    for students, what in ((staff, "what staff decided"), (late, "the late policy")):
        if students:
            who = " ".join(students[:SHOWN]) + (" ..." if len(students) > SHOWN else "")
            click.echo(f"! {what} counted here before and is not in this run; --adjust keeps it: {who}", err=True)


def _with_others(found: Found, before: CohortResult, rows: Mapping[str, Row], chosen: Collection[str] | None) -> Found:
    """Return what was found, of `chosen` alone where some are, with those who are missing from what was there."""
    from grader.cohort.roster import in_order

    if chosen is not None:
        entries = [entry for entry in found.entries if entry.student in chosen]
        found = found.model_copy(update={"entries": entries, "unmatched": []})
    present = {*rows, *(entry.student for entry in found.entries)}
    unmatched = {*found.unmatched, *before.found.unmatched} - present
    return found.model_copy(update={"unmatched": sorted(unmatched, key=in_order)})


def _found_line(found: Found, key: Key) -> str:
    many = "" if len(found.entries) == 1 else "s"
    parts = [f"found {len(found.entries)} submission{many} ({found.layout})", *found.notes]
    if found.unmatched:
        shown = [f"{one} {_called(key, one)}".strip() for one in found.unmatched[:10]]
        if not sys.stderr.isatty():  # names are for the grader's eyes: not for a log that is handed on
            shown = found.unmatched[:10]
        more = ", ..." if len(found.unmatched) > len(shown) else ""
        parts.append(f"missing: {len(found.unmatched)} of the roster ({', '.join(shown)}{more})")
    if found.ignored:
        parts.append(f"left out: {len(found.ignored)}")
    return " · ".join(parts)


def _called(key: Key, student: str) -> str:
    """Return a student's name or names, or whatever else is known."""
    from grader.text import clean_line

    known = key.students.get(student)
    people = known.people if known else []
    names = [one.name or one.email or one.login or one.sid or one.lms for one in people]
    return clean_line(", ".join(name for name in names if name))


def _show_mapping(found: Found, key: Key) -> None:
    from grader.cohort.find import mapping
    from grader.text import clean_line

    named = sys.stdout.isatty()
    head = ("student", "submission", "file", "when", "note")
    table = [tuple(clean_line(cell) for cell in row) for row in (head, *mapping(found))]
    if named:
        table = [(f"{row[0]} {'who' if row[0] == head[0] else _called(key, row[0])}", *row[1:]) for row in table]
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[4]]).rstrip())
    for name in found.ignored:
        click.echo(f"left out: {clean_line(name)}", err=True)
    click.echo(_found_line(found, key), err=True)


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
    kept_rows: Mapping[str, Row],
    again: Mapping[str, Row],
    chosen: Collection[str] | None,
    require_sandbox: bool,
    pictures: bool,
    regrade: bool,
) -> int:
    from grader.cli.publishing import Writer
    from grader.cohort.publish import LEFT, Publication, cannot_write
    from grader.cohort.records import CohortEnvironment
    from grader.cohort.roster import read_key, write_key
    from grader.cohort.run import Cohort
    from grader.store import Store

    started = time.monotonic()
    with Store(target / STORE_FILE) as store:
        cohort = Cohort(course, lab, found, sources, store, require_sandbox)
        works = cohort.work(regrade, chosen)
        kept = cohort.files - len(works) if chosen is None else 0
        if kept:
            click.echo(f"{'1 file has its' if kept == 1 else f'{kept} files have their'} result already", err=True)
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
                writer = Writer(course, lab, publication, policy, decided, pictures)
                result = writer.write(found, cohort, environment, due, kept_rows, again)
                left = publication.set_aside(writer.students)
                write_key(target / KEY_FILE, read_key(key).model_copy(update={"lab": lab.id}))
                publication.finish()
        except OSError as error:
            raise cannot_write(target, error) from None
    if left:
        click.echo(f"! not in the class any more, pages moved to {target / LEFT}: {' '.join(left)}", err=True)
    return _summary(result, writer.scores, target)


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
    from grader.executors.doubt import Doubt

    deadline_s = 300 + 10 * len(lab.tasks) * lab.manifest.limits.cpu_s
    doubt = Doubt(None if lab.is_student_edition else lab.reference.encode(), setup.digests)
    if kind == "dask":
        from grader.executors.dask import DaskExecutor

        return DaskExecutor(setup, jobs, deadline_s, scheduler, doubt=doubt)
    from grader.executors.local import LocalExecutor

    return LocalExecutor(setup, jobs, deadline_s, doubt=doubt)


def _summary(result: CohortResult, scores: Sequence[float | None], target: Path) -> int:
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
    click.echo(_last_line(result, scores), err=True)
    return 70 if any(one.kind in ("grader_error", "pictures") for one in attention) else 0


def _last_line(result: CohortResult, scores: Sequence[float | None]) -> str:
    """Return how the class stands and what to look at first, in one line. A score of None: nobody has judged it."""
    from grader.text import clean_line

    graded = [score for score in scores if score is not None]
    parts = [f"graded {len(graded)}"]
    if graded:
        parts.append(f"median {statistics.median(graded):g}")
    parts.append(f"unusable {len(scores) - len(graded)}")
    parts.append(f"missing {len(result.found.unmatched)}")
    if first := next(iter(result.statistics.attention), None):
        who = f" ({' '.join(first.students[:3])}{' ...' if len(first.students) > 3 else ''})" if first.students else ""
        parts.append(f"look first at: {textwrap.shorten(clean_line(first.says), LINE, placeholder=' ...')}{who}")
    return " · ".join(parts)


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
