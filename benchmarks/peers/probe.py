"""Counts CPU inside the sandbox: the benchmark puts this file beside the worker's, and one line at zygote.py's end.

Everything is added up in memory that the zygote inherits from the judge and the workers from the zygote. A worker runs
for the student or for the oracle (reference and its edits), which has a CPU limit of hours.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import Any

SLOTS = (
    "zygote_start",
    "zygote",
    *(
        f"{role}_{part}"
        for role in ("student", "oracle")
        for part in ("forks", "layers", "load", "function", "call", "living", "reaped")
    ),
)
SIZE = 4096
ORACLE_CPU_S = 3600

# The thread's clock, and there is one thread: that of a process with a CPU limit, as a worker is, is brought up to date
# at ticks and context switches only, so that everything would be charged to reading and writing.
now = time.thread_time


def install(descriptor: int, zygote: Any) -> None:
    """Wrap what the zygote and its workers do; `zygote` is the zygote's module."""
    counts = memoryview(mmap.mmap(descriptor, SIZE)).cast("d")
    roles: dict[int, str] = {}

    def add(slot: str, seconds: float) -> None:
        counts[SLOTS.index(slot)] += seconds

    class Probed(zygote.Zygote):
        def run(self) -> None:
            add("zygote_start", now())
            super().run()

        def _do(self, message: dict[str, Any], descriptors: list[int]) -> None:
            super()._do(message, descriptors)
            counts[SLOTS.index("zygote")] = now()

        def _fork(self, message: dict[str, Any], descriptors: list[int]) -> None:
            super()._fork(message, descriptors)
            role = "oracle" if message["cpu_s"] > ORACLE_CPU_S else "student"
            roles[self._pids[message["id"]]] = role
            add(f"{role}_forks", 1)

        def _reap(self) -> None:
            super()._reap()
            counts[SLOTS.index("zygote")] = now()

        def _become_worker(self, message: dict[str, Any], descriptors: list[int], parent: int) -> None:
            probe_worker("oracle" if message["cpu_s"] > ORACLE_CPU_S else "student", add)
            super()._become_worker(message, descriptors, parent)

    wait4 = os.wait4

    def counted(pid: int, options: int) -> Any:
        ended, status, used = wait4(pid, options)
        if ended:
            add(f"{roles[ended]}_reaped", used.ru_utime + used.ru_stime)
        return ended, status, used

    zygote.Zygote = Probed
    os.wait4 = counted


def probe_worker(role: str, add: Any) -> None:
    """Wrap what one worker does."""
    from . import serve

    born = now()
    counted = 0.0
    serve_plainly, load, call, send = serve.serve, serve.Worker.load, serve.Worker.call, serve.frames.send

    def timed_serve(*args: Any) -> None:
        add(f"{role}_layers", now() - born)
        serve_plainly(*args)

    def timed_load(*args: Any) -> None:
        start = now()
        try:
            load(*args)
        finally:
            add(f"{role}_load", now() - start)

    def timed_call(*args: Any) -> Any:
        start = now()
        in_function = None
        try:
            answer = call(*args)
            in_function = answer["seconds"]  # of CPU, because its clock is ours
            return answer
        finally:
            whole = now() - start
            add(f"{role}_call", whole)
            add(f"{role}_function", whole if in_function is None else in_function)

    def timed_send(*args: Any) -> None:
        nonlocal counted
        send(*args)
        sofar = now()
        add(f"{role}_living", sofar - counted)
        counted = sofar

    serve._clock = now
    serve.serve, serve.Worker.load, serve.Worker.call, serve.frames.send = (
        timed_serve,
        timed_load,
        timed_call,
        timed_send,
    )
