"""Where the course lies and what it holds: labs, their files, the edits of their references. Runs in the judge."""

from __future__ import annotations

import ast
import difflib
import hashlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from grader.errors import CourseError, UsageError
from grader.manifest import (
    CourseManifest,
    Edit,
    Equivalent,
    LabManifest,
    Misconception,
    Task,
    read,
    read_edits,
    read_hints,
)
from grader.root import edition
from grader.seeds import overriding
from grader.signature import parameters, signatures


@dataclass(frozen=True)
class Lab:
    """One lab's folder and manifest. Sources are read when asked for."""

    root: Path
    folder: Path
    manifest: LabManifest

    @property
    def id(self) -> str:
        """`lab01`."""
        return self.manifest.id

    @property
    def tasks(self) -> list[Task]:
        """The tasks in the order of the manifest."""
        return self.manifest.task

    def task(self, task_id: str) -> Task:
        """Return one task; UsageError with a suggestion when there is none of that name."""
        for task in self.tasks:
            if task.id == task_id:
                return task
        near = difflib.get_close_matches(task_id, [t.id for t in self.tasks], 1)
        meant = f"did you mean {near[0]}?" if near else "its tasks: " + ", ".join(t.id for t in self.tasks) + "."
        raise UsageError(f"{self.id} has no task {task_id!r}; {meant}")

    @cached_property
    def course(self) -> str:
        """What outputs call the course that it belongs to."""
        return mark(self.root)

    @property
    def answers_path(self) -> Path:
        """Recorded answers, in a student edition; there the reference does not exist."""
        return self.folder / "answers.bin"

    @property
    def is_student_edition(self) -> bool:
        """Whether recorded answers stand in for reference and edits."""
        return self.answers_path.is_file()

    @cached_property
    def source(self) -> str:
        """The digest of the lab as its author wrote it: a student edition has that of the lab it was released from."""
        if known := edition(self.root):
            return known.labs.get(self.id, "")
        digest = hashlib.sha256()
        for path in [*sorted(self.folder.rglob("*")), self.reference_path]:
            if path.is_file() and path.suffix != ".pyc":
                digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:12]

    @property
    def edition(self) -> str:
        """The digest of the student edition that it belongs to; empty in the whole course."""
        known = edition(self.root)
        return known.digest if known else ""

    @property
    def reference_path(self) -> Path:
        """The reference's module."""
        return self.root / "reference" / self.manifest.reference

    def refuse_broken_code(self) -> None:
        """Raise CourseError, with file and line, where a file of the lab is no Python."""
        for path in (self.checks_path, self.folder / "scenarios.py", self.reference_path):
            if path.is_file():
                try:
                    ast.parse(path.read_bytes(), path.name)
                except (SyntaxError, ValueError) as error:
                    line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
                    says = error.msg if isinstance(error, SyntaxError) else str(error)
                    raise CourseError(f"{path.parent.name}/{path.name}{line}: {says}.") from None

    @cached_property
    def reference(self) -> str:
        """The reference's source."""
        return self._text(self.reference_path)

    @cached_property
    def starter(self) -> str:
        """The stub file a student starts from."""
        return self._text(self.folder / "starter.py")

    @cached_property
    def scenarios(self) -> str | None:
        """The public harness that runs in the workers, or None."""
        return self._text(self.scenarios_path) if self.scenarios_path.is_file() else None

    @property
    def scenarios_path(self) -> Path:
        """The public harness's file."""
        return self.folder / "scenarios.py"

    @cached_property
    def page(self) -> str:
        """The lab's page, markdown."""
        return self._text(self.page_path)

    @property
    def page_path(self) -> Path:
        """The lab's page's file."""
        return self.folder / "page.md"

    @cached_property
    def hints(self) -> dict[str, list[str]]:
        """Task id -> up to three hints."""
        return read_hints(self.folder / "hints.toml")

    @cached_property
    def signatures(self) -> dict[str, str]:
        """Function or class -> how it is called, as starter.py has it."""
        try:
            return signatures(self.starter)
        except SyntaxError as error:
            raise CourseError(f"{self.folder.name}/starter.py, line {error.lineno}: {error.msg}.") from None

    def signatures_of(self, task: Task) -> dict[str, str]:
        """Return the signatures of a task's functions; CourseError where starter.py lacks one."""
        lost = [name for name in task.functions if name not in self.signatures]
        if lost:
            raise CourseError(f"{self.folder.name}/starter.py defines no {lost[0]}, which lab.toml lists.")
        return {name: self.signatures[name] for name in task.functions}

    def parameters(self, function: str) -> list[str]:
        """Return the names of a function's positional parameters; none where the starter does not define it."""
        return list(parameters(self.signatures[function])) if function in self.signatures else []

    @cached_property
    def misconceptions(self) -> list[Misconception]:
        """All known mistakes of the lab, in file order."""
        # A student edition packs them: a tenth of all its text, and nothing to read before the lab is solved.
        packed = self.folder / "misconceptions.toml.gz"
        path = packed if packed.is_file() else self.folder / "misconceptions.toml"
        return read_edits(path, Misconception, self._functions)

    @cached_property
    def equivalents(self) -> list[Equivalent]:
        """Right code in other forms."""
        return read_edits(self.folder / "equivalents.toml", Equivalent, self._functions)

    @property
    def _functions(self) -> dict[str, list[str]]:
        return {task.id: task.functions for task in self.tasks}

    @property
    def checks_path(self) -> Path:
        """The hidden checks."""
        return self.folder / "checks.py"

    @property
    def figures_path(self) -> Path:
        """The report's pictures."""
        return self.folder / "figures.py"

    def _text(self, path: Path) -> str:
        return _text(path, self.folder.name)


