"""How much of what a student's code has worded enters the record: enough to help, never more than a page can hold.

A record stays below `MOST` bytes whatever a file prints, raises, returns or calls its parameters. What was said first
is kept whole; when the room is used up, the rest is kept short.
"""

from __future__ import annotations

from collections.abc import Sequence

from grader.results import CheckResult, Diagnosis, Evidence, Frame, LabResult, Picture
from grader.text import fitting, taken

MOST = 300_000  # bytes of a record
OUTPUT_ROOM = 40_000  # bytes that the outputs of all checks may take together
TEXT_ROOM = 50_000  # the same for messages, evidence and tracebacks
PICTURE_ROOM = 150_000
MAX_FRAMES = 8

# bytes of one text: with room enough, and without
OUTPUT, MESSAGE, VALUE, CALL, WHERE, NAME, CODE = (8_000, 0), (2_000, 240), (600, 60), (1_200, 240), (200, 60), 80, 200
SAYS, FACT, FACTS = 1_000, 400, 6
PROBLEM, FILENAME = 4_000, 300


def trim(result: LabResult) -> LabResult:
    """Return the record with all texts of the student's within their room."""
    rooms = {"text": TEXT_ROOM, "output": OUTPUT_ROOM}
    problem = result.problem
    if problem is not None:
        problem = problem.model_copy(update={"message": fitting(problem.message, PROBLEM)})
    tasks = [
        task.model_copy(update={"diagnosis": _diagnosis(task.diagnosis)}) if task.diagnosis else task
        for task in result.tasks
    ]
    return result.model_copy(
        update={
            "checks": [_check(check, rooms) for check in result.checks],
            "tasks": tasks,
            "problem": problem,
            "filename": fitting(result.filename, FILENAME),
        }
    )


def with_pictures(result: LabResult, pictures: Sequence[Picture]) -> tuple[LabResult, list[Picture]]:
    """Return the record with the pictures that have room, and those that have none."""
    room = min(PICTURE_ROOM, MOST - len(result.model_dump_json(indent=1).encode()))
    kept, left = list[Picture](), list[Picture]()
    for picture in pictures:
        size = len(picture.model_dump_json(indent=1).encode())
        if size <= room:
            room -= size
            kept.append(picture)
        else:
            left.append(picture)
    return result.model_copy(update={"pictures": kept}), left


def _check(check: CheckResult, rooms: dict[str, int]) -> CheckResult:
    def text(words: str | None, sizes: tuple[int, int], room: str = "text") -> str | None:
        if words is None:
            return None
        shown = fitting(words, sizes[0])
        if taken(shown) > rooms[room]:
            shown = fitting(words, sizes[1])
        rooms[room] -= taken(shown)
        return shown

    evidence = check.evidence
    if evidence is not None:
        evidence = Evidence(
            call=text(evidence.call, CALL),
            where=text(evidence.where, WHERE),
            max_error=evidence.max_error,
            in_tolerances=evidence.in_tolerances,
            yours=text(evidence.yours, VALUE),
            expected=text(evidence.expected, VALUE),
        )
    frames = [_frame(frame) for frame in check.frames[-MAX_FRAMES:]]
    if sum(taken(frame.model_dump_json()) for frame in frames) > rooms["text"]:
        frames = frames[-1:]
    rooms["text"] -= sum(taken(frame.model_dump_json()) for frame in frames)
    return check.model_copy(
        update={
            "message": text(check.message, MESSAGE),
            "evidence": evidence,
            "frames": frames,
            "output": text(check.output, OUTPUT, "output"),
        }
    )


def _frame(frame: Frame) -> Frame:
    return Frame(line=frame.line, function=fitting(frame.function, NAME), code=fitting(frame.code, CODE))


def _diagnosis(diagnosis: Diagnosis) -> Diagnosis:
    facts = [fitting(fact, FACT) for fact in diagnosis.facts[:FACTS]]
    return diagnosis.model_copy(update={"says": fitting(diagnosis.says, SAYS), "facts": facts})
