"""Grades many sources of several labs in one process, as an installed edition does it; for the Python of that edition."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from grader.checking.diagnosis import diagnose
from grader.checking.session import Bench, Examination
from grader.course import load
from grader.grading import Job, assess, illustrate, open_bench
from grader.root import find_root
from grader.submission import parse


def named(seen: Examination, bench: Bench) -> dict[str, Sequence[Sequence[str]]]:
    """Return task -> explanations, of what the visible checks alone show."""
    found = {}
    for task, script in seen.scripts.items():
        visible = [one for one in script if one.visible]
        if not all(one.agrees for one in visible):
            edits = [edit for edit in bench.oracle.misconceptions if edit.task == task]
            diagnosis = diagnose(visible, bench.oracle, edits)
            found[task] = diagnosis.misconceptions if diagnosis else []
    return found


def main() -> None:
    course = load(find_root())
    told: dict[str, dict[str, Any]] = {}
    for lab_id, sources in json.load(sys.stdin).items():
        lab = course.lab(lab_id)
        with open_bench(lab, course.manifest.seed) as bench:
            for name, source in sources.items():
                job = Job(lab, parse(source.encode(), f"{lab_id}.py"))
                result, seen = assess(job, bench)
                if name == "right":
                    result = illustrate(result, job, bench)
                told.setdefault(lab_id, {})[name] = {
                    "earned": result.score.earned,
                    "possible": result.score.possible,
                    "visible": {check.id: check.outcome for check in result.checks if check.visible},
                    "checks": len(result.checks),
                    "named": named(seen, bench),
                    "pictures": [picture.model_dump() for picture in result.pictures],
                }
    json.dump(told, sys.stdout)


main()
