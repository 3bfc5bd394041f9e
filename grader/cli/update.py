"""What a student types in the middle of a term: `grade update`, which brings a newer edition and says what is new."""

from __future__ import annotations

import ast
import contextlib
import gzip
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click
from packaging.requirements import Requirement

from grader import weights, wheel
from grader.errors import MachineError, UsageError
from grader.root import PACKAGE, Edition, edition, find_root
from grader.text import clean_line

if TYPE_CHECKING:
    from grader.course import Course, Lab

NAME = "alphabar"
# What of a lab's files a student hears of, and in which words.
WORDS = {
    "page.md": "the page",
    "scenarios.py": "the scenarios",
    "hints.toml": "hints",
    "figures.py": "pictures",
    "misconceptions.toml.gz": "known mistakes",
    "lab.toml": "the lab's own settings",
}


@dataclass(frozen=True)
class Other:
    """A student edition that lies elsewhere: its course, and its wheel."""

    root: Path
    wheel: Path
    edition: Edition


@click.command("update")
@click.argument("source", type=click.Path(path_type=Path), required=False)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def update_command(source: Path | None, dry_run: bool) -> None:
    """Install the newer student edition SOURCE, a wheel or a folder, and say what it changes.

    Your own files are left as they are, and so is what is kept in .grade/. Without SOURCE: from where the course
    publishes its editions, if that is a folder that can be reached from here.
    """
    from grader.course import load

    root = find_root()
    mine = edition(root)
    if mine is None:
        raise UsageError("this is the whole course and no student edition; its own repository brings what is new.")
    if source is None:
        source = Path(mine.updates)
        if not mine.updates or not source.exists():
            where = f" This course publishes it at {clean_line(mine.updates)}." if mine.updates else ""
            raise UsageError(f"give the newer edition, its wheel or its folder: grade update SOURCE.{where}")
    elif not source.exists():
        raise UsageError(f"there is no {clean_line(str(source))}.")
    with _opened(source) as other:
        if other.edition.digest == mine.digest:
            click.echo(f"This is the edition that you have: {_named(mine)}.")
            return
        if not mine.is_older_than(other.edition):
            raise UsageError(
                f"{clean_line(str(source))} is older ({_named(other.edition)}) than what you have ({_named(mine)}); "
                "nothing was changed."
            )
        changes = list(_changes(load(root), load(other.root)))
        if not dry_run:
            _install(other, source)
        click.echo(f"{'Would bring' if dry_run else 'Now here'}: {_named(other.edition)}; before: {_named(mine)}.")
        for line in changes:
            click.echo(f"  {line}")
        click.echo("Your own files are as they were. Grade again to see what the change means for you.")
        if not dry_run and weights.folder() is not None:
            click.echo(f"Pictures of changed labs need the wheel {weights.WHEEL} of the new edition, too.")


def _named(one: Edition) -> str:
    return f"edition {one.digest} of {one.released:%d %B %Y, %H:%M} UTC"


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[Other]:
    """Yield the edition in a wheel or a folder; UsageError where there is none."""
    with tempfile.TemporaryDirectory(prefix="alphabar-") as folder:
        place = Path(folder)
        if source.is_dir():
            root = source
        else:
            root = place / "grader" / "_course"
            _unpack(source, place)
        known = edition(root)
        if known is None or (source.is_dir() and not (source / "pyproject.toml").is_file()):
            raise UsageError(f"{clean_line(str(source))} is no student edition, neither its wheel nor its folder.")
        yield Other(root, wheel.build(source, place) if source.is_dir() else source, known)


def _unpack(source: Path, place: Path) -> None:
    """Unpack a wheel's course below `place`."""
    try:
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                # zipfile itself drops what would lead out of the folder
                if name.startswith(("grader/_course/", f"{NAME}-")):
                    archive.extract(name, place)
    except (zipfile.BadZipFile, OSError) as error:
        raise UsageError(f"{clean_line(str(source))} cannot be read as a wheel: {error}.") from None


# What is new


def _changes(mine: Course, other: Course) -> Iterator[str]:
    """Yield a line for each lab and page that differs."""
    before, after = ({lab.id: lab for lab in course.labs} for course in (mine, other))
    for lab_id in sorted(before.keys() | after.keys()):
        if lab_id not in after:
            yield f"{lab_id}: is gone"
        elif lab_id not in before:
            yield f"{lab_id}: is new"
        elif found := list(_lab_changes(before[lab_id], after[lab_id])):
            yield f"{lab_id}: {'; '.join(found)}"
        elif before[lab_id].source != after[lab_id].source:
            yield f"{lab_id}: hidden checks or the reference, which only the official marks come from"
    pages = [{page.name: page.text for page in course.pages} for course in (mine, other)]
    labs = before.keys() | after.keys()
    for name in sorted(pages[0].keys() | pages[1].keys()):
        if name not in labs and pages[0].get(name) != pages[1].get(name):
            how = "is new" if name not in pages[0] else "is gone" if name not in pages[1] else "has changed"
            yield f"page {name}: {how}"
    if _engine(mine.root) != _engine(other.root):
        yield "the grader itself"


