"""The course's `audits.jsonl`: which labs were audited clean, and as what. One line a lab; it goes with the sources."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from grader.authoring.audit import LabAudit
from grader.course import Course, Lab
from grader.digests import lab_digest
from grader.errors import CourseError
from grader.root import PACKAGE
from grader.seeds import fingerprint

NAME = "audits.jsonl"
COUNTED = ("checks", "misconceptions", "equivalents", "mutants", "waived", "hollow")


class Record(BaseModel):
    """One clean audit."""

    lab: str
    digest: str  # `digests.lab_digest`
    seed: str  # the course's, as `seeds.fingerprint` tells it
    quick: bool
    date: date
    seeds: int
    tasks: int
    counts: dict[str, int]


def read(course: Course) -> dict[str, Record]:
    """Return the recorded audits by lab; CourseError where a line is none."""
    path = course.root / NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    try:
        records = [Record.model_validate_json(line) for line in lines]
    except ValidationError as error:
        raise CourseError(
            f"{NAME} holds a line that is no record of an audit; delete it and run `grade audit` again ({error})."
        ) from None
    return {one.lab: one for one in records}


def holds(course: Course, lab: Lab) -> Record | None:
    """Return the record of a clean audit of `lab` as it is now, with this engine; None where there is none."""
    known = read(course).get(lab.id)
    same = known is not None and (known.digest, known.seed) == (lab_digest(lab), fingerprint(course.seed))
    return known if same else None


def record(course: Course, lab: Lab, audit: LabAudit) -> None:
    """Write down a clean audit; strike out a lab that has faults. A quick one takes no whole one's place that holds.

    A course that was installed with the engine is nobody's sources: it is left alone.
    """
    if course.root.is_relative_to(PACKAGE):
        return
    kept = read(course)
    known = holds(course, lab)
    if audit.faults:
        if kept.pop(lab.id, None) is None:
            return
    elif audit.quick and known is not None and not known.quick:
        return
    else:
        kept[lab.id] = Record(
            lab=lab.id,
            digest=lab_digest(lab),
            seed=fingerprint(course.seed),
            quick=audit.quick,
            date=datetime.now(UTC).date(),
            seeds=audit.seeds,
            tasks=len(audit.tasks),
            counts={name: sum(getattr(task, name) for task in audit.tasks) for name in COUNTED},
        )
    path: Path = course.root / NAME
    part = path.with_suffix(".part")
    part.write_text("".join(kept[name].model_dump_json() + "\n" for name in sorted(kept)), encoding="utf-8")
    part.replace(path)
