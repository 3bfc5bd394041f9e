"""Where the CPU of a class goes: `grade cohort` with a stopwatch in each of its processes.

    python where.py plain cohort LAB FOLDER -o OUT --jobs 1
    python where.py timed NOTES cohort LAB FOLDER -o OUT --jobs 1

Nothing of the product is changed: functions are wrapped from here, in the coordinator, in its judge (which this file
starts, too) and, by probe.py, in the zygote and the workers. Each function's own time is counted, without that of the
wrapped ones it calls. NOTES is a folder; each process leaves a JSON file of CPU seconds there.

Either way the judges are let end. `grade cohort` kills them, and then nobody waits for the zygote and the workers, so
that their CPU would be missing from what the kernel reports of the command. `plain` does nothing else.
"""

from __future__ import annotations

import functools
import json
import mmap
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

NOTES = "ALPHABAR_BENCHMARK_NOTES"
WHOLE = ("diagnosis",)  # what it calls counts as itself


class Stopwatch:
    """CPU seconds of this process by stage."""

    def __init__(self, stage: str) -> None:
        """Begin with what the process has used since it was started."""
        self.spent: Counter[str] = Counter()
        self.base = stage
        self._stages: list[str] = []
        self._since = 0.0

    def lap(self) -> None:
        """Charge what has passed to the stage of the moment."""
        now = time.process_time()
        self.spent[self._stages[-1] if self._stages else self.base] += now - self._since
        self._since = now

    def wrap(self, owner: Any, name: str, stage: str, first: Callable[[], None] | None = None) -> None:
        """Charge a function's own time to `stage`."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            self.lap()
            if first is not None:
                first()
            inside = self._stages[-1] if self._stages and self._stages[-1] in WHOLE else stage
            self._stages.append(inside)
            try:
                return function(*args, **kwargs)
            finally:
                self.lap()
                self._stages.pop()

        setattr(owner, name, measured)


def plain(words: list[str]) -> None:
    """Run `grade` with these words."""
    from grader.cli import main

    let_judges_end()
    sys.argv = ["grade", *words]
    main()


def let_judges_end() -> None:
    """Have the executor close the judges' input and wait, instead of killing them."""
    from grader.executors.local import LocalExecutor

    def close(self: LocalExecutor) -> None:
        for one in list(self._judges):
            self._end(one, kill=False)
        self._selector.close()

    LocalExecutor.close = close


def timed(notes: Path, words: list[str]) -> None:
    """Run `grade` with these words and a stopwatch."""
    os.environ[NOTES] = str(notes)
    watch = Stopwatch("start")
    from grader.cli import instructor, main, publishing
    from grader.cohort.run import Cohort
    from grader.executors import local

    watch.wrap(instructor, "_grade", "rest")
    watch.wrap(Cohort, "grade", "results")
    watch.wrap(publishing.Writer, "write", "pages")
    command = (sys.executable, "-P", str(Path(__file__).resolve()), "judge")
    assert local.LocalExecutor.__init__.__defaults__ == (local.JUDGE, None)
    local.LocalExecutor.__init__.__defaults__ = (command, None)
    let_judges_end()
    sys.argv = ["grade", *words]
    try:
        main()
    finally:
        watch.lap()
        (notes / "coordinator.json").write_text(json.dumps(watch.spent))


def judge(notes: Path) -> None:
    """Be a judge."""
    watch = Stopwatch("start")
    from grader import grading
    from grader.checking import diagnosis, proxy
    from grader.executors import judge as module
    from grader.sandbox import launcher, zygote_link
    from grader.sandbox.client import Worker

    probe = _probe()
    descriptor = os.memfd_create("probe")
    os.truncate(descriptor, probe.SIZE)
    copy, popen = launcher._copy_worker, zygote_link.subprocess.Popen

    def copy_with_probe(target: Path) -> None:
        copy(target)
        shutil.copyfile(probe.__file__, target / "probe.py")
        with (target / "zygote.py").open("a", encoding="utf-8") as file:
            file.write(f"\n\nfrom . import probe\n\nprobe.install({descriptor}, sys.modules[__name__])\n")

    def with_descriptor(command: list[str], **words: Any) -> Any:
        if "pass_fds" in words:
            words["pass_fds"] = [*words["pass_fds"], descriptor]
        return popen(command, **words)

    launcher._copy_worker = copy_with_probe
    zygote_link.subprocess.Popen = with_descriptor

    def started() -> None:
        watch.base = "record"

    watch.wrap(module, "_graded", "record", first=started)
    watch.wrap(grading, "examine", "checks")
    watch.wrap(proxy, "compare", "compare")
    watch.wrap(diagnosis, "diagnose", "diagnosis")
    for name in ("ask", "answer", "load"):
        watch.wrap(Worker, name, "wire")
    watch.wrap(Worker, "close", "fork")
    watch.wrap(launcher.Sandbox, "worker", "fork")
    try:
        module.main()
    finally:
        watch.lap()
        counts = memoryview(mmap.mmap(descriptor, probe.SIZE)).cast("d")
        spent = dict(watch.spent) | {name: counts[place] for place, name in enumerate(probe.SLOTS)}
        (notes / "judge.json").write_text(json.dumps(spent))


def _probe() -> Any:
    spec = spec_from_file_location("probe", Path(__file__).with_name("probe.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(notes: Path, whole_s: float, count: int) -> str:
    """Return where the CPU of `count` submissions went; `whole_s` is what the kernel says of all processes."""
    coordinator_s, judge_s = (json.loads((notes / f"{name}.json").read_text()) for name in ("coordinator", "judge"))
    rows = _rows(coordinator_s, judge_s)
    rows["not accounted for"] = whole_s - sum(rows.values())
    lines = ["| stage | CPU ms a submission | share |", "|---|---|---|"]
    lines += [f"| {name} | {1000 * spent_s / count:.1f} | {spent_s / whole_s:.0%} |" for name, spent_s in rows.items()]
    lines.append(f"| all, with the stopwatches | {1000 * whole_s / count:.1f} | 100% |")
    return "\n".join([*lines, "", f"{judge_s['student_forks'] / count:.1f} workers a submission.", ""])


def _rows(coordinator_s: Mapping[str, float], judge_s: Mapping[str, float]) -> dict[str, float]:
    at = Counter(judge_s)
    student = {part: at[f"student_{part}"] for part in ("layers", "load", "function", "call", "living", "reaped")}
    worker_wire = student["living"] - student["layers"] - student["load"] - student["call"]
    return {
        "start: commands, torch (once a class)": coordinator_s["start"] + at["start"] + at["zygote_start"],
        "fork: ask for it, copy the page tables, reap": at["fork"] + at["zygote"] - at["zygote_start"],
        "fork: a worker's end, its pages given back": student["reaped"] - student["living"],
        "isolation layers": student["layers"],
        "wire: judge": at["wire"],
        "wire: worker": worker_wire,
        "check code (pytest)": at["checks"],
        "check code (compare)": at["compare"],
        "inputs and answers, made in the worker": student["call"] - student["function"],
        "student: load the file": student["load"],
        "student: run the functions": student["function"],
        "reference and edits in their workers": at["oracle_living"],
        "diagnosis, judge": at["diagnosis"],
        "record and reply": at["record"],
        "coordinator: store, pages, grade book": sum(coordinator_s.values()) - coordinator_s["start"],
    }


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["judge"]:
            judge(Path(os.environ[NOTES]))
        case ["plain", *words]:
            plain(words)
        case ["timed", notes, *words]:
            timed(Path(notes), words)
        case _:
            sys.exit(__doc__)
