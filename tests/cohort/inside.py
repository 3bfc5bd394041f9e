"""Runs `grade cohort` in this process with made-up results: no judge, no torch, and so a hundred times faster."""

import os
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from grader.cli import grade, instructor
from grader.errors import GraderError
from grader.executors import Done
from tests.cohort.made import Told, graded


class Quick(Told):
    """Grades what it is asked at once, or after a while."""

    def __init__(self, answer=graded, wait=0.0):
        super().__init__()
        self.answer = answer
        self.wait = wait

    def run(self, works):
        time.sleep(self.wait)
        for work in works:
            self.asked.append(work)
            yield Done(id=work.id, result=self.answer(work.id, work.source))


def cohort(course, *words, executor=None):
    """Run `grade cohort lab01 ...`; return exit code, stdout, stderr."""
    executor = executor or Quick()
    before, instructor._executor = instructor._executor, lambda *_: executor
    try:
        return command(course, "cohort", "lab01", *words)
    finally:
        instructor._executor = before


def command(course, *words):
    out, err = StringIO(), StringIO()
    words = [str(word) for word in words]
    if course is not None:
        words += ["--course", str(course.root)]
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = grade.main(words, standalone_mode=False)
        except SystemExit as end:
            code = end.code
        except GraderError as error:
            err.write(f"grade: {error}\n")
            code = error.exit_code
    return code or 0, out.getvalue(), err.getvalue()


def forked(work):
    """Run `work` in a child of this process; return its process id. It ends with what `work` returns."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        code = work()
    finally:
        os._exit(code)


def waited(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