def _lab_changes(mine: Lab, other: Lab) -> Iterator[str]:
    before, after = ({task.id: task for task in lab.tasks} for lab in (mine, other))
    for task in sorted(before.keys() | after.keys()):
        if task not in after:
            yield f"the task {task} is gone"
        elif task not in before:
            yield f"the task {task} is new, {after[task].points} points"
        elif before[task].points != after[task].points:
            yield f"{task} is worth {after[task].points} points, before {before[task].points}"
    if checks := _changed_checks(mine.checks_path, other.checks_path, [*before, *after]):
        yield f"visible checks of {', '.join(checks)}"
    if mine.starter != other.starter:
        yield "the starter (yours stays; `grade start` writes the new one into another folder)"
    told = [words for name, words in WORDS.items() if _bytes(mine.folder / name) != _bytes(other.folder / name)]
    if _answers(mine.answers_path) != _answers(other.answers_path):
        told.append("expected answers")
    if told:
        yield ", ".join(told)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _answers(path: Path) -> tuple[dict[str, object], bytes]:
    """Return recorded answers as they lie in the file, without what they were recorded from."""
    head, _, body = gzip.decompress(path.read_bytes()).partition(b"\n")
    return {key: value for key, value in json.loads(head).items() if key != "source"}, body


def _changed_checks(mine: Path, other: Path, tasks: Sequence[str]) -> list[str]:
    """Return the tasks whose visible checks are not the same; all, where what they share has changed."""
    before, after = (_checks(path) for path in (mine, other))
    if before.pop("", None) != after.pop("", None):
        return ["all tasks"]
    return [task for task in dict.fromkeys(tasks) if before.get(task) != after.get(task)]


def _checks(path: Path) -> dict[str, list[str]]:
    """Return the text of each task's checks, and under no name what is no check."""
    found: dict[str, list[str]] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        marks = [mark for mark in getattr(node, "decorator_list", []) if isinstance(mark, ast.Call) and mark.args]
        tasks = [
            mark.args[0].value
            for mark in marks
            if ast.unparse(mark.func).split(".")[-1] == "check" and isinstance(mark.args[0], ast.Constant)
        ]
        found.setdefault(str(tasks[0]) if tasks else "", []).append(ast.unparse(node))
    return found


def _engine(root: Path) -> dict[str, bytes]:
    """Return the engine's files beside a course, whether that is installed or a folder."""
    package = root.parent if root.name == "_course" else root / "grader"
    return {
        path.relative_to(package).as_posix(): path.read_bytes()
        for path in package.rglob("*.py")
        if "_course" not in path.relative_to(package).parts
    }


# Bringing it


def _install(other: Other, source: Path) -> None:
    """Install the wheel where this command is installed; UsageError where it is a folder that somebody looks after."""
    if not (PACKAGE / "_course").is_dir():
        raise UsageError(f"`grade` runs from the folder {PACKAGE.parent}: update that, with git pull if it is a clone.")
    if _needs(other) != _normal(metadata.requires(NAME) or []):
        raise UsageError(
            f"the new edition needs other libraries than yours: pip install {clean_line(str(source))} brings them too."
        )
    words = [*_installer(), "--no-deps", str(other.wheel)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise MachineError(f"{' '.join(words[:4])} failed: {clean_line(''.join(said))}")


def _needs(other: Other) -> set[str]:
    with zipfile.ZipFile(other.wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode()
    needs = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("Requires-Dist: ")]
    return _normal(needs)


def _normal(requirements: Sequence[str]) -> set[str]:
    """Return requirements in one spelling, without those of extras: whoever made the wheel chose another."""
    return {str(Requirement(line)) for line in requirements if "extra ==" not in line}


def _installer() -> list[str]:
    """Return the command that installs into this Python: its own pip, or uv, which needs none there."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    if shutil.which("uv"):
        return ["uv", "pip", "install", "--quiet", "--offline", "--python", sys.executable]
    raise MachineError("there is neither pip nor uv here to install the new edition with.")
