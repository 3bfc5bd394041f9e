"""Results and pictures that are kept: one SQLite file, one row per submission and task, durable when it is made.

A result is found again only where everything that made it is the same: the file's bytes, what the task is judged by,
the course's seed, and the machine's class (`grader.digests`). So a changed check re-runs its own task and no other.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from grader.errors import GraderError, MachineError, UsageError
from grader.results import Drawn, LabResult
from grader.scoring import total

FORMAT = 2

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


def _refused(path: Path, error: sqlite3.Error) -> GraderError:
    """Return the error for a file that cannot be kept: a full or read-only disk is the machine's."""
    says = f"{path} cannot be used to keep results: {error}."
    full = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY)
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in full:  # the lower byte: extended codes say more
        return MachineError(f"{says} Make room, and run the same line again; what was graded is kept.")
    return UsageError(says)


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
            raise _refused(path, error) from None
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
                # What the disk has damaged is graded again.
                with contextlib.suppress(zlib.error, ValueError):
                    found[task] = LabResult.model_validate_json(zlib.decompress(result))
        return found

    def keep(self, source: str, digests: Mapping[str, str], seed: str, machine: str, result: LabResult) -> None:
        """Keep a result, all its tasks or none. When this returns, it is on the disk."""
        rows = [
            (source, task, digests[task], seed, machine, zlib.compress(part.model_dump_json().encode(), 1))
            for task, part in split(result).items()
        ]
        try:
            self._db.execute("begin immediate")
            try:
                self._db.executemany("insert or replace into results values (?, ?, ?, ?, ?, ?)", rows)
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:  # SQLite itself rolls back where the disk is full
                    self._db.execute("rollback")
                raise
        except sqlite3.OperationalError as error:
            raise _refused(self._path, error) from None

    def keep_drawn(self, source: str, drawn_by: str, seed: str, machine: str, drawn: Drawn) -> None:
        """Keep a submission's pictures. When this returns, they are on the disk."""
        blob = zlib.compress(drawn.model_dump_json().encode(), 1)
        row = (source, drawn_by, seed, machine, not drawn.faults, blob)
        try:
            self._db.execute("insert or replace into pictures values (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.OperationalError as error:
            raise _refused(self._path, error) from None

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
