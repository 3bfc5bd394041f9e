"""Judges on this machine: processes that each have a sandbox of their own, and the loop that keeps them busy."""

from __future__ import annotations

import base64
import collections
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from grader import errors
from grader.errors import GraderError, InternalError
from grader.executors import Done, Setup, Work
from grader.executors.doubt import Doubt

STRIKES = 3  # so many judges may fail on one submission before it is given up
# -P: nothing that lies in the working directory may pass for a library.
JUDGE = (sys.executable, "-P", "-m", "grader.executors.judge")
START_S = 300.0
GRACE_S = 30.0
# A judge that is busy need not read: what it is sent ahead has to fit into the pipe.
AHEAD_BYTES = 48 * 1024


@dataclass
class _Task:
    work: Work
    line: bytes
    strikes: int = 0
    last: Done | None = None


@dataclass
class _Judge:
    process: subprocess.Popen[bytes]
    log: Any
    ready: bool = False
    tasks: collections.deque[_Task] = field(default_factory=collections.deque)  # the first is being graded
    since: float = field(default_factory=time.monotonic)
    received: bytearray = field(default_factory=bytearray)


class LocalExecutor:
    """`jobs` judges. They are started when there is work, and stay for the next."""

    def __init__(
        self,
        setup: Setup,
        jobs: int,
        deadline_s: float,
        command: Sequence[str] = JUDGE,
        doubt: Doubt | None = None,
    ) -> None:
        """Take what judges are told. `deadline_s`: past it a judge that says nothing is ended.

        `doubt` finds out whether the grader or the files are to blame; without it somebody else does.
        """
        self._setup = json.dumps(asdict(setup) | {"course": str(setup.course)}).encode() + b"\n"
        self.jobs = jobs
        self._command = list(command)
        self._deadline_s = deadline_s
        self._judges: list[_Judge] = []
        self._selector = selectors.DefaultSelector()
        self._waiting: collections.deque[_Task] = collections.deque()
        self._suspects: collections.deque[_Task] = collections.deque()
        self._false_starts = 0
        self._doubt = doubt

    def run(self, works: Iterable[Work]) -> Iterator[Done]:
        """Yield what came of each; begin with the first."""
        fresh = iter(works)
        while True:
            self._refill(fresh)
            open_tasks = len(self._waiting) + sum(len(judge.tasks) for judge in self._judges)
            if not open_tasks:
                return
            while len(self._judges) < min(self.jobs, open_tasks):
                self._start()
            self._hand_out()
            yield from self._listen()

    def close(self) -> None:
        """End all judges."""
        for judge in list(self._judges):
            self._end(judge)
        self._selector.close()

    def _start(self) -> None:
        log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the judge
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # numpy's threads would compete with the other judges.
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the coordinator, which then ends its judges
        )
        judge = _Judge(process, log)
        self._judges.append(judge)
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, judge)
        self._send(judge, self._setup)

    def _refill(self, fresh: Iterator[Work]) -> None:
        """Have one waiting for each place with a judge; what has struck before comes when nothing else is left."""
        while len(self._waiting) < 2 * self.jobs:
            if (work := next(fresh, None)) is not None:
                self._waiting.append(_Task(work, _line(work)))
            elif self._suspects:
                self._waiting.append(self._suspects.popleft())
            else:
                return

    def _hand_out(self) -> None:
        for depth in (0, 1):  # everybody gets one before anybody gets a second
            for judge in self._judges:
                if not self._waiting or not judge.ready or len(judge.tasks) != depth:
                    continue
                task = self._waiting[0]
                # A suspect is graded alone: whoever waits behind it would only have to be moved.
                fits = depth == 0 or (len(task.line) <= AHEAD_BYTES and not task.strikes)
                if fits:
                    self._waiting.popleft()
                    if not judge.tasks:
                        judge.since = time.monotonic()
                    judge.tasks.append(task)
                    self._send(judge, task.line)

    @staticmethod
    def _send(judge: _Judge, line: bytes) -> None:
        assert judge.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its output will tell
            judge.process.stdin.write(line)
            judge.process.stdin.flush()

    def _listen(self) -> Iterator[Done]:
        """Wait until a judge says something or is too late, and yield what is settled by that."""
        now = time.monotonic()
        ends = [judge.since + self._limit(judge) for judge in self._judges if judge.tasks or not judge.ready]
        for key, _ in self._selector.select(max(0.0, min(ends) - now) if ends else None):
            judge: _Judge = key.data
            chunk = os.read(key.fd, 1 << 20)
            judge.received += chunk
            *lines, rest = judge.received.split(b"\n")
            judge.received = bytearray(rest)
            for line in lines:
                yield from self._heard(judge, json.loads(line))
            if not chunk:
                yield from self._lost(judge, "")
        now = time.monotonic()
        for judge in list(self._judges):
            if (judge.tasks or not judge.ready) and now > judge.since + self._limit(judge):
                yield from self._lost(judge, f"it said nothing for {self._limit(judge):.0f} s")

    def _limit(self, judge: _Judge) -> float:
        return self._deadline_s if judge.ready else START_S

    def _heard(self, judge: _Judge, message: dict[str, Any]) -> Iterator[Done]:
        judge.since = time.monotonic()
        if "refused" in message:
            kind = getattr(errors, message["kind"], InternalError)
            raise (kind if issubclass(kind, GraderError) else InternalError)(message["refused"])
        if "ready" in message:
            judge.ready = True
            self._false_starts = 0
            return
        done = Done.model_validate(message)
        if done.fault is not None:
            judge.tasks[0].last = done
            return  # the judge ends now, which is what counts
        judge.tasks.popleft()
        yield from self._settled(done)

    def _lost(self, judge: _Judge, why: str) -> Iterator[Done]:
        """Give the work of a judge that is gone to others; what it was grading has one strike more."""
        said = self._end(judge, kill=bool(why))
        if not judge.ready:
            self._false_starts += 1
            if self._false_starts >= STRIKES:
                raise InternalError(f"The judges do not start: {why or said}")
            return
        while len(judge.tasks) > 1:
            self._waiting.appendleft(judge.tasks.pop())
        if not judge.tasks:
            return
        task = judge.tasks.popleft()
        task.strikes += 1
        if task.strikes < STRIKES:
            self._suspects.append(task)
            return
        ended = f"{STRIKES} judges ended while they graded it; the last: {why or said}."
        yield from self._settled(task.last or Done(id=task.work.id, fault=ended))

    def _settled(self, done: Done) -> Iterator[Done]:
        """Yield what came of a submission; have the reference graded next where there is doubt."""
        if self._doubt is None or self._doubt.settled(done):
            yield done
        if self._doubt is not None and (reference := self._doubt.wanted()) is not None:
            self._waiting.appendleft(_Task(reference, _line(reference)))

    def _end(self, judge: _Judge, kill: bool = True) -> str:
        """End a judge and return how it ended, with the last line that it left."""
        self._judges.remove(judge)
        process = judge.process
        assert process.stdin is not None and process.stdout is not None
        self._selector.unregister(process.stdout)
        if kill:
            process.kill()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            code = process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        process.stdout.close()
        judge.log.seek(0, os.SEEK_END)
        judge.log.seek(max(0, judge.log.tell() - 4000))
        lines = judge.log.read().decode("utf-8", "replace").strip().splitlines()
        judge.log.close()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{how}{': ' + lines[-1] if lines else ''}"


def _line(work: Work) -> bytes:
    message: dict[str, Any] = {"id": work.id, "source": base64.b64encode(work.source).decode()}
    if work.result is not None:
        message["result"] = work.result.model_dump(mode="json")
    else:
        message["tasks"] = list(work.tasks)
    return json.dumps(message).encode() + b"\n"