@dataclass(frozen=True)
class Page:
    """Something to read: a lab's page, or one of the handbook, which belong to no single lab."""

    name: str  # what `grade read` takes: `lab01`, `overview`
    title: str
    path: Path

    @cached_property
    def text(self) -> str:
        """The page, markdown."""
        return _text(self.path, self.name)


@dataclass(frozen=True)
class Course:
    """A course: its manifest and its labs."""

    root: Path
    manifest: CourseManifest
    labs: Sequence[Lab]
    seed: str  # the secret that hidden inputs come from: course.toml's, or that of $GRADE_SEED_FILE

    @property
    def mark(self) -> str:
        """What outputs call it."""
        return mark(self.root)

    @property
    def templates(self) -> Path:
        """Folder of the pages' templates."""
        return self.root / "templates"

    def lab(self, lab_id: str) -> Lab:
        """Return one lab; UsageError with a suggestion when there is none of that name."""
        for lab in self.labs:
            if lab.id == lab_id:
                lab.refuse_broken_code()
                return lab
        near = _nearest(lab_id, [lab.id for lab in self.labs])
        meant = f"Did you mean {near}?" if near else "`grade list` shows the labs."
        raise UsageError(f"there is no lab {lab_id!r}. {meant}")

    @property
    def pages(self) -> list[Page]:
        """All that can be read: the handbook's pages, then the labs'."""
        handbook = [Page(path.stem, _title(path), path) for path in (self.root / "exercises/handbook").glob("*.md")]
        handbook.sort(key=lambda page: page.name)
        return handbook + [Page(lab.id, lab.manifest.title, lab.page_path) for lab in self.labs]

    def page(self, name: str) -> Page:
        """Return one page; UsageError with a suggestion when there is none of that name."""
        pages = self.pages
        for page in pages:
            if page.name == name:
                return page
        near = _nearest(name, [page.name for page in pages])
        meant = f"Did you mean {near}?" if near else "`grade read` lists the pages."
        raise UsageError(f"there is no page {name!r}. {meant}")

    def links(self, page: Page) -> dict[str, str]:
        """Return how `page` may link to the others: path from file to file -> name of the page."""
        return {_from(page, one.path): one.name for one in self.pages}

    def drawings(self, page: Page) -> dict[str, str]:
        """Return how `page` may include the handbook's drawings: path from file to file -> SVG."""
        return {_from(page, path): _text(path, page.name) for path in (self.root / "exercises/handbook").glob("*.svg")}


