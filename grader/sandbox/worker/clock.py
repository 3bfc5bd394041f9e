"""How much of a processor another process has had, and how long it has queued for one. Linux; used by both sides."""

from __future__ import annotations

import time
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process has used; OSError when there is none of that number."""
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), which Python does not offer


def queued_s(pid: int) -> float:
    """Return for how long a process was ready to run but another had the processor (0 where that is not counted)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
