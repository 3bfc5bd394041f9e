"""`grade release`: the student edition, a folder that pip installs.

It holds the engine, starters, pages, visible checks, and what reference and edits *answer* to them. It holds no line of
the reference, of a hidden check or of an edit, nor the course's seed.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import json
import math
import os
import re
import shutil
import symtable
import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from grader import __version__, outputs
from grader.checking import drawing, record
from grader.checking.compare import TOLERANCES
from grader.checking.oracle import LiveOracle
from grader.checking.session import ROOM, Bench, CheckContext, Examination, examine
from grader.course import Course, Lab
from grader.errors import CourseError, UsageError
from grader.grading import open_bench, open_figure_bench
from grader.manifest import FORMAT_VERSION
from grader.root import PACKAGE
from grader.sandbox.client import Answer, Budget, Worker
from grader.sandbox.values import Tensor
from grader.submission import Submission, parse

COPIED = ("lab.toml", "page.md", "starter.py", "scenarios.py", "hints.toml", "figures.py")
EDIT_SECONDS = 30.0
SEED = "0"  # of the edition; only hidden checks would use it
TELLING = 24  # characters without white space; shorter lines are found everywhere

_PYPROJECT = """[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "alphabar"
version = "{version}+student"
description = {description}
license = "MIT"
license-files = ["LICENSE"]
requires-python = ">=3.11"
dependencies = [
{dependencies}]

[project.scripts]
grade = "grader.cli:main"

[tool.hatch.build.targets.wheel]
only-include = ["grader", "exercises", "fixtures", "templates"]

[tool.hatch.build.targets.wheel.sources]
"exercises" = "grader/_course/exercises"
"fixtures" = "grader/_course/fixtures"
"templates" = "grader/_course/templates"
"""

_README = """# {title}: the student edition

```
pip install .
grade start lab01
grade lab01
```

The visible checks are here, with the answers that right code gives to them. The marks that count are given with
more checks than these.
"""


def release(course: Course, target: Path, progress: Callable[[str], None]) -> list[str]:
    """Write the student edition into the new folder `target`; return the ids of its labs."""
    if os.path.lexists(target):
        raise UsageError(f"{target} is already there; a release is written into a new folder.")
    if any(lab.is_student_edition for lab in course.labs):
        raise CourseError("this is a student edition already: it holds no reference to record answers from.")
    if not target.parent.exists():
        outputs.folder(target.parent)
    with tempfile.TemporaryDirectory(prefix=".release-", dir=target.parent) as unfinished:
        part = Path(unfinished) / target.name
        for lab in course.labs:
            _write_lab(lab, part / "exercises" / lab.folder.name)
        _write_course(course, part)
        for lab in course.labs:
            _refuse_leaks(lab, part / "exercises")
        for lab in course.labs:
            progress(lab.id)
            public = dataclasses.replace(lab, folder=part / "exercises" / lab.folder.name)
            record.write(public.answers_path, _answers(lab, public))
        part.rename(target)
    return [lab.id for lab in course.labs]


def _write_lab(lab: Lab, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in COPIED:
        if (lab.folder / name).is_file():
            shutil.copyfile(lab.folder / name, folder / name)
    checks = visible_checks(lab.checks_path.read_text(encoding="utf-8"))
    (folder / "checks.py").write_text(f'"""The visible checks of {lab.id}."""\n\n{checks}', encoding="utf-8")
    (folder / "misconceptions.toml").write_text("\n".join(_named_only(lab)), encoding="utf-8")


def _answers(lab: Lab, public: Lab) -> dict[record.Key, Answer]:
    """Return what the reference and each single edit answer to the visible checks and to the figures.

    `public` is the lab with the edition's own files: what is recorded is what they ask for, and no hidden check runs.
    """
    reference = parse(lab.reference.encode(), f"{lab.id}.py")
    with open_bench(public, SEED) as bench:
        oracle = bench.oracle
        assert isinstance(oracle, LiveOracle)
        seen = examine(bench, reference)
        _refuse_lost_checks(lab, bench, seen)
        before = _asked(seen, oracle)
        after = _asked(examine(_ShakenBench(bench), reference), oracle)
        if moved := sorted({after[key] for key in after.keys() - before.keys()}):
            raise CourseError(
                f"{', '.join(moved)} of {lab.id} makes a call from the student's own answer. Only calls that are the "
                "same for everyone can be recorded: build the input from the reference, or make the check a hidden one."
            )
        for edit in (spelling for mistake in lab.misconceptions for spelling in mistake.spellings):
            for one in seen.scripts.get(edit.task, []):
                oracle.edited([edit], one.call, Budget(EDIT_SECONDS))
        return _figure_answers(bench, reference) | oracle.answers


def _figure_answers(bench: Bench, reference: Submission) -> dict[record.Key, Answer]:
    with open_figure_bench(bench) as figure_bench:
        oracle = figure_bench.oracle
        assert isinstance(oracle, LiveOracle)
        figure_bench.sandbox.step_forward()
        figure_bench.seat(reference)
        drawing.draw(figure_bench, [task.id for task in bench.lab.tasks])
        figure_bench.dismiss()
        return dict(oracle.answers)


def _refuse_lost_checks(lab: Lab, bench: Bench, seen: Examination) -> None:
    """Raise CourseError unless the edition has every visible check, and the reference passes them."""
    # A starter starts no worker; its checks are only collected.
    with contextlib.closing(Bench(lab, bench.sandbox, SEED)) as whole:
        everything = examine(whole, parse(lab.starter.encode(), "starter.py"))
    lost = {one.id for one in everything.checks if one.mark.visible} ^ {one.id for one in seen.checks}
    if lost:
        raise CourseError(
            f"{lab.folder.name}/checks.py: {', '.join(sorted(lost))} cannot be told from its text to be a visible "
            "check. Write it as a function at the top level, with @check(task, visible=True)."
        )
    for one in seen.checks:
        if one.verdict.outcome != "passed":
            why = one.verdict.evidence.yours if one.verdict.evidence else one.verdict.message
            raise CourseError(f"the reference does not pass {one.id} of the student edition: {why}")


class _ShakenBench(Bench):
    """Another bench's sandbox, oracle and checks, with the student's answers off by the last digit.

    They still pass. But a call that is made from one of them is not the call that was recorded.
    """

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.lab, bench.sandbox, bench.course_seed)
        self.oracle, self.checks = bench.oracle, bench.checks

    def student_answer(self, worker: Worker, context: CheckContext, room: Callable[[], int] = lambda: ROOM) -> Answer:
        answer = super().student_answer(worker, context, room)
        return dataclasses.replace(answer, value=_shaken(answer.value))


def _shaken(value: Any) -> Any:
    if isinstance(value, Tensor) and value.array is not None and value.dtype in TOLERANCES:
        return dataclasses.replace(value, array=np.nextafter(value.array, value.array.dtype.type(math.inf)))
    if isinstance(value, float):
        return math.nextafter(value, math.inf)
    if isinstance(value, dict):
        return {key: _shaken(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_shaken(item) for item in value)
    return value


def _asked(seen: Examination, oracle: LiveOracle) -> dict[str, str]:
    """Return each call's key, with the check that made it; calls to the reference alone are in no script."""
    asked = {key: "a visible check" for _, key in oracle.answers}
    return asked | {one.call.key: one.check for script in seen.scripts.values() for one in script}


# What of checks.py is shown


def visible_checks(source: str) -> str:
    """Return the text of checks.py with its visible checks and what they use, and nothing of the hidden ones."""
    shown: dict[int, ast.stmt] = {}
    others: dict[int, ast.stmt] = {}
    used = {"annotations"}  # of __future__
    for position, node in enumerate(ast.parse(source).body):
        visible = _is_visible(node)
        if visible:
            shown[position] = node
            used |= _names(node)[1]
        elif visible is None:
            others[position] = node
    while needed := {position: node for position, node in others.items() if _names(node)[0] & used}:
        for position, node in needed.items():
            del others[position]
            shown[position] = node
            used |= _names(node)[1]
    in_order = [node for _, node in sorted(shown.items())]
    pieces = ["\n".join(_imports(in_order, used))]
    pieces += [_text(source, node) for node in in_order if not _is_import(node)]
    return "\n\n\n".join(piece for piece in pieces if piece) + "\n"


def _is_visible(node: ast.stmt) -> bool | None:
    """Return whether a function is a visible check; None where it is no check at all."""
    for decorator in getattr(node, "decorator_list", []):
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).split(".")[-1] == "check":
            return any(k.arg == "visible" and ast.unparse(k.value) == "True" for k in decorator.keywords)
    return None


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _names(node: ast.stmt) -> tuple[set[str], set[str]]:
    """Return the module's names that a statement binds, and those that it reads."""
    binds: set[str] = set()
    reads: set[str] = set()
    top = symtable.symtable(ast.unparse(node), "checks.py", "exec")
    tables = [top]
    for table in tables:
        tables += table.get_children()
        for symbol in table.get_symbols():
            if table is top and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
                binds.add(symbol.get_name())
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                reads.add(symbol.get_name())
    return binds, reads


