"""Measure the sandbox: `python tests/sandbox/measure.py [RUNS]`. Prints minimum and median in milliseconds."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from grader.recipes import randn
from grader.sandbox import isolation, view
from grader.sandbox.client import Budget
from grader.sandbox.launcher import Limits, Sandbox
from grader.sandbox.worker.libraries import DIFFUSERS_CLASSES

COLD = """
import sys
from grader.sandbox.launcher import Limits, Sandbox
with Sandbox(sys.argv[1]) as sandbox:
    from grader.sandbox.client import Budget
    worker = sandbox.worker(b"def f(): return 1", "a.py", scenarios=None, limits=Limits(9, 512))
    worker.load()
    worker.ask({"op": "call", "function": "f", "args": [], "kwargs": {}})
    assert worker.answer(Budget(5)).value == 1
"""
PLAIN = f"from diffusers import {', '.join(DIFFUSERS_CLASSES)}"
HONEST = b"def f(x):\n    return x * 2\n"


def measured(what: str, runs: int, run: Callable[[], object]) -> None:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    print(f"{what:55} min {min(times):8.2f}   median {statistics.median(times):8.2f}")


def python(*arguments: str) -> Callable[[], object]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return lambda: subprocess.run([sys.executable, "-c", *arguments], env=environment, check=True)


def build_and_close(found: view.View) -> None:
    ruleset = isolation.build_ruleset(view.landlock_rules(found, Path("/tmp")))
    if not isinstance(ruleset, str):
        ruleset.close()


def workers(sandbox: Sandbox, runs: int, title: str) -> None:
    limits = Limits(20, 1024)

    def one() -> None:
        worker = sandbox.worker(HONEST, "lab01.py", scenarios=None, limits=limits)
        worker.load()
        worker.ask({"op": "call", "function": "f", "args": [randn(0, 4, 4, 32, 32)], "kwargs": {}})
        worker.answer(Budget(5))
        worker.close()

    measured(f"{title}: start a worker, load, call once, close", runs, one)
    worker = sandbox.worker(HONEST, "lab01.py", scenarios=None, limits=limits)
    worker.load()
    budget = Budget(1000)

    def call() -> None:
        worker.ask({"op": "call", "function": "f", "args": [randn(0, 4, 4, 32, 32)], "kwargs": {}})
        worker.answer(budget)

    measured(f"{title}: one more call (64 KiB answer)", runs, call)
    worker.close()


def main(runs: int) -> None:
    cold = max(3, runs // 10)
    measured("python -c 'import torch'", cold, python("import torch"))
    measured("cold sandbox, one call, torch", cold, python(COLD, "torch"))
    measured(f"python -c 'from diffusers import ...' ({len(DIFFUSERS_CLASSES)} classes)", cold, python(PLAIN))
    measured("cold sandbox, one call, diffusers", cold, python(COLD, "diffusers"))
    measured("find the view, torch", runs, lambda: view.find_view("torch"))
    measured("find the view, diffusers", runs, lambda: view.find_view("diffusers"))
    measured("probe bwrap", runs, isolation.probe_bwrap)
    measured("compile the seccomp filter", runs, isolation.compile_filter)
    found = view.find_view("diffusers")
    measured("build the Landlock ruleset", runs, lambda: build_and_close(found))
    with Sandbox("torch") as full:
        full.ready()
        workers(full, runs, full.isolation)
    with Sandbox("torch", isolation="none") as bare:
        bare.ready()
        workers(bare, runs, "none")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
