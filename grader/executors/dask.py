"""Judges on the workers of a Dask scheduler: one that runs already, or one that is started here.

A worker never runs a student's code: each of its threads keeps a judge, a process of its own, and hands it one file at
a time. What kills a judge is counted there; what kills a worker is run again on another. A judge that nobody asks any
more ends by itself: whoever asked may have been killed.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from grader.errors import GraderError, InternalError, MachineError, UsageError
from grader.executors import Done, Setup, Work
from grader.executors.doubt import Doubt
from grader.executors.local import JUDGE, LocalExecutor

# A worker that is silent for so long (twice that at worst) is given up, and its work is run elsewhere.
WORKER_TTL = "30s"
# Whoever was in the queue of a lost worker is counted by Dask; nobody is to be blamed for what a machine did.
ALLOWED_FAILURES = 20
AHEAD = 400  # so many works are with the scheduler at a time: enough for every thread, and never a whole class
CONNECT_S = 30
FETCH_S = 5.0  # how long a result may take to come from its worker before the others are looked at
END_S = 5.0  # how long the workers may take to end their judges; one that is silent is not waited for
IDLE_S = 60.0


@dataclass
class _Idle:
    """A thread's judge between two files."""

    setup: Setup
    executor: LocalExecutor
    leaves: threading.Timer


_idle: dict[int, _Idle] = {}  # on a worker: thread -> its judge
_lock = threading.Lock()


class DaskExecutor:
    """Runs each file as one task of a scheduler."""

    def __init__(
        self,
        setup: Setup,
        jobs: int,
        deadline_s: float,
        address: str | None,
        command: Sequence[str] = JUDGE,
        doubt: Doubt | None = None,
    ) -> None:
        """Connect to the scheduler at `address`, or start one with `jobs` workers on this machine.

        `doubt` finds out whether the grader or the files are to blame, where all workers' judges end.
        """
        try:
            import dask
            from distributed import Client, LocalCluster
        except ImportError:
            raise UsageError("--executor dask needs Dask: pip install 'alphabar[cluster]'.") from None
        self._setup, self._deadline_s, self._command, self._doubt = setup, deadline_s, tuple(command), doubt
        self._cluster: Any = None
        if address is None:
            with dask.config.set(
                {
                    "distributed.scheduler.worker-ttl": WORKER_TTL,
                    "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
                }
            ):
                try:
                    self._cluster = LocalCluster(
                        n_workers=jobs,
                        threads_per_worker=1,
                        host="127.0.0.1",
                        dashboard_address="127.0.0.1:0",
                        silence_logs=logging.CRITICAL,
                    )
                except RuntimeError as error:  # one of its processes was killed, say
                    raise MachineError(f"Dask does not start here: {error} Start the command again.") from None
        try:
            self._client: Any = Client(self._cluster or address, timeout=CONNECT_S, set_as_default=False)
            self._client.wait_for_workers(1, timeout=CONNECT_S)
        except (OSError, TimeoutError, ValueError) as error:
            self._close_cluster()
            where = address or "this machine"
            raise MachineError(f"No worker of a Dask scheduler can be reached at {where}: {error}.") from None

    @property
    def jobs(self) -> int:
        """How many threads the workers have: each keeps a judge."""
        return sum(self._client.nthreads().values())

    def run(self, works: Iterable[Work]) -> Iterator[Done]:
        """Yield what came of each; begin with the first."""
        from distributed import KilledWorker, as_completed

        run = uuid.uuid4().hex  # a task of an earlier run is never this one
        told = (self._setup, self._deadline_s, self._command)
        fresh = enumerate(works)
        ids: dict[str, str] = {}  # of what is with the scheduler: key -> work

        def sent(number: int | str, work: Work, priority: int = 0) -> Any:
            key = f"alphabar-{run}-{number}"
            ids[key] = work.id
            return self._client.submit(_grade_there, *told, work, key=key, pure=False, priority=priority)

        def submit(count: int) -> Iterator[Any]:
            return itertools.starmap(sent, itertools.islice(fresh, count))

        running = as_completed(list(submit(AHEAD)), loop=self._client.loop)
        for future in running:
            try:
                text = future.result(timeout=FETCH_S)
            except GraderError:
                raise
            except KilledWorker as error:
                done = Done(id=ids.pop(future.key), fault=f"Every worker that took it was lost: {error}")
            except Exception as error:
                if future.status in ("error", "cancelled"):
                    raise InternalError(f"Dask did not run a submission ({future.status}): {error}.") from None
                # It was done, and the worker that has the result is lost or silent: the scheduler has it done again.
                running.add(future)
                continue
            else:
                del ids[future.key]
                done = Done.model_validate_json(text)
            running.update(list(submit(1)))
            if self._doubt is None or self._doubt.settled(done):
                yield done
            if self._doubt is not None and (reference := self._doubt.wanted()) is not None:
                running.add(sent("reference", reference, priority=1))  # ahead of all that waits

    def close(self) -> None:
        """End the judges on the workers, and the scheduler if it is ours."""
        if self._cluster is None:  # the judges of workers that are ours end with them
            with contextlib.suppress(TimeoutError, OSError):
                self._client.sync(self._client.run, _end_judges, self._setup, on_error="ignore", callback_timeout=END_S)
        self._client.close()
        self._close_cluster()

    def _close_cluster(self) -> None:
        if self._cluster is not None:
            self._cluster.close()


def _grade_there(setup: Setup, deadline_s: float, command: tuple[str, ...], work: Work) -> str:
    """Have this thread's judge do one piece of work; return what came of it, a `Done`, as JSON."""
    thread = threading.get_ident()
    with _lock:
        kept = _idle.pop(thread, None)  # while it is busy it is nobody else's to end
    if kept is not None:
        kept.leaves.cancel()
        if kept.setup != setup:
            kept.executor.close()
            kept = None
    executor = kept.executor if kept is not None else LocalExecutor(setup, 1, deadline_s, command)
    try:
        [done] = executor.run([work])
    except BaseException:
        executor.close()
        raise
    leaves = threading.Timer(IDLE_S, _leave, (thread, executor))
    leaves.daemon = True
    with _lock:
        _idle[thread] = _Idle(setup, executor, leaves)
    leaves.start()
    return done.model_dump_json()


def _leave(thread: int, executor: LocalExecutor) -> None:
    """End a judge that has been idle for long."""
    with _lock:
        if thread not in _idle or _idle[thread].executor is not executor:
            return
        del _idle[thread]
    executor.close()


def _end_judges(setup: Setup) -> None:
    """End the judges of one run; those that are busy are left to `_leave`."""
    with _lock:
        ended = {thread: idle for thread, idle in _idle.items() if idle.setup == setup}
        for thread in ended:
            del _idle[thread]
    for idle in ended.values():
        idle.leaves.cancel()
        idle.executor.close()
