"""A judge process: `python -m grader.executors.judge`. It is told the lab once, then grades what it is sent.

JSON lines, one a message. First the fields of `Setup`, answered by {"ready": true} or {"refused": sentence, "kind":
name of the error}. Then {"id", "source": base64, "tasks"} as often as one likes, answered
by {"id", "result"}, or {"id", "fault", "result"}: the grader itself failed, and this judge ends, for what failed once
may harm the next. It ends when its input does.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from grader.checking.session import Bench
from grader.course import Lab, load
from grader.errors import GraderError, MachineError, SubmissionError, UsageError
from grader.executors import Setup
from grader.grading import Job, grade, open_bench
from grader.results import OUR_FAULT, LabResult, Problem
from grader.scoring import problem_result
from grader.submission import parse


def main() -> None:
    """Serve until the input ends."""
    # Nothing that a library prints may be taken for a message.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    try:
        _serve(sys.stdin.buffer, say)
    except (GraderError, OSError) as error:
        say({"refused": str(error), "kind": type(error).__name__})
        sys.exit(1)


def _serve(questions: BinaryIO, say: Any) -> None:
    told = json.loads(questions.readline() or "null")
    if told is None:
        return
    course = load(Path(told["course"]))
    lab = course.lab(told["lab"])
    here = Setup.of(course, lab)
    if here.machine != told["machine"]:
        raise MachineError(f"A judge runs on another kind of machine: {here.machine}; expected {told['machine']}.")
    if here.digests != told["digests"]:
        raise UsageError(f"{lab.id} is not the same for this judge: the course was changed, or is another one there.")
    with open_bench(lab, told["seed"], require_sandbox=told["require_sandbox"]) as bench:
        bench.sandbox.ready()
        say({"ready": True})
        for line in questions:
            work = json.loads(line)
            result = _graded(lab, base64.b64decode(work["source"]), work["tasks"], bench)
            answer = {"id": work["id"], "result": result.model_dump(mode="json")}
            if result.problem is not None and result.problem.kind == "grader_error":
                say(answer | {"fault": result.problem.message or OUR_FAULT})
                return
            say(answer)


def _graded(lab: Lab, source: bytes, tasks: list[str], bench: Bench) -> LabResult:
    # One name for all: equal files have equal results, whatever they are called.
    filename = f"{lab.id}.py"
    try:
        submission = parse(source, filename)
    except SubmissionError as error:  # read once already, but how deep a file may be nested depends on the process
        said = Problem(kind=error.kind, message=str(error), line=error.line)
        return problem_result(lab, bench.course_seed, filename, said)
    return grade(Job(lab, submission, tasks), bench)


if __name__ == "__main__":
    main()
