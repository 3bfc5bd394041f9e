"""What a verdict hangs on, as digests: a result or an audit that was kept holds for as long as they stay the same.

A submission's bytes, what its task is judged by (checks, reference, known mistakes, scenarios, its table in lab.toml),
the engine, and the libraries. Of code the statements count; comments and blank lines do not, nor do the engine's
docstrings.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable

from grader.course import Lab
from grader.root import PACKAGE

# The floors of the package. A module imports lower floors or its own folder only (tests/test_floors.py), so whatever
# takes part in a verdict stands on a floor up to `grading`, and what tells or keeps one stands above.
STAIR = (
    ("__init__", "errors", "results", "recipes", "signature", "text", "outputs"),
    ("seeds",),
    ("root", "weights", "pictures", "manifest", "submission", "headline", "trim"),
    ("kit", "course"),
    ("scoring",),
    ("sandbox",),
    ("checking",),
    ("grading",),
    ("store", "digests", "wheel"),
    ("executors",),
    ("cohort",),
    ("reports",),
    ("authoring",),
    ("cli",),
)
JUDGING = [part for floor in STAIR[: STAIR.index(("grading",)) + 1] for part in floor]
LIBRARIES = ("torch", "numpy", "ml-dtypes")  # and diffusers, where a lab imports it


def source_digest(source: bytes) -> str:
    """Return the sha256 of a submission: whole, for nobody may make two files that pass for one."""
    return hashlib.sha256(source).hexdigest()


# The engine and the machine.


@functools.cache
def engine(*above: str) -> str:
    """Return the digest of every floor up to grading, and of the parts `above` it that a caller rests on as well."""
    parts = []
    for name in [*JUDGING, *above]:
        folder = PACKAGE / name
        for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                    del node.body[0]
            parts += [path.relative_to(PACKAGE).as_posix(), ast.dump(tree)]
    return _digest(parts)


def libraries(lab: Lab) -> list[str]:
    """Return the versions of what answers a lab's calls."""
    names = [*LIBRARIES, *(["diffusers"] if lab.manifest.libraries == "diffusers" else [])]
    return [f"{name} {importlib.metadata.version(name)}" for name in names]


def machine_class(lab: Lab) -> str:
    """Return what must be the same for two machines to come to the same result: engine, versions, processor."""
    python = f"Python {platform.python_version()}"
    return ", ".join([f"engine {engine()}", python, f"{platform.system()} {platform.machine()}", *libraries(lab)])


# The lab.


def task_digests(lab: Lab) -> dict[str, str]:
    """Return for each task the digest of everything it is judged by, so that a changed check re-runs its task alone."""
    checks, shared = _checks_by_task(lab.checks_path.read_text(encoding="utf-8"))
    common = [*_common(lab), shared]
    digests = {}
    for task in lab.tasks:
        edits = [edit.model_dump_json() for edit in lab.misconceptions if edit.task == task.id]
        called = json.dumps(lab.signatures_of(task))
        digests[task.id] = _digest([*common, task.model_dump_json(), called, *edits, *checks.get(task.id, [])])
    return digests


def drawing_digest(lab: Lab) -> str:
    """Return the digest of everything the lab's pictures are drawn by; empty where it has none."""
    if not lab.figures_path.is_file():
        return ""
    parts = [*_common(lab), *(task.model_dump_json() for task in lab.tasks)]
    parts.append(_code(lab.figures_path.read_text(encoding="utf-8")))
    # Models and samples that figures.py may load.
    files = [path for path in sorted((lab.root / "fixtures").rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    for path in [PACKAGE / "pictures.py", *files]:
        parts += [path.name, hashlib.sha256(path.read_bytes()).hexdigest()]
    return _digest(parts)


def lab_digest(lab: Lab) -> str:
    """Return the digest of what an audit of `lab` rests on beside the course's seed: lab, engine, libraries."""
    parts = [engine(), *libraries(lab)]
    for path in [*sorted(lab.folder.iterdir()), lab.reference_path]:
        # No verdict hangs on the page and the pictures.
        if path.is_file() and path not in (lab.page_path, lab.figures_path):
            source = path.read_bytes()
            parts += [path.name, _code(source.decode()) if path.suffix == ".py" else source_digest(source)]
    return _digest(parts)


def _common(lab: Lab) -> list[str]:
    """Return what all tasks of a lab rest on."""
    manifest = lab.manifest.model_dump(exclude={"task"}, mode="json")
    answers = lab.answers_path.read_bytes() if lab.is_student_edition else b""
    return [
        json.dumps(manifest, sort_keys=True),
        "" if lab.is_student_edition else _code(lab.reference),
        _code(lab.scenarios or ""),
        hashlib.sha256(answers).hexdigest(),
    ]


def _checks_by_task(text: str) -> tuple[dict[str, list[str]], str]:
    """Return each task's checks, and what is no task's own: imports, helpers, and checks whose task is computed."""
    own: dict[str, list[str]] = {}
    shared = []
    for node in ast.parse(text).body:
        task = _task_of(node)
        if task is None:
            shared.append(ast.dump(node))
        else:
            own.setdefault(task, []).append(ast.dump(node))
    return own, "\0".join(shared)


def _task_of(node: ast.stmt) -> str | None:
    if not isinstance(node, ast.FunctionDef):
        return None
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "check" and mark.args:
            first = mark.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                return first.value
    return None


def _code(text: str) -> str:
    """Return a module's statements, docstrings among them, without comments and layout."""
    return ast.dump(ast.parse(text))


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
