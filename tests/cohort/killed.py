"""Grades a cohort with made-up results, and kills itself at a named point. Run as a program.

`killed.py COURSE SUBMISSIONS OUT EXECUTOR POINT NUMBER LOG`: at the NUMBERth time that POINT is reached. LOG gets a
line for each file that is graded. EXECUTOR is `made` (no judges), `local` or `dask` (judges that are `judge_stub.py`).
A POINT that is the judge's own kills a judge, once.
"""

import os
import signal
import sys
from pathlib import Path

from grader import outputs
from grader.cli import grade, instructor
from grader.cohort.publish import Publication
from grader.cohort.run import Cohort
from grader.executors import Done
from grader.executors.dask import DaskExecutor
from grader.executors.local import LocalExecutor
from grader.store import Store
from tests.cohort.made import Told, graded


class Made(Told):
    """Grades in this process."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def run(self, works):
        for work in works:
            with Path(self.log).open("a") as file:
                file.write(f"{work.id}\n")
            yield Done(id=work.id, result=graded(work.id, work.source))


def executor(kind, setup, jobs, point, number, log):
    if kind == "made":
        return Made(log)
    command = (sys.executable, "-m", "tests.cohort.judge_stub", "grades", log, point, number)
    if kind == "dask":
        return DaskExecutor(setup, jobs, 100.0, None, command)
    return LocalExecutor(setup, jobs, 100.0, command)


def around(reach, owner, name, before, after):
    inner = getattr(owner, name)

    def outer(*args, **kwargs):
        reach(before)
        value = inner(*args, **kwargs)
        reach(after)
        return value

    setattr(owner, name, outer)


def main():
    course, submissions, out, kind, point, number, log = sys.argv[1:]
    left = int(number)

    def reach(name):
        nonlocal left
        if name == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def opened(self, path, inner=Store.__init__):
        inner(self, path)
        reach("store opened")
        self._db.set_trace_callback(lambda statement: reach("in the transaction") if statement == "commit" else None)

    Store.__init__ = opened
    around(reach, Cohort, "_take", "graded", "")
    around(reach, Store, "keep", "before keeping", "after keeping")
    around(reach, Cohort, "row", "before a row", "")
    around(reach, outputs, "write", "before a page", "after a page")
    around(reach, os, "replace", "before a file takes its place", "")
    around(reach, Publication, "finish", "before it is published", "after it is published")
    instructor._executor = lambda _kind, _scheduler, setup, _lab, jobs: executor(kind, setup, jobs, point, number, log)
    grade.main(["cohort", "lab01", submissions, "-o", out, "--jobs", "2", "--course", course], standalone_mode=False)


if __name__ == "__main__":
    main()
