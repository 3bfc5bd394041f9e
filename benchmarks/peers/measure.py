"""CPU and wall time of a command with all that it starts.

CPU is user + system as the kernel hands it over with each ended process (wait4). A process whose parent ends without
waiting for it would be lost (bubblewrap's monitor leaves the first process of its namespace that way), so orphans are
given to this process, which waits for them too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
ORPHANS_S = 5.0  # so long may what a command left behind take to end


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    cpu_s: float
    wall_s: float
    peak_mib: float  # of its largest process
    killed: bool
    output: str
    code: int


def adopt_orphans() -> None:
    """Make this process the one that orphans of its children are handed to."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("PR_SET_CHILD_SUBREAPER is refused here; the peers cannot be measured without it")


def measure(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    limit_s: float,
    cores: set[int],
) -> Cost:
    """Run a command to its end, or kill it after `limit_s`."""
    killed = threading.Event()
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )

        def kill() -> None:
            killed.set()
            os.killpg(process.pid, signal.SIGKILL)

        alarm = threading.Timer(limit_s, kill)
        alarm.start()
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        alarm.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        usages = [used, *wait_for_orphans()]
        log.seek(0)
        output = log.read().decode("utf-8", "replace")
    return Cost(
        cpu_s=sum(one.ru_utime + one.ru_stime for one in usages),
        wall_s=wall_s,
        peak_mib=max(one.ru_maxrss for one in usages) / 1024,
        killed=killed.is_set(),
        output=output,
        code=process.returncode,
    )


def wait_for_orphans() -> list:
    """Return what every process that a command left behind has used; those that do not end by themselves are ended."""
    usages = []
    deadline = time.monotonic() + ORPHANS_S
    while True:
        try:
            pid, _, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return usages
        if pid:
            usages.append(used)
            continue
        if time.monotonic() > deadline:
            for child in _children():
                os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


def _children() -> list[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]
