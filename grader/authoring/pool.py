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
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import Self

from grader import outputs
from grader.authoring.trials import Runner, Spec, Trial, start_method
from grader.course import Lab, load
from grader.digests import engine, lab_digest
from grader.errors import UsageError
from grader.sandbox.launcher import Sandbox

FOLDER = Path(".grade") / "audit"

_here: _Process | None = None  # of this process, where it is one that runs trials


class _Process:
    """What such a process keeps: the course, the runner of one lab, and the sandbox, which serves the next lab too."""

    def __init__(self, root: Path) -> None:
        """Read the course; nothing starts before the first trial."""
        self._course = load(root)
        self._runner: Runner | None = None
        self._sandbox: Sandbox | None = None

    def run(self, lab_id: str, spec: Spec) -> Trial:
        """Run one trial."""
        if self._runner is None or self._runner.lab.id != lab_id:
            lab = self._course.lab(lab_id)
            if self._runner is None or self._runner.lab.manifest.libraries != lab.manifest.libraries:
                self.close()
                self._sandbox = Sandbox(lab.manifest.libraries, start_method=start_method())
            else:
                self._runner.close()
            assert self._sandbox is not None
            self._runner = Runner(self._course, lab, self._sandbox)
        return self._runner.run(spec)

    def close(self) -> None:
        """End what was started."""
        if self._runner is not None:
            self._runner.close()
        if self._sandbox is not None:
            self._sandbox.close()


def _open(root: Path) -> None:
    global _here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _here = _Process(root)
    multiprocessing.util.Finalize(None, _here.close, exitpriority=10)  # atexit is not for the pool's processes


def _end_with_the_parent() -> None:
    """Wait for the end of the process that started this one; killed, it cannot tell its pool to stop."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _run(lab_id: str, spec: Spec) -> Trial:
    assert _here is not None
    return _here.run(lab_id, spec)


class Pool:
    """Processes that run trials, each in a sandbox of its own, for one lab after the other. A context manager."""

    def __init__(self, root: Path, processes: int) -> None:
        """Take the course's folder; nothing is started before there is something to run."""
        self._root = root
        self._processes = processes
        self._executor: ProcessPoolExecutor | None = None

    def submit(self, lab: Lab, spec: Spec) -> Future[Trial]:
        """Have a trial run by whoever is free next."""
        if self._executor is None:
            # spawn: a forked child would share the sandbox's sockets with its siblings.
            self._executor = ProcessPoolExecutor(
                self._processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_open,
                initargs=(self._root,),
            )
        return self._executor.submit(_run, lab.id, spec)

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes; their sandboxes end with them."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)


class Journal:
    """The trials of one lab: those that were kept from before, and those that are run now and kept at once."""

    def __init__(self, lab: Lab, pool: Pool, progress: Callable[[str], None]) -> None:
        """Read what was kept."""
        self._lab = lab
        self._pool = pool
        self._progress = progress
        self._world = _world(lab)
        self._path = FOLDER / f"{lab.id}.jsonl"
        self._known = _read(self._path, self._world)
        self.ran = 0

    def run(self, specs: Sequence[Spec]) -> list[Trial]:
        """Return the trials of all `specs`, in their order."""
        missing = [spec for spec in dict.fromkeys(specs) if spec.digest not in self._known]
        if missing:
            self._run_missing(missing)
        return [self._known[spec.digest] for spec in specs]

    def _run_missing(self, specs: list[Spec]) -> None:
        try:
            outputs.folder(FOLDER.parent)
            with contextlib.suppress(FileExistsError):
                outputs.create(FOLDER.parent / ".gitignore", "*\n")
            outputs.folder(FOLDER)
            self._tidy()
        except OSError as error:
            raise UsageError(f"the audit's journal cannot be kept in {FOLDER}: {error.strerror}.") from None
        futures = {self._pool.submit(self._lab, spec): spec for spec in specs}
        with self._path.open("a", encoding="utf-8") as journal:
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
        outputs.write(self._path, "".join(self._line(*known) for known in self._known.items()))


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
