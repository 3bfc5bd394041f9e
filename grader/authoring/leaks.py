"""What a student edition may not hold: lines of a reference, of a hidden check, of an edit, wherever they stand."""

from __future__ import annotations

import ast
import gzip
import hashlib
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from grader.course import Course, Lab
from grader.errors import CourseError

TELLING = 24  # characters without white space; shorter lines are found everywhere
STEP = TELLING // 2
RECORDED = ".bin"  # answers: what a wrong prediction answers is a value there, and no code
TEXTS = (".py", ".md", ".toml", ".json", ".html", ".css", ".js", ".svg", ".txt", ".ipynb")
PRINTABLE = re.compile(rb"[\t\n\r -~]{%d,}" % TELLING)


class Leaks:
    """The telling lines of a course, and what was looked through for them already."""

    def __init__(self, course: Course, edition: Path) -> None:
        """Gather the lines; what `edition` shows in its starters and visible checks may be shown elsewhere."""
        shown = [path for name in ("starter.py", "checks.py") for path in sorted(edition.rglob(name))]
        self._allowed = "".join(_squeezed(path.read_text(encoding="utf-8")) for path in shown)
        self._lines: dict[str, str] = {}  # squeezed -> line
        self._pieces: dict[str, list[tuple[int, str]]] = {}  # STEP characters -> where they stand in which line
        self._clean: set[bytes] = set()
        for line in {line for lab in course.labs for line in _secrets(lab)}:
            squeezed = _squeezed(line)
            if len(squeezed) >= TELLING and squeezed not in self._lines:
                self._lines[squeezed] = line
                for at in range(STEP):
                    self._pieces.setdefault(squeezed[at : at + STEP], []).append((at, squeezed))

    def refuse_folder(self, folder: Path) -> None:
        """Raise CourseError if a file below `folder` gives a line away."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.refuse(path.relative_to(folder).as_posix(), path.read_bytes())

    def refuse_wheel(self, wheel: Path) -> None:
        """Raise CourseError if a file in `wheel` gives a line away."""
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                self.refuse(f"{wheel.name}: {name}", archive.read(name))

    def refuse(self, name: str, data: bytes) -> None:
        """Raise CourseError if what is in one file gives a line away."""
        digest = hashlib.sha256(data).digest()
        if digest in self._clean:
            return
        for line in self._found(_text(name, data)):
            if not (name.endswith(RECORDED) and _is_value(line)):
                raise CourseError(f"the student edition's {name} would give away this line: {line.strip():.120}")
        self._clean.add(digest)

    def _found(self, text: str) -> Iterator[str]:
        shown = _squeezed(text)
        # Wherever a line begins, one of these pieces lies within its first characters.
        for place in range(0, len(shown), STEP):
            for at, squeezed in self._pieces.get(shown[place : place + STEP], ()):
                if place >= at and shown.startswith(squeezed, place - at) and squeezed not in self._allowed:
                    yield self._lines[squeezed]


def _secrets(lab: Lab) -> Iterator[str]:
    yield from _statements(lab.reference)
    yield from _statements(lab.checks_path.read_text(encoding="utf-8"))
    for mistake in lab.misconceptions:
        for edit in mistake.spellings:
            for piece in edit.replacements:
                yield from piece.put.splitlines()


def _statements(source: str) -> Iterator[str]:
    """Yield the statements, of compound ones the head; no imports, and no docstrings, which the starter has too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and not isinstance(node, (ast.Import, ast.ImportFrom)):
            said = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not said:
                yield ast.unparse(node).split("\n")[len(getattr(node, "decorator_list", []))]


def _text(name: str, data: bytes) -> str:
    """Return what can be read in a file: all of a text, of others the runs of characters that can be printed."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    elif name.endswith(TEXTS):
        return data.decode("utf-8", errors="replace")
    return "\n".join(run.decode("ascii") for run in PRINTABLE.findall(data))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text).replace('"', "'").replace(",)", ")")


def _is_value(line: str) -> bool:
    try:
        ast.literal_eval(f"({line})")
    except (SyntaxError, ValueError):
        return False
    return True
