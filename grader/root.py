"""Where the course lies, and a first glance at a lab: enough to start the sandbox while the rest is still importing.

Standard library only: on a cold start torch's import should begin before ours does anything slow.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from grader.errors import CourseError
from grader.signature import signatures

PACKAGE = Path(__file__).parent


def find_root(explicit: str | None = None) -> Path:
    """Return the course's root: --course, $GRADE_COURSE, else the one that came with this engine.

    Where the command is typed decides nothing: that may be a folder that somebody has handed in, and the course's
    checks are run as the grader's own code.
    """
    chosen = explicit or os.environ.get("GRADE_COURSE")
    if chosen:
        root = Path(chosen).expanduser().resolve()
        if not _is_root(root):
            raise CourseError(f"{chosen} is not a course: it has no exercises/course.toml.")
        return root
    for root in (PACKAGE / "_course", PACKAGE.parent):
        if _is_root(root):
            return root
    raise CourseError("no course found: give --course DIR, a folder that holds exercises/course.toml.")


def passed_over(root: Path) -> Path | None:
    """Return the course above the working directory where that is not `root`: it may be the one that was meant."""
    here = Path.cwd().resolve()
    nearest = next((folder for folder in (here, *here.parents) if _is_root(folder)), None)
    return nearest if nearest is not None and nearest != root.resolve() else None


def _is_root(path: Path) -> bool:
    return (path / "exercises" / "course.toml").is_file()


@dataclass(frozen=True)
class Glance:
    """What the sandbox needs to know of a lab before its manifest is checked."""

    libraries: Literal["torch", "diffusers"]
    uses_meta_device: bool
    tasks: dict[str, dict[str, str]]  # task -> its functions' signatures


@dataclass(frozen=True)
class Edition:
    """Which student edition a course is."""

    digest: str
    released: datetime
    labs: dict[str, str]  # lab -> digest of the lab that it was released from
    updates: str = ""  # where newer editions are to be found: a folder, or an address to be read

    def is_older_than(self, other: Edition) -> bool:
        """Tell whether `other` holds something else and was released later."""
        return self.digest != other.digest and self.released < other.released


def edition(root: Path) -> Edition | None:
    """Return which student edition lies at `root`; None where that is no student edition."""
    try:
        return read_edition(_toml(root / "exercises" / "course.toml"))
    except (OSError, ValueError):
        return None


def read_edition(manifest: dict[str, Any]) -> Edition | None:
    """Return which student edition a course.toml speaks of."""
    table = manifest.get("edition")
    try:
        assert isinstance(table, dict)
        released = table["released"]
        at = released if released.tzinfo else released.replace(tzinfo=UTC)
        labs = {str(lab): str(of) for lab, of in table["labs"].items()}
        return Edition(str(table["digest"]), at, labs, str(table.get("updates", "")))
    except (AssertionError, KeyError, AttributeError, TypeError):
        return None


def newer(root: Path) -> tuple[Path, Edition] | None:
    """Return where a newer edition than that at `root` lies, and which: where it says, or around the working directory.

    Nothing is asked of a network.
    """
    mine = edition(root)
    if mine is None:
        return None
    for place in (Path(mine.updates) if mine.updates else None, passed_over(root)):
        other = edition(place) if place is not None else None
        if place is not None and other is not None and mine.is_older_than(other):
            return place, other
    return None


def glance(root: Path, lab_id: str) -> Glance | None:
    """Look into a lab's manifest; None where anything is odd, which the real reading will then explain."""
    exercises = root / "exercises"
    try:
        for name in _toml(exercises / "course.toml")["labs"]:
            data = _toml(exercises / name / "lab.toml")
            if data["id"] == lab_id:
                libraries: Literal["torch", "diffusers"]
                libraries = "diffusers" if data.get("libraries") == "diffusers" else "torch"
                known = signatures((exercises / name / "starter.py").read_text(encoding="utf-8"))
                functions = {str(task["id"]): list(task.get("functions", [task["id"]])) for task in data["task"]}
                tasks = {task: {name: known[name] for name in names} for task, names in functions.items()}
                return Glance(libraries, data.get("uses_meta_device") is True, tasks)
    except (OSError, ValueError, KeyError, TypeError, SyntaxError):
        pass
    return None


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
