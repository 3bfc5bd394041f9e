"""What an author types: audit and release."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader.cli.student import course_option, open_course

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
@click.option("--quick", is_flag=True, help="Without the pairs of misconceptions.")
@course_option
def audit_command(lab_ids: tuple[str, ...], json_path: str | None, quick: bool, course_dir: str | None) -> None:
    """Prove that the checks of each LAB (default: all) accept right code, reject wrong code and name it.

    Exits with 0 only when all holds.
    """
    import json

    from grader.authoring.audit import audit

    course = open_course(course_dir)
    labs = [course.lab(name) for name in lab_ids] or list(course.labs)
    found = []
    for lab in labs:
        say, done = _progress()
        one = audit(course, lab, quick=quick, progress=lambda text, lab=lab, say=say: say(f"{lab.id}: {text}"))  # type: ignore[misc]
        done()
        found.append(one)
        if json_path != "-":
            _show(one)
    text = json.dumps([one.model_dump() for one in found], indent=1) + "\n"
    if json_path == "-":
        click.echo(text, nl=False)
    elif json_path is not None:
        Path(json_path).write_text(text, encoding="utf-8")
    click.get_current_context().exit(0 if not any(one.faults for one in found) else 1)


def _show(one: LabAudit) -> None:
    rejected = sum(t.kind == "misconception" and t.fault is None for t in one.trials)
    passed = sum(t.kind == "equivalent" and t.fault is None for t in one.trials)
    click.echo(f"{one.lab}  {one.title}: {one.checks} checks")
    click.echo(f"  misconceptions rejected and named alone  {rejected} of {one.misconceptions}")
    click.echo(f"  equivalents passed with half to spare    {passed} of {one.equivalents}")
    if one.pairs is not None:
        p = one.pairs
        total = p.exact + p.one_of + p.subset + p.unnamed + p.wrong + p.passed
        click.echo(
            f"  pairs of misconceptions                  {total}: {p.exact} named exactly, {p.one_of} as one of "
            f"several, {p.subset} as one of the two, {p.unnamed} unnamed, {p.wrong} otherwise, {p.passed} passed"
        )
    for fault in one.faults:
        click.echo(f"  fault: {fault}")
    click.echo("  clean" if not one.faults else f"  {len(one.faults)} faults")


@click.command("release")
@click.option("-o", "target", required=True, metavar="DIR", type=click.Path(path_type=Path), help="A new folder.")
@course_option
def release_command(target: Path, course_dir: str | None) -> None:
    """Build the student edition into DIR: no reference, no hidden check, no edit; answers are recorded."""
    from grader.authoring.release import release

    course = open_course(course_dir)
    say, done = _progress()
    labs = release(course, target, say)
    done()
    click.echo(f"Wrote the student edition of {', '.join(labs)} to {target}. Install it with: pip install {target}")
