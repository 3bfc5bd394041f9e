"""How much of a processor another process has had, how long it has queued for one, how many threads it runs. Linux.

Used by both sides.
"""

from __future__ import annotations

import time
from pathlib import Path

MAX_THREADS = 64  # of one worker; torch runs one there


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process has used; OSError when there is none of that number."""
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), which Python does not offer


def queued_s(pid: int) -> float:
    """Return for how long a process was ready to run but another had the processor (0 where that is not counted)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def threads(pid: int) -> int:
    """Return how many threads a process runs (0 where there is none of that number)."""
    try:
        return Path(f"/proc/{pid}/task").stat().st_nlink - 2  # one folder a thread
    except OSError:
        return 0
