"""A judge process: `python -m grader.executors.judge`. It is told the lab once, then grades what it is sent.

JSON lines, one a message. First the fields of `Setup`, answered by {"ready": true} or, where no judge can do this, by
{"refused": sentence, "kind": name of the error}. Then, as often as one likes, {"id", "source": base64, "tasks"}, to be
graded, or {"id", "source", "result"}, to be drawn; the answer is a `Done`. One with a fault, where the grader itself
failed, is the last: what failed once may harm the next. When its input ends it ends too, also in the middle of a file.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from grader.checking.session import Bench
from grader.course import Lab, load
from grader.errors import CourseError, InternalError, MachineError, SubmissionError, UsageError
from grader.executors import Done, Setup
from grader.grading import Job, grade, illustrate, open_bench, open_figure_bench
from grader.results import OUR_FAULT, Drawn, LabResult, Problem
from grader.scoring import problem_result
from grader.seeds import fingerprint
from grader.submission import parse

END_S = 0.5  # so long may a judge that is asked no more take to finish what it does


def main() -> None:
    """Serve until the input ends."""
    # Nothing that a library prints may be taken for a message.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    try:
        _serve(_questions(), say)
    except (UsageError, CourseError, MachineError) as error:
        say({"refused": str(error), "kind": type(error).__name__})
        sys.exit(1)
    except (InternalError, OSError) as error:
        sys.exit(str(error))  # its sandbox was killed, say: the next judge may well do better


def _questions() -> Iterator[bytes]:
    """Yield line after line of the input; when it ends, end what is being done: whoever asked is gone."""
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    idle = threading.Event()
    lines = os.fdopen(os.dup(0), "rb")  # sys.stdin would be closed under a thread that still reads

    def listen() -> None:
        for line in lines:
            heard.put(line)
        with contextlib.suppress(queue.Empty):
            while True:
                heard.get_nowait()
        heard.put(b"")
        if not idle.wait(END_S):
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        idle.set()
        line = heard.get()
        idle.clear()
        if not line:
            return
        yield line


def _serve(questions: Iterator[bytes], say: Callable[[dict[str, Any]], None]) -> None:
    told = json.loads(next(questions, b"null"))
    if told is None:
        return
    course = load(Path(told["course"]))
    lab = course.lab(told["lab"])
    here = Setup.of(course, lab)
    if here.machine != told["machine"]:
        raise MachineError(f"A judge runs on another kind of machine: {here.machine}; expected {told['machine']}.")
    if (here.digests, here.drawn_by) != (told["digests"], told["drawn_by"]):
        raise UsageError(f"{lab.id} is not the same for this judge: the course was changed, or is another one there.")
    with contextlib.ExitStack() as benches:
        bench = benches.enter_context(open_bench(lab, told["seed"], require_sandbox=told["require_sandbox"]))
        bench.sandbox.ready()
        figure_bench: Bench | None = None  # a second sandbox, perhaps: only when there is something to draw
        say({"ready": True})
        for line in questions:
            work = json.loads(line)
            if "result" in work:
                if figure_bench is None:
                    figure_bench = benches.enter_context(open_figure_bench(bench))
                known = LabResult.model_validate(work["result"])
                drawn = _drawn(lab, base64.b64decode(work["source"]), known, figure_bench)
                say(Done(id=work["id"], drawn=drawn).model_dump(mode="json"))
                continue
            result = _graded(lab, base64.b64decode(work["source"]), work["tasks"], bench)
            ours = result.problem if result.problem and result.problem.kind == "grader_error" else None
            fault = (ours.message or OUR_FAULT) if ours else None
            say(Done(id=work["id"], result=result, fault=fault).model_dump(mode="json"))
            if fault is not None:
                return


def _graded(lab: Lab, source: bytes, tasks: list[str], bench: Bench) -> LabResult:
    # One name for all: equal files have equal results, whatever they are called.
    filename = f"{lab.id}.py"
    try:
        submission = parse(source, filename)
    except SubmissionError as error:  # read once already, but how deep a file may be nested depends on the process
        said = Problem(kind=error.kind, message=str(error), line=error.line)
        return problem_result(lab, fingerprint(bench.course_seed), filename, said)
    return grade(Job(lab, submission, tasks), bench)


def _drawn(lab: Lab, source: bytes, known: LabResult, bench: Bench) -> Drawn:
    faults: list[str] = []
    try:
        job = Job(lab, parse(source, f"{lab.id}.py"))
        pictures = illustrate(known, job, bench, faults.append).pictures
    except SubmissionError as error:  # as above
        return Drawn(faults=[str(error)])
    return Drawn(pictures=pictures, faults=faults)


if __name__ == "__main__":
    main()
