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
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Self

from grader import outputs
from grader.authoring.trials import Runner, Spec, Trial, start_method
from grader.course import Lab, load
from grader.digests import engine, lab_digest
from grader.errors import MachineError, UsageError
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
        """Take the course's folder; no process is started before there is something for it to run."""
        self._root = root
        self._processes: list[ProcessPoolExecutor | None] = [None] * processes

    def run(self, lab: Lab, specs: Sequence[Spec]) -> Iterator[tuple[Spec, Trial]]:
        """Run trials, and yield each as soon as it is there."""
        shares = _Shares(specs)
        running: dict[Future[Trial], tuple[int, Spec]] = {}
        idle = list(range(len(self._processes)))
        while True:
            for process in idle:
                spec = shares.next(process)
                if spec is not None:
                    running[self._process(process).submit(_run, lab.id, spec)] = process, spec
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            ended = [(*running.pop(future), future.result()) for future in done]
            idle = [process for process, _, _ in ended]
            yield from ((spec, trial) for _, spec, trial in ended)

    def _process(self, which: int) -> ProcessPoolExecutor:
        """Return a pool of one process, for what it is given to run is its own."""
        executor = self._processes[which]
        if executor is None:
            # spawn: a forked child would share the sandbox's sockets with its siblings.
            executor = self._processes[which] = ProcessPoolExecutor(
                1, mp_context=multiprocessing.get_context("spawn"), initializer=_open, initargs=(self._root,)
            )
        return executor

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes; their sandboxes end with them."""
        started = [executor for executor in self._processes if executor is not None]
        for executor in started:
            executor.shutdown(wait=False, cancel_futures=True)
        for executor in started:
            executor.shutdown()


class _Shares:
    """Who runs what: a task on one seed is one process's, for it keeps what the reference and its edits answer."""

    def __init__(self, specs: Sequence[Spec]) -> None:
        """Share out what is to be run; what is worth seeing first stays first."""
        self._waiting: dict[tuple[str, str | None], deque[Spec]] = {}
        self._of: dict[int, tuple[str, str | None]] = {}  # process -> the share that it is at
        for spec in specs:
            self._waiting.setdefault((spec.seed, spec.task), deque()).append(spec)

    def next(self, process: int) -> Spec | None:
        """Return what `process` is to run now: of its own share, of one that nobody is at, or helping out."""
        self._of.pop(process, None)
        if not self._waiting:
            return None
        taken = set(self._of.values())
        # The first that no other process is at: its own, until that is done, for all before it are taken.
        free = [share for share in self._waiting if share not in taken]
        share = free[0] if free else max(self._waiting, key=lambda share: len(self._waiting[share]))
        self._of[process] = share
        spec = self._waiting[share].popleft()
        if not self._waiting[share]:
            del self._waiting[share]
        return spec


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
        try:
            with self._path.open("a", encoding="utf-8") as journal:
                for done, (spec, trial) in enumerate(self._pool.run(self._lab, specs), 1):
                    self._known[spec.digest] = trial
                    self.ran += 1
                    journal.write(self._line(spec.digest, trial))
                    journal.flush()
                    self._progress(f"{done} of {len(specs)}: {spec}")
        except BrokenProcessPool:
            raise MachineError(
                f"a process that tried out {self._lab.id} was killed, perhaps for the memory that it took. What was "
                "tried before is kept: the same command goes on there; with --jobs 1 it takes less memory."
            ) from None

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
