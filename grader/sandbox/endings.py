"""How a worker's process ended, in words for the student. Runs in the judge."""

from __future__ import annotations

import signal
from typing import Literal

from grader.sandbox.worker.clock import MAX_THREADS
from grader.sandbox.zygote_link import Exit

Kind = Literal["raised", "crashed", "timed_out", "protocol"]


def describe(ended: Exit, cpu_s: float) -> tuple[Kind, str]:
    """Return what kind of end it was and a sentence; `cpu_s` is the worker's own limit."""
    if not ended.signal:
        return "crashed", f"your code ended the Python process (exit code {ended.code})"
    if ended.crowded:
        return "crashed", f"your code started more than {MAX_THREADS} threads"
    if ended.signal == signal.SIGXCPU or (ended.signal == signal.SIGKILL and ended.cpu_s >= cpu_s):
        return "timed_out", f"used more than {cpu_s:g} s of CPU time"
    words: dict[int, str] = {
        signal.SIGSEGV: "segmentation fault",
        signal.SIGBUS: "bus error",
        signal.SIGFPE: "arithmetic fault",
        signal.SIGILL: "illegal instruction",
        signal.SIGABRT: "the process aborted",
        signal.SIGXFSZ: "wrote too large a file",
        signal.SIGKILL: "the system killed the process, most likely because memory ran out",
    }
    return "crashed", words.get(ended.signal, f"ended by signal {ended.signal}")