def _from(page: Page, path: Path) -> str:
    """Return the path that leads from a page to another file, as markdown writes it."""
    return Path(os.path.relpath(path, page.path.parent)).as_posix()


def _nearest(word: str, names: Sequence[str]) -> str | None:
    """Return the name that was probably meant: `1` and `lab1` mean lab01."""
    number = word.removeprefix("lab")
    if number.isascii() and number.isdigit() and (name := f"lab{int(number):02}") in names:
        return name
    return next(iter(difflib.get_close_matches(word, names, 1)), None)


def _title(path: Path) -> str:
    """Return the text of a page's first heading."""
    for line in _text(path, path.stem).splitlines():
        if line.startswith("# "):
            return line[2:].strip()
    raise CourseError(f"{path.parent.name}/{path.name} needs a title: a line that starts with '# '.")


def _text(path: Path, owner: str) -> str:
    """Return a course file's text; CourseError, naming who needs it, where the course lacks it."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CourseError(f"{owner} needs {path.name}, and {path.parent.name}/ has no such file.") from None


def load(root: Path) -> Course:
    """Read the course at `root`; CourseError when a manifest is wrong."""
    manifest = read(root / "exercises" / "course.toml", CourseManifest)
    labs = []
    for name in manifest.labs:
        folder = root / "exercises" / name
        labs.append(Lab(root, folder, read(folder / "lab.toml", LabManifest)))
    ids = [lab.id for lab in labs]
    if len(ids) != len(set(ids)):
        raise CourseError("exercises/course.toml: two labs have the same id.")
    return Course(root, manifest, labs, overriding() or manifest.seed)


def mark(root: Path) -> str:
    """Return what outputs call the course at `root`: title, version, and a digest of all that it judges by.

    The seed is no part of it: a short one could be found by trying.
    """
    manifest = read(root / "exercises" / "course.toml", CourseManifest)
    digest = hashlib.sha256(manifest.model_dump_json(exclude={"seed", "edition"}).encode())
    for folder in ("exercises", "reference"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.suffix != ".pyc" and path.name != "course.toml":
                content = hashlib.sha256(path.read_bytes()).digest()
                digest.update(path.relative_to(root).as_posix().encode() + b"\0" + content)
    return f"{manifest.title} {manifest.version} ({digest.hexdigest()[:12]})"


@lru_cache(maxsize=256)  # the diagnosis applies hundreds of edits to one source
def definition_span(source: str, name: str, where: str) -> tuple[int, int]:
    """Return the (start, end) character span of the top-level function or class `name` in `source`."""
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            starts = [0]
            for line in source.splitlines(keepends=True):
                starts.append(starts[-1] + len(line))
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            assert node.end_lineno is not None
            return starts[first - 1], starts[node.end_lineno]
    raise CourseError(f"{where} defines no {name}, which lab.toml lists as a task.")


def apply_edits(source: str, edits: Sequence[Edit], where: str = "the reference") -> str | None:
    """Return `source` with all `edits` applied to the original text, or None where two of them overlap.

    Each `find` must occur exactly once in its task's functions; CourseError otherwise.
    """
    spans: list[tuple[int, int, str]] = []
    for edit in edits:
        bodies = [definition_span(source, function, where) for function in edit.functions]
        if edit.code is not None:
            code = edit.code if edit.code.endswith("\n") else edit.code + "\n"
            spans += [(start, end, code if number == 0 else "") for number, (start, end) in enumerate(bodies)]
        for piece in edit.replacements:
            count = sum(source[start:end].count(piece.find) for start, end in bodies)
            if count != 1:
                raise CourseError(
                    f"{edit.key}: `find` must occur exactly once in {' and '.join(edit.functions)} of {where}, "
                    f"but it occurs {count} times: {piece.find!r:.100}"
                )
            at = next(found for start, end in bodies if (found := source.find(piece.find, start, end)) >= 0)
            spans.append((at, at + len(piece.find), piece.put))
    spans.sort(key=lambda span: span[:2])
    for (_, end, _), (start, _, _) in itertools.pairwise(spans):
        if start < end:
            return None
    for start, end, put in reversed(spans):
        source = source[:start] + put + source[end:]
    return source
