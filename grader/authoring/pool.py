"""Runs trials in several processes and keeps each at once, so that a second run does only what is missing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import multiprocessing.util
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import Self

from grader import outputs
from grader.authoring.trials import Runner, Spec, Trial
from grader.course import Lab
from grader.digests import engine, lab_digest
from grader.errors import UsageError

FOLDER = Path(".grade") / "audit"

_runner: Runner | None = None  # of this process, where it is one of the pool's


def _open(root: Path, lab_id: str) -> None:
    global _runner
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _runner = Runner(root, lab_id)
    multiprocessing.util.Finalize(None, _runner.close, exitpriority=10)  # atexit is not for the pool's processes


def _end_with_the_parent() -> None:
    """Wait for the end of the process that started this one; killed, it cannot tell its pool to stop."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _run(spec: Spec) -> Trial:
    assert _runner is not None
    return _runner.run(spec)


class Pool:
    """Processes that each have a sandbox and benches of their own, and the journal of one lab. A context manager."""

    def __init__(self, lab: Lab, processes: int, progress: Callable[[str], None]) -> None:
        """Read the journal; nothing is started before there is something to run."""
        self._lab = lab
        self._processes = processes
        self._progress = progress
        self._executor: ProcessPoolExecutor | None = None
        self._world = _world(lab)
        self._journal = FOLDER / f"{lab.id}.jsonl"
        self._known = _read(self._journal, self._world)
        self.ran = 0

    def run(self, specs: Sequence[Spec]) -> list[Trial]:
        """Return the trials of all `specs`, in their order."""
        missing = [spec for spec in dict.fromkeys(specs) if spec.digest not in self._known]
        if missing:
            self._run_missing(missing)
        return [self._known[spec.digest] for spec in specs]

    def _run_missing(self, specs: list[Spec]) -> None:
        if self._executor is None:
            # spawn: a forked child would share the sandbox's sockets with its siblings.
            self._executor = ProcessPoolExecutor(
                self._processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_open,
                initargs=(self._lab.root, self._lab.id),
            )
        try:
            outputs.folder(FOLDER.parent)
            with contextlib.suppress(FileExistsError):
                outputs.create(FOLDER.parent / ".gitignore", "*\n")
            outputs.folder(FOLDER)
            self._tidy()
        except OSError as error:
            raise UsageError(f"the audit's journal cannot be kept in {FOLDER}: {error.strerror}.") from None
        futures = {self._executor.submit(_run, spec): spec for spec in specs}
        with self._journal.open("a", encoding="utf-8") as journal:
            for done, future in enumerate(as_completed(futures), 1):
                spec, trial = futures[future], future.result()
                self._known[spec.digest] = trial
                self.ran += 1
                journal.write(self._line(spec.digest, trial))
                journal.flush()
                self._progress(f"{done} of {len(specs)}: {spec}")

    def _line(self, digest: str, trial: Trial) -> str:
        entry = {"world": self._world, "spec": digest, "trial": trial.model_dump(exclude_defaults=True)}
        return json.dumps(entry) + "\n"

    def _tidy(self) -> None:
        """Write the journal anew: a last line that was cut off would spoil the next, and old worlds are of no use."""
        outputs.write(self._journal, "".join(self._line(*known) for known in self._known.items()))

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes; their sandboxes end with them."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)


def _world(lab: Lab) -> str:
    """Return a digest of what a trial hangs on beside itself: the lab, what tries it, the pages that are searched."""
    parts = [lab_digest(lab), engine("authoring", "reports"), lab.page]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def _read(path: Path, world: str) -> dict[str, Trial]:
    """Return the trials that still hold. A line that was cut off by a kill is left out, as is one of another world."""
    known: dict[str, Trial] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return known
    for line in lines:
        try:
            entry = json.loads(line)
            if entry["world"] == world:
                known[entry["spec"]] = Trial.model_validate(entry["trial"])
        except (ValueError, KeyError, TypeError):
            continue
    return known
