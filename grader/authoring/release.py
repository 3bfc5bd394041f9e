"""`grade release`: the student edition, a folder that pip installs.

It holds the engine, starters, pages, visible checks, and what reference and edits *answer* to them. It holds no line of the
reference, of a hidden check or of an edit, nor the course's seed.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from grader import __version__
from grader.checking import drawing, record
from grader.checking.oracle import LiveOracle
from grader.checking.session import examine
from grader.course import Course, Lab
from grader.errors import CourseError, UsageError
from grader.grading import open_bench
from grader.root import PACKAGE
from grader.sandbox.client import Answer, Budget
from grader.submission import parse

COPIED = ("lab.toml", "page.md", "starter.py", "scenarios.py", "hints.toml", "figures.py")
EDIT_SECONDS = 30.0

_PYPROJECT = """[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "alphabar"
version = "{version}+student"
description = "{title}: the student edition"
license = "MIT"
requires-python = ">=3.11"
dependencies = [
{dependencies}]

[project.scripts]
grade = "grader.cli:main"

[tool.hatch.build.targets.wheel]
only-include = ["grader", "exercises", "fixtures", "templates"]
dev-mode-dirs = ["."]

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
    if target.exists():
        raise UsageError(f"{target} is already there; a release is written into a new folder.")
    if any(lab.is_student_edition for lab in course.labs):
        raise CourseError("this is a student edition already: it holds no reference to record answers from.")
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for lab in course.labs:
        progress(lab.id)
        _release_lab(course, lab, part / "exercises" / lab.folder.name)
    _write_course(course, part)
    for lab in course.labs:
        _refuse_leaks(lab, part)
    part.rename(target)
    return [lab.id for lab in course.labs]


def _release_lab(course: Course, lab: Lab, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in COPIED:
        if (lab.folder / name).is_file():
            shutil.copyfile(lab.folder / name, folder / name)
    (folder / "checks.py").write_text(visible_checks(lab), encoding="utf-8")
    (folder / "misconceptions.toml").write_text("\n".join(_named_only(lab)), encoding="utf-8")
    record.write(folder / "answers.bin", _answers(course, lab))


def _answers(course: Course, lab: Lab) -> dict[record.Key, Answer]:
    """Return what the reference and each single edit answer to the visible checks and figures."""
    with open_bench(lab, course.manifest.seed) as bench:
        oracle = bench.oracle
        assert isinstance(oracle, LiveOracle)
        reference = parse(lab.reference.encode(), f"{lab.id}.py")
        seen = examine(bench, reference)
        bench.seat(reference)
        drawing.draw(bench, [task.id for task in lab.tasks])
        bench.dismiss()
        visible = {task: [one for one in script if one.visible] for task, script in seen.scripts.items()}
        calls = [one.call for script in visible.values() for one in script]
        for call in calls:
            oracle.answer(call)
        hidden = {((), one.call.key) for script in seen.scripts.values() for one in script if not one.visible}
        hidden -= {((), call.key) for call in calls}
        for edit in lab.misconceptions:
            for one in visible.get(edit.task, []):
                oracle.edited([edit], one.call, Budget(EDIT_SECONDS))
        return {key: answer for key, answer in oracle.answers.items() if key not in hidden}


def visible_checks(lab: Lab) -> str:
    """Return checks.py with its visible checks and what they use, and nothing of the hidden ones."""
    source = lab.checks_path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    hidden = {node for node in tree.body if isinstance(node, ast.FunctionDef) and _visible(node) is False}
    wanted: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and _visible(node):
            wanted |= _names(node)
    kept: list[ast.stmt] = []
    before = -1
    while before != len(wanted):  # until nothing more is needed
        before = len(wanted)
        for node in tree.body:
            if node not in hidden and _binds(node) & wanted:
                wanted |= _names(node)
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            kept.append(_only(node, wanted))
        elif (isinstance(node, ast.FunctionDef) and _visible(node)) or (node not in hidden and _binds(node) & wanted):
            kept.append(node)
    doc = f'"""The visible checks of {lab.id}."""\n'
    return doc + "\n" + "\n\n\n".join(ast.unparse(node) for node in kept if ast.unparse(node).strip()) + "\n"


def _visible(node: ast.FunctionDef) -> bool | None:
    """Return whether a function is a visible check; None where it is no check at all."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "check":
            return any(
                k.arg == "visible" and isinstance(k.value, ast.Constant) and k.value.value is True
                for k in decorator.keywords
            )
    return None


def _binds(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def _names(node: ast.stmt) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _only(node: ast.Import | ast.ImportFrom, wanted: set[str]) -> ast.stmt:
    """Return an import with the names that are used; an empty statement where none is."""
    future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
    names = [alias for alias in node.names if future or (alias.asname or alias.name).split(".")[0] in wanted]
    if not names:
        return ast.Expr(ast.Name(""))
    if isinstance(node, ast.Import):
        return ast.Import(names)
    return ast.ImportFrom(node.module, names, node.level)


def _named_only(lab: Lab) -> Iterator[str]:
    """Yield misconceptions.toml without the edits: id, sentence, anchor."""
    for edit in lab.misconceptions:
        yield "[[misconception]]"
        for key, value in (("task", edit.task), ("id", edit.id), ("says", edit.says), ("see", edit.see)):
            yield f"{key} = {_toml(value)}"
        yield "recorded = true\n"


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _write_course(course: Course, part: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "_course")
    shutil.copytree(PACKAGE, part / "grader", ignore=ignore)
    shutil.copytree(course.templates, part / "templates", ignore=ignore)
    (part / "fixtures").mkdir()
    for path in sorted((course.root / "fixtures").glob("*.py")):
        shutil.copyfile(path, part / "fixtures" / path.name)
    if (course.root / "exercises" / "handbook").is_dir():
        shutil.copytree(course.root / "exercises" / "handbook", part / "exercises" / "handbook", ignore=ignore)
    labs = ", ".join(_toml(lab.folder.name) for lab in course.labs)
    title, version = course.manifest.title, course.manifest.version
    # The seed of the hidden checks stays at home; visible checks have a public one of their own.
    (part / "exercises" / "course.toml").write_text(
        f"format_version = 1\ntitle = {_toml(title)}\nversion = {_toml(version)}\nseed = 0\nlabs = [{labs}]\n",
        encoding="utf-8",
    )
    (part / "pyproject.toml").write_text(
        _PYPROJECT.format(version=__version__, title=title.replace('"', "'"), dependencies=_dependencies()),
        encoding="utf-8",
    )
    (part / "README.md").write_text(_README.format(title=title), encoding="utf-8")
    license_ = PACKAGE.parent / "LICENSE"
    if license_.is_file():
        shutil.copyfile(license_, part / "LICENSE")


def _dependencies() -> str:
    from importlib import metadata

    needs = [need for need in metadata.requires("alphabar") or [] if "extra ==" not in need]
    return "".join(f"  {_toml(need)},\n" for need in needs)


def _refuse_leaks(lab: Lab, part: Path) -> None:
    """Look for any telling line of the reference, a hidden check or an edit in the edition; CourseError if there is one."""
    shown = "\n".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in part.rglob("*")
        if path.is_file() and path.suffix in (".py", ".toml", ".md", ".html", ".css", ".txt")
    )
    present = {_squeezed(line) for line in shown.splitlines()}
    allowed = {_squeezed(line) for line in (lab.starter + "\n" + (lab.scenarios or "")).splitlines()}
    allowed |= {_squeezed(line) for line in visible_checks(lab).splitlines()}
    secret = _code_lines(lab.reference) | (_code_lines(lab.checks_path.read_text(encoding="utf-8")))
    secret |= {line for edit in lab.misconceptions for r in edit.replacements for line in r.put.splitlines()}
    for line in sorted(secret):
        squeezed = _squeezed(line)
        if len(squeezed) >= 24 and squeezed in present and squeezed not in allowed:
            raise CourseError(f"the student edition of {lab.id} would give away this line: {line.strip()!r:.120}")


def _code_lines(source: str) -> set[str]:
    """Return the lines of code, without docstrings and comments: those are also on the page and in the starter."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return set(ast.unparse(tree).splitlines())


def _squeezed(line: str) -> str:
    return re.sub(r"\s+", "", line).replace('"', "'")
