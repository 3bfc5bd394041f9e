"""What a job types: ci, which grades what strangers push, and comment, which tells it to a pull request."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader import outputs
from grader.cli import written
from grader.cli.student import UNUSABLE, course_option, exit_code, open_course, page_of
from grader.errors import SubmissionError, UsageError
from grader.root import PACKAGE
from grader.text import clean_name

if TYPE_CHECKING:
    from grader.course import Course, Lab
    from grader.reports.told import Graded
    from grader.results import LabResult

INTERRUPTED = 130  # the exit code where what was graded until then is all there is
MOST_FILES = 50
SKIPPED = {"node_modules", "__pycache__", "venv"}  # folders that hold no submission, beside those that begin with "."


@click.command("ci")
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@click.option("--base", metavar="REF", help="Grade only what HEAD has changed since REF; default: all that is there.")
@click.option("--lab", "lab_ids", multiple=True, metavar="LAB", help="This lab only; may be given several times.")
@click.option(
    "--min-points",
    "minimum",
    default="100%",
    metavar="N",
    help="Points, or percent, that each file needs; default: all.",
)
@click.option("-o", "out", metavar="OUT", default=".grade/ci", help="Folder of the artifacts; default: .grade/ci")
@click.option("--require-sandbox", is_flag=True, help="Run nothing unless every isolation layer is active.")
@written.write_option
@course_option
@click.pass_context
def ci_command(
    ctx: click.Context,
    folder: Path,
    base: str | None,
    lab_ids: tuple[str, ...],
    minimum: str,
    out: str,
    require_sandbox: bool,
    writes: tuple[str, ...],
    course_dir: str | None,
) -> None:
    """Grade the files in FOLDER that are called as a lab is: lab01.py, at any depth.

    FOLDER is a checkout of what was handed in, and data: nothing in it but those files is used, and the course must lie
    elsewhere. Writes ci.json, junit.xml, summary.md and a page a file into OUT; on GitHub and Forgejo also the job's
    summary and annotations. Exits with 0 where each file has its points or no lab is touched, and 1 below.
    """
    written.check(writes)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; a checkout of what was handed in was expected.")
    least = Minimum.of(minimum)
    course = open_course(course_dir)
    top = _refuse_own_course(course, folder)
    labs = [course.lab(lab_id) for lab_id in lab_ids] or list(course.labs)
    found, others = _found(folder, top, base, {f"{lab.id}.py" for lab in labs})
    if base is None:
        # A lab that was asked for and is not there is a result too: the file is missing.
        there = {path.name for path in found}
        found += [folder / f"{lab_id}.py" for lab_id in lab_ids if f"{lab_id}.py" not in there]
    if len(found) > MOST_FILES:
        raise UsageError(f"{len(found)} files are to be graded; {MOST_FILES} are the most. --lab LAB names fewer.")
    notes = _notes(course, found, others, base)
    results: list[tuple[str, LabResult]] = []
    for path, result in _grade_all(course, labs, found, require_sandbox):
        results.append((_shown(path, top or folder), result))
        click.echo(_line(*results[-1], least))
        if exit_code(result) == INTERRUPTED:
            break
    notes += _isolation([result for _, result in results])
    holds = all(least.holds(result) for _, result in results)
    _write(Path(out), course, results, notes, minimum, holds, writes)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    worst = max((exit_code(result) for _, result in results), default=0)
    ctx.exit(worst if worst >= UNUSABLE else 0 if holds else 1)


@dataclass(frozen=True)
class Minimum:
    """What every file needs: `30` points, or all that there are where a lab has fewer; or `75%` of them."""

    number: float
    is_share: bool

    @classmethod
    def of(cls, text: str) -> Minimum:
        """Read the option; UsageError where it is neither."""
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%?)", text)
        if found is None or (found[2] and float(found[1]) > 100):
            raise UsageError(f"--min-points {text}: points such as 30, or percent such as 75%, were expected.")
        return cls(float(found[1]), bool(found[2]))

    def holds(self, result: LabResult) -> bool:
        """Say whether a result has it; what could not be graded never has."""
        possible = result.score.possible
        least = self.number / 100 * possible if self.is_share else min(self.number, possible)
        return result.problem is None and result.score.earned >= round(least, 2)


def _refuse_own_course(course: Course, folder: Path) -> Path | None:
    """Return the root of the repository that FOLDER lies in; UsageError where it brings the course or the engine.

    Whoever hands in could have changed them, and a course's checks are run as the grader's own code.
    """
    from grader.cohort.git import repository

    top = repository(folder)
    whole = (top or folder).resolve()
    for what, place in (("the course", course.root), ("`grade` itself", PACKAGE)):
        if place.resolve().is_relative_to(whole):
            raise UsageError(
                f"{what} lies in {clean_name(whole.name)}, which is what is graded, so whoever handed that in could "
                "have changed it. Check the base out to a folder of its own, and name that: --course DIR."
            )
    return top


def _found(folder: Path, top: Path | None, base: str | None, names: Collection[str]) -> tuple[list[Path], int]:
    """Return the files to grade, and how many other files the pull request changes."""
    if base is None:
        return sorted(_walk(folder, names)), 0
    if top is None:
        raise UsageError(f"--base {base}: {folder} is in no git repository.")
    whole = folder.resolve()
    changed = _changed(top, base)
    inside = [top / name for name in changed if (top / name).is_relative_to(whole)]
    found = [path for path in inside if path.name in names]
    return sorted(found), len(changed) - len(found)


def _walk(folder: Path, names: Collection[str]) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):  # which follows no links
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED]
        yield from (Path(here) / name for name in files if name in names)


def _changed(top: Path, base: str) -> list[str]:
    """Return what HEAD has added or changed since it left `base`, by git's own trees: no filter and no hook is run."""
    from grader.cohort.git import ask

    git = top / ".git"
    commits = [
        ask(git, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode().strip()
        for name in (base, "HEAD")
    ]
    start = ask(git, "merge-base", *commits).decode().strip() if all(commits) else ""
    if not start:
        raise UsageError(
            f"--base {base}: HEAD and this have no commit in common here. Is the clone too shallow? Fetch more of it "
            "(GitHub and Forgejo: fetch-depth; GitLab: GIT_DEPTH)."
        )
    listed = ask(git, "diff-tree", "-r", "-z", "--no-commit-id", "--no-renames", "--name-only", "--diff-filter=d",
                 start, commits[1], "--")  # fmt: skip
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _notes(course: Course, found: Sequence[Path], others: int, base: str | None) -> list[str]:
    from grader.reports.words import count
    from grader.seeds import EXAMPLE, WARNING

    notes = []
    if not found:
        where = "no lab is touched" if base is not None else "there is no file that is called as a lab is, lab01.py say"
        notes.append(f"{where}, so nothing was graded.")
    if others:
        more = count(others, "more changed file")
        notes.append(f"{more}, not used: nothing but the labs' own files is taken from what is graded.")
    if found and course.seed == EXAMPLE and not any(lab.is_student_edition for lab in course.labs):
        notes.append(WARNING)
    return notes


def _isolation(results: Sequence[LabResult]) -> list[str]:
    """Say once where code ran with less than every layer."""
    from grader.reports.words import isolation

    return list(dict.fromkeys(" ".join(said) for one in results if (said := isolation(one.environment)) is not None))


def _grade_all(
    course: Course, labs: Sequence[Lab], paths: Sequence[Path], require_sandbox: bool
) -> Iterator[tuple[Path, LabResult]]:
    """Grade lab by lab, in the course's order."""
    for lab in labs:
        mine = [path for path in paths if path.name == f"{lab.id}.py"]
        if mine:
            yield from _grade(course, course.lab(lab.id), mine, require_sandbox)


def _grade(course: Course, lab: Lab, paths: Sequence[Path], require_sandbox: bool) -> Iterator[tuple[Path, LabResult]]:
    """Grade a lab's files one after the other, each in processes of its own; yield what a student may see."""
    from grader.grading import Job, grade, open_bench
    from grader.results import Problem, for_student
    from grader.scoring import problem_result
    from grader.seeds import fingerprint
    from grader.submission import load

    with contextlib.ExitStack() as stack:
        bench = None
        for path in paths:
            try:
                if not os.path.lexists(path):
                    raise SubmissionError("missing", f"there is no {path.name}.")
                job = Job(lab, load(path))
            except SubmissionError as error:
                said = Problem(kind=error.kind, message=str(error), line=error.line)
                yield path, for_student(problem_result(lab, fingerprint(course.seed), path.name, said))
                continue
            if bench is None:
                bench = stack.enter_context(open_bench(lab, course.seed, require_sandbox=require_sandbox))
            yield path, for_student(grade(job, bench))


def _shown(path: Path, top: Path) -> str:
    """Return a path as the repository names it."""
    whole = path.parent.resolve() / path.name  # which may be a link itself
    return whole.relative_to(top.resolve()).as_posix()


def _line(path: str, result: LabResult, least: Minimum) -> str:
    """Return what the log says of a file. A log may take a line for a command, so nothing in it acts."""
    from grader.reports import words
    from grader.reports.inert import inert

    score = f"{words.points(result.score.earned)} of {words.points(result.score.possible)} points"
    problem = result.problem
    states = words.PROBLEMS.get(problem.kind, words.STOPPED.get(problem.kind, "Not graded")) if problem else ""
    enough = "" if least.holds(result) else ", below what is needed"
    return f"{result.lab}  {inert(clean_name(path))}  {score}{enough}  ({states or words.summary(result)})"


def _write(
    out: Path,
    course: Course,
    results: Sequence[tuple[str, LabResult]],
    notes: Sequence[str],
    minimum: str,
    holds: bool,
    writes: Sequence[str],
) -> None:
    from grader.reports import ci, formats, github
    from grader.reports.told import Graded

    all_graded = [Graded.of(result, path) for path, result in results]
    files = [ci.GradedFile(path=one.path, result=one.result) for one in all_graded]
    run = ci.Run(minimum=minimum, holds=holds, notes=list(notes), files=files)
    summary = github.summary(all_graded, notes)
    try:
        outputs.folder(out)
        outputs.write(out / ci.NAME, run.model_dump_json(indent=1) + "\n")
        outputs.write(out / "junit.xml", formats.find("junit").written(all_graded, os.environ))
        outputs.write(out / "summary.md", summary)
        for name, one in _pages(all_graded):
            outputs.write(out / name, page_of(course, course.lab(one.result.lab), one.result))
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.") from None
    written.write(writes, all_graded)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        click.echo(github.annotate(all_graded), nl=False)
    if named := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(named).open("a", encoding="utf-8") as file:  # the runner's own, to which each step adds
                file.write(summary + "\n")
        except OSError as error:
            click.echo(f"note: the job's summary could not be written: {error.strerror}.", err=True)


def _pages(all_graded: Sequence[Graded]) -> Iterator[tuple[str, Graded]]:
    """Yield each page's name: a lab's, with a number from its second file on; never a word of the student's."""
    seen: dict[str, int] = {}
    for one in all_graded:
        lab = one.result.lab
        seen[lab] = seen.get(lab, 0) + 1
        yield f"{lab}.html" if seen[lab] == 1 else f"{lab}-{seen[lab]}.html", one


@click.command("comment")
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--points", is_flag=True, help="With points; where strangers read the comment, leave them out.")
@click.option("-o", "target", metavar="FILE", default="-", help="Default: the terminal.")
def comment_command(folder: Path, points: bool, target: str) -> None:
    """Write a pull request's comment from OUT, which `grade ci` wrote, in this job or another one.

    What lies in OUT is taken for a stranger's: it is checked, and nothing in it becomes markup. Runs no code of it.
    """
    from grader.reports import ci

    text = ci.comment(ci.read(folder), with_points=points)
    if target == "-":
        sys.stdout.write(text)
    else:
        written.write_asked(target, text)
