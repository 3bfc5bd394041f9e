"""What an author types: new, audit and release."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader import outputs
from grader.cli.student import course_option, open_course, refuse_broken_code
from grader.cli.written import write_asked
from grader.errors import UsageError
from grader.text import clean_line

if TYPE_CHECKING:
    from grader.authoring.audit import LabAudit


def _progress() -> tuple[Callable[[str], None], Callable[[], None]]:
    """Return (say, done): on a terminal one line that is written over, elsewhere nothing."""
    if not sys.stderr.isatty():
        return (lambda text: None), (lambda: None)

    def say(text: str) -> None:
        click.echo(f"\r\x1b[K{text[:100]}", err=True, nl=False)

    return say, lambda: click.echo("\r\x1b[K", err=True, nl=False)


@click.command("audit")
@click.argument("lab_ids", metavar="[LAB]...", nargs=-1)
@click.option(
    "--json", "json_path", metavar="FILE", help="Write everything that was found as JSON; - for the terminal."
)
@click.option("--html", "html_path", metavar="FILE", help="Write the matrix as a page.")
@click.option(
    "--task", "tasks", metavar="TASK", multiple=True, help="Only this task of the one LAB; may be given again."
)
@click.option(
    "--quick", is_flag=True, help="A sample of the mutants, right code alone on other seeds, no pairs, no noise."
)
@click.option(
    "--jobs", type=click.IntRange(1, 64), help="Processes at the same time; default: one a core, four at most."
)
@course_option
def audit_command(
    lab_ids: tuple[str, ...],
    tasks: tuple[str, ...],
    json_path: str | None,
    html_path: str | None,
    quick: bool,
    jobs: int | None,
    course_dir: str | None,
) -> None:
    """Prove that the checks of each LAB (default: all) accept right code, reject wrong code and name it.

    Exits with 0 only when all holds. What has been tried is kept in .grade/audit; a second run does what is missing.
    That a lab was clean is recorded in the course's audits.jsonl, for its tests.
    """
    import json
    import os

    from grader.authoring import recorded
    from grader.authoring.audit import audit
    from grader.authoring.pool import Pool

    course = open_course(course_dir)
    labs = [course.lab(name) for name in lab_ids or [lab.id for lab in course.labs]]
    if tasks and len(labs) != 1:
        raise UsageError("--task goes with one LAB: grade audit lab02 --task ddim_step")
    for task in tasks:
        labs[0].task(task)
    found = []
    with Pool(course.root, jobs or min(4, os.cpu_count() or 1)) as pool:
        for lab in labs:
            say, done = _progress()
            try:
                one = audit(
                    course,
                    lab,
                    quick=quick,
                    pool=pool,
                    tasks=tasks,
                    progress=lambda text, lab=lab, say=say: say(f"{lab.id}: {text}"),  # type: ignore[misc]
                )
            finally:
                done()
            found.append(one)
            if not tasks:
                recorded.record(course, lab, one)
            if json_path != "-":
                _show(one)
    text = json.dumps([one.model_dump() for one in found], indent=1) + "\n"
    if json_path == "-":
        click.echo(text, nl=False)
    elif json_path is not None:
        write_asked(json_path, text)
    if html_path is not None:
        from grader.authoring.matrix import matrix_page

        write_asked(html_path, matrix_page(found, course.templates))
    click.get_current_context().exit(0 if not any(one.faults for one in found) else 1)


def _show(one: LabAudit) -> None:
    from grader.authoring.table import table

    click.echo(table(one), nl=False)


@click.command("new")
@click.argument("lab_id", metavar="LAB")
@click.option("--title", help="The lab's title; its folder is named after it.")
@course_option
def new_command(lab_id: str, title: str | None, course_dir: str | None) -> None:
    """Write the files of a new LAB, such as lab11, to start from: small, whole, and clean in the audit."""
    from grader.authoring.new import new

    course = open_course(course_dir)
    refuse_broken_code(course)
    for path in new(course, lab_id, title):
        click.echo(f"wrote {path.relative_to(course.root)}")
    click.echo(f"Next: grade audit {lab_id}. Then replace the task by yours; docs/authors.md says how.")


@click.command("release")
@click.option("-o", "target", required=True, metavar="DIR", type=click.Path(path_type=Path), help="A new folder.")
@click.option(
    "--wheels",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write its wheel here too, and that of the trained weights.",
)
@click.option(
    "--git",
    "repository",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write a bare git repository here too, to clone or to make a template of.",
)
@click.option(
    "--updates",
    metavar="WHERE",
    help="Where newer editions will lie: a folder, which `grade` looks into, or an address, which it tells. Default: "
    'as in the last release; "" for nowhere.',
)
@course_option
def release_command(
    target: Path, wheels: Path | None, repository: Path | None, updates: str | None, course_dir: str | None
) -> None:
    """Build the student edition into DIR: no reference, no hidden check, no edit; answers are recorded.

    What was recorded is kept in .grade/release, and where newer editions will lie; a second release records the labs
    that have changed.
    """
    from grader.authoring.release import release
    from grader.cli import desk

    course = open_course(course_dir)
    refuse_broken_code(course)
    kept = desk.folder("release")
    last = kept / "updates"
    if updates is None:
        updates = last.read_text(encoding="utf-8", errors="replace") if last.is_file() else ""
        if updates:
            click.echo(f"note: newer editions will lie where the last release said: {clean_line(updates)}", err=True)
    with _steps() as tell:
        released = release(course, target, tell, wheels=wheels, repository=repository, updates=updates, kept=kept)
    outputs.write(last, updates)
    labs = ", ".join(released.labs)
    click.echo(f"Wrote the student edition of {labs} to {target} ({_size(target)}).")
    for path in released.wheels:
        click.echo(f"Wheel: {path} ({_size(path)})")
    if released.repository is not None:
        click.echo(f"Repository: {released.repository} ({_size(released.repository)})")
    click.echo(f"Install it with: pip install {released.wheels[0] if released.wheels else target}")


@contextlib.contextmanager
def _steps() -> Iterator[Callable[[int, int, str], None]]:
    """Yield what tells how far a release is: on a terminal one line that is written over, elsewhere a line a lab."""
    if sys.stderr.isatty():
        say, done = _progress()
        try:
            yield lambda count, total, text: say(f"[{count}/{total}] {text}")
        finally:
            done()
        return
    told: set[int] = set()

    def tell(count: int, total: int, text: str) -> None:
        if text and count not in told:
            told.add(count)
            click.echo(f"[{count + 1}/{total}] {text.partition(':')[0]}", err=True)

    yield tell


def _size(path: Path) -> str:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return f"{sum(one.stat().st_size for one in files) / 1e6:.1f} MB"