def _imports(nodes: Iterable[ast.stmt], used: set[str]) -> Iterator[str]:
    """Yield the import statements among `nodes`, each with the names that are used."""
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in used]
            yield ast.unparse(
                ast.Import(names) if isinstance(node, ast.Import) else ast.ImportFrom(node.module, names, node.level)
            )


def _text(source: str, node: ast.stmt) -> str:
    """Return a statement as its author wrote it."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return "\n".join(source.split("\n")[first - 1 : node.end_lineno])


# The other files


def _named_only(lab: Lab) -> Iterator[str]:
    """Yield misconceptions.toml without the edits: id, sentence, anchor, number of spellings."""
    for edit in lab.misconceptions:
        yield f"[{edit.task}.{edit.id}]"
        yield f"says = {_toml(edit.says)}\nsee = {_toml(edit.see)}\nrecorded = {len(edit.spellings)}\n"


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # what JSON escapes, TOML escapes in the same way


def _write_course(course: Course, part: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "_course")
    shutil.copytree(PACKAGE, part / "grader", ignore=ignore)
    shutil.copytree(course.templates, part / "templates", ignore=ignore)
    (part / "fixtures").mkdir()
    for path in sorted((course.root / "fixtures").glob("*.py")):
        shutil.copyfile(path, part / "fixtures" / path.name)
    if (course.root / "fixtures" / "minisd").is_dir():
        shutil.copytree(course.root / "fixtures" / "minisd", part / "fixtures" / "minisd", ignore=ignore)
    handbook = course.root / "exercises" / "handbook"
    if handbook.is_dir():
        shutil.copytree(handbook, part / "exercises" / "handbook", ignore=ignore)
    labs = ", ".join(_toml(lab.folder.name) for lab in course.labs)
    title, version = course.manifest.title, course.manifest.version
    (part / "exercises" / "course.toml").write_text(
        f"format_version = {FORMAT_VERSION}\ntitle = {_toml(title)}\nversion = {_toml(version)}\nseed = {_toml(SEED)}\n"
        f"labs = [{labs}]\n",
        encoding="utf-8",
    )
    engine = metadata.distribution("alphabar")
    needs = [need for need in engine.requires or [] if "extra ==" not in need]
    (part / "pyproject.toml").write_text(
        _PYPROJECT.format(
            version=__version__,
            description=_toml(f"{title}: the student edition"),
            dependencies="".join(f"  {_toml(need)},\n" for need in needs),
        ),
        encoding="utf-8",
    )
    (part / "README.md").write_text(_README.format(title=title), encoding="utf-8")
    (part / "LICENSE").write_text(engine.read_text("licenses/LICENSE") or "", encoding="utf-8")


# Nothing is given away


def _refuse_leaks(lab: Lab, exercises: Path) -> None:
    """Raise CourseError if a telling statement of the reference or of a hidden check, or a telling edit, is shown."""
    secret = {*_statements(lab.reference), *_statements(lab.checks_path.read_text(encoding="utf-8"))}
    secret |= {
        line
        for mistake in lab.misconceptions
        for edit in mistake.spellings
        for piece in edit.replacements
        for line in piece.put.splitlines()
    }
    allowed = "".join(_squeezed(_read(path)) for name in ("starter.py", "checks.py") for path in exercises.rglob(name))
    for path in sorted(path for path in exercises.rglob("*") if path.suffix in (".py", ".md", ".toml")):
        shown = _squeezed(_read(path))
        for line in sorted(secret):
            squeezed = _squeezed(line)
            if len(squeezed) >= TELLING and squeezed in shown and squeezed not in allowed:
                where = path.relative_to(exercises)
                raise CourseError(f"the student edition's {where} would give away this line: {line.strip():.120}")


def _statements(source: str) -> Iterator[str]:
    """Yield the statements, of compound ones the head; no imports, and no docstrings, which the starter has too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and not _is_import(node):
            said = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not said:
                yield ast.unparse(node).split("\n")[len(getattr(node, "decorator_list", []))]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text).replace('"', "'").replace(",)", ")")
