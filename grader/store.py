"""Results and pictures that are kept: one SQLite file, one row per submission and task, durable when it is made.

A result is found again only where everything that made it is the same: the file's bytes, what the task is judged by
(its checks, the reference, its known mistakes, the scenarios, its table in lab.toml), the course's seed, and the
machine's class. So a changed check re-runs its own task and no other.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import platform
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from grader.course import Lab
from grader.errors import UsageError
from grader.results import Drawn, LabResult
from grader.root import PACKAGE
from grader.scoring import total

FORMAT = 2

# What of the engine can change a verdict; telling and keeping cannot.
_JUDGING = (
    "checking",
    "sandbox",
    "grading.py",
    "headline.py",
    "scoring.py",
    "submission.py",
    "kit.py",
    "recipes.py",
    "results.py",
)

_RESULTS = """
create table if not exists results (
    source text not null,
    task text not null,
    judged_by text not null,
    seed text not null,
    machine text not null,
    result blob not null,
    primary key (source, task, judged_by, seed, machine)
) without rowid
"""

_PICTURES = """
create table if not exists pictures (
    source text not null,
    drawn_by text not null,
    seed text not null,
    machine text not null,
    whole integer not null,
    drawn blob not null,
    primary key (source, drawn_by, seed, machine)
)
"""


def source_digest(source: bytes) -> str:
    """Return the sha256 of a submission: whole, for nobody may make two files that pass for one."""
    return hashlib.sha256(source).hexdigest()


def task_digests(lab: Lab) -> dict[str, str]:
    """Return for each task the digest of everything it is judged by. Comments and blank lines of code do not count."""
    checks, shared = _checks_by_task(lab.checks_path.read_text(encoding="utf-8"))
    common = [*_common(lab), shared]
    digests = {}
    for task in lab.tasks:
        edits = [edit.model_dump_json() for edit in lab.misconceptions if edit.task == task.id]
        parts = [*common, task.model_dump_json(), *edits, *checks.get(task.id, [])]
        digests[task.id] = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return digests


def drawing_digest(lab: Lab) -> str:
    """Return the digest of everything the lab's pictures are drawn by; empty where it has none."""
    if not lab.figures_path.is_file():
        return ""
    parts = [*_common(lab), *(task.model_dump_json() for task in lab.tasks)]
    parts.append(ast.dump(ast.parse(lab.figures_path.read_text(encoding="utf-8"))))
    # Models and samples that figures.py may load.
    files = [path for path in sorted((lab.root / "fixtures").rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    for path in [PACKAGE / "pictures.py", *files]:
        parts += [path.name, hashlib.sha256(path.read_bytes()).hexdigest()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _common(lab: Lab) -> list[str]:
    """Return what all tasks of a lab rest on."""
    manifest = lab.manifest.model_dump(exclude={"task"}, mode="json")
    answers = lab.answers_path.read_bytes() if lab.is_student_edition else b""
    return [
        json.dumps(manifest, sort_keys=True),
        "" if lab.is_student_edition else ast.dump(ast.parse(lab.reference)),
        ast.dump(ast.parse(lab.scenarios or "")),
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


def machine_class(lab: Lab) -> str:
    """Return what must be the same for two machines to come to the same result: engine, versions, processor."""
    names = ["torch", "numpy", "ml-dtypes", *(["diffusers"] if lab.manifest.libraries == "diffusers" else [])]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    python = f"Python {platform.python_version()}"
    return ", ".join([f"engine {_engine()}", python, f"{platform.system()} {platform.machine()}", *versions])


@functools.cache
def _engine() -> str:
    """Return the digest of the engine's own files: a version alone says too little of a checkout."""
    parts = hashlib.sha256()
    for name in _JUDGING:
        path = PACKAGE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            parts.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return parts.hexdigest()[:12]


def is_final(result: LabResult) -> bool:
    """Say whether a result is worth keeping: nothing of ours failed, nobody interrupted it."""
    ours = result.problem is not None and result.problem.kind in ("grader_error", "interrupted")
    return not ours and all(check.outcome != "grader_error" for check in result.checks)


def split(result: LabResult) -> dict[str, LabResult]:
    """Return the part of a result that belongs to each of its tasks, so that each can be kept and replaced alone."""
    parts = {}
    for task in result.tasks:
        environment = result.environment
        if environment is not None:
            own = f"task {task.id}"
            seconds = {name: value for name, value in environment.durations.items() if name == own}
            environment = environment.model_copy(update={"durations": seconds})
        parts[task.id] = result.model_copy(
            update={
                "tasks": [task],
                "checks": [check for check in result.checks if check.task == task.id],
                "score": total([(task.earned, task.possible)]),
                "environment": environment,
            }
        )
    return parts


def merge(order: Sequence[str], parts: Iterable[LabResult]) -> LabResult | None:
    """Join parts of one submission into its result, tasks in `order`; None where they disagree on whether it loads.

    Where the grader failed on one part, it failed on the submission; what held one part the least, held it.
    """
    by_task = {task.id: part for part in parts for task in part.tasks}
    chosen = [by_task[name] for name in order]
    first = next((part for part in chosen if part.problem and part.problem.kind == "grader_error"), None)
    if first is None:
        first = chosen[0]
        if any((part.problem and part.problem.kind) != (first.problem and first.problem.kind) for part in chosen):
            return None
    environment = None
    if first.environment is not None:
        environments = [part.environment for part in chosen if part.environment]
        durations = {name: value for one in environments for name, value in one.durations.items()}
        latest = max(one.graded_at for one in environments)
        weakest = min(environments, key=lambda one: ("none", "partial", "full").index(one.isolation))
        environment = weakest.model_copy(update={"durations": durations, "graded_at": latest})
    return first.model_copy(
        update={
            "tasks": [task for part in chosen for task in part.tasks],
            "checks": [check for part in chosen for check in part.checks],
            "score": total((task.earned, task.possible) for part in chosen for task in part.tasks),
            "environment": environment,
        }
    )


class Store:
    """The file of results. One process writes; a context manager."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; UsageError where that is no store of ours."""
        self._path = path
        if path.is_symlink():
            raise UsageError(f"{path} is a symbolic link; results are kept in the folder itself.")
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("pragma busy_timeout = 10000")
            self._db.execute("pragma journal_mode = wal")
            # A result that was reported stays, also when the power fails.
            self._db.execute("pragma synchronous = full")
            (version,) = self._db.execute("pragma user_version").fetchone()
            if version in (0, FORMAT):
                self._db.execute(_RESULTS)
                self._db.execute(_PICTURES)
                self._db.execute(f"pragma user_version = {FORMAT}")
        except sqlite3.Error as error:
            raise UsageError(f"{path} cannot be used to keep results: {error}.") from None
        if version not in (0, FORMAT):
            self._db.close()
            raise UsageError(
                f"{path} was written by another version of alphabar (format {version}, here {FORMAT}). "
                "Give another output folder."
            )

    def find(self, source: str, digests: Mapping[str, str], seed: str, machine: str) -> dict[str, LabResult]:
        """Return the kept part of each task that has one."""
        found = {}
        rows = self._db.execute(
            "select task, judged_by, result from results where source = ? and seed = ? and machine = ?",
            (source, seed, machine),
        )
        for task, judged_by, result in rows:
            if digests.get(task) == judged_by:
                found[task] = LabResult.model_validate_json(zlib.decompress(result))
        return found

    def keep(self, source: str, digests: Mapping[str, str], seed: str, machine: str, result: LabResult) -> None:
        """Keep a result, all its tasks or none. When this returns, it is on the disk."""
        rows = [
            (source, task, digests[task], seed, machine, zlib.compress(part.model_dump_json().encode(), 1))
            for task, part in split(result).items()
        ]
        self._db.execute("begin immediate")
        try:
            self._db.executemany("insert or replace into results values (?, ?, ?, ?, ?, ?)", rows)
            self._db.execute("commit")
        except BaseException:
            self._db.execute("rollback")
            raise

    def keep_drawn(self, source: str, drawn_by: str, seed: str, machine: str, drawn: Drawn) -> None:
        """Keep a submission's pictures. When this returns, they are on the disk."""
        blob = zlib.compress(drawn.model_dump_json().encode(), 1)
        row = (source, drawn_by, seed, machine, not drawn.faults, blob)
        self._db.execute("insert or replace into pictures values (?, ?, ?, ?, ?, ?)", row)

    def find_drawn(self, source: str, drawn_by: str, seed: str, machine: str) -> Drawn | None:
        """Return what was drawn of a submission, or None where nobody tried."""
        found = self._db.execute(
            "select drawn from pictures where source = ? and drawn_by = ? and seed = ? and machine = ?",
            (source, drawn_by, seed, machine),
        ).fetchone()
        return Drawn.model_validate_json(zlib.decompress(found[0])) if found else None

    def wholly_drawn(self, drawn_by: str, seed: str, machine: str) -> set[str]:
        """Return the submissions of which no picture is missing."""
        rows = self._db.execute(
            "select source from pictures where drawn_by = ? and seed = ? and machine = ? and whole",
            (drawn_by, seed, machine),
        )
        return {source for (source,) in rows}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
