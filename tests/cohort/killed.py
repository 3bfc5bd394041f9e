"""Grades a cohort with made-up results, and kills itself at a named point. Run as a program.

`killed.py COURSE SUBMISSIONS OUT POINT NUMBER LOG`: at the NUMBERth time that POINT is reached. LOG gets a line for
each file that is graded.
"""

import os
import signal
import sys
from pathlib import Path

from grader.cli import desk, grade, instructor
from grader.cohort.run import Cohort
from grader.store import Store
from tests.cohort.made import Told, result

course, submissions, out, point, number, log = sys.argv[1:]
left = int(number)


def reach(name: str) -> None:
    global left
    if name == point:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Graded(Told):
    def run(self, works):
        for done in super().run(works):
            with Path(log).open("a") as file:
                file.write(f"{done.id}\n")
            reach("graded")
            source = next(work.source for work in works if work.id == done.id)
            wrong = {"plain": "failed"} if len(source) % 2 else {}
            yield type(done)(done.id, result(wrong, digest=done.id[:16]))


def around(owner, name, before, after):
    inner = getattr(owner, name)

    def outer(*args, **kwargs):
        reach(before)
        value = inner(*args, **kwargs)
        reach(after)
        return value

    setattr(owner, name, outer)


def opened(self, path, inner=Store.__init__):
    inner(self, path)
    reach("store opened")
    self._db.set_trace_callback(lambda statement: reach("in the transaction") if statement == "commit" else None)


Store.__init__ = opened
around(Store, "keep", "before keeping", "after keeping")
around(Cohort, "rows", "before the rows", "")
around(desk, "write", "before a page", "after a page")
around(Path, "replace", "before a file takes its place", "")
instructor._executor = lambda *_: Graded()
grade.main(["cohort", "lab01", submissions, "-o", out, "--course", course], standalone_mode=False)
