"""Grades many sources of several labs in one process; for the Python of an installed edition."""

import contextlib
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from grader.checking.calls import Call
from grader.checking.diagnosis import diagnose
from grader.checking.session import Bench, Examination
from grader.course import Course, load
from grader.grading import Job, assess, illustrate, open_bench
from grader.root import find_root
from grader.sandbox.launcher import Sandbox
from grader.submission import parse


def named(seen: Examination, bench: Bench) -> dict[str, Sequence[Sequence[str]]]:
    """Return task -> explanations, of what the visible checks alone show."""
    found = {}
    for task in {one.mark.task for one in seen.checks if one.mark.visible and one.verdict.outcome != "passed"}:
        visible = [one for one in seen.scripts[task] if one.visible]
        edits = [edit for edit in bench.oracle.misconceptions if edit.task == task]
        found[task] = diagnose(visible, bench.oracle, edits, "").misconceptions
    return found


def seeded(call: Call) -> bool:
    """Tell whether a call holds the seed of its check, so that no other check makes the same."""
    return re.search(r"randn?\(|generator\(|seed=", str(call)) is not None


def main() -> None:
    course = load(find_root())
    told: dict[str, dict[str, Any]] = {}
    # One sandbox with torch, one with diffusers too: what they know of a lab they are told with each call.
    with Sandbox("torch") as plain, Sandbox("diffusers") as other:
        asked = json.load(sys.stdin)
        for lab_id, sources in asked["sources"].items():
            drawn = lab_id in asked["drawn"]
            grade(course, lab_id, sources, {"torch": plain, "diffusers": other}, told, drawn=drawn)
    json.dump(told, sys.stdout)


def grade(
    course: Course,
    lab_id: str,
    sources: dict[str, str],
    sandboxes: dict[str, Sandbox],
    told: dict[str, Any],
    *,
    drawn: bool,
) -> None:
    lab = course.lab(lab_id)
    drawn_with = sandboxes[lab.manifest.figure_libraries or lab.manifest.libraries]
    with contextlib.ExitStack() as opened:
        bench = opened.enter_context(open_bench(lab, course.seed, sandboxes[lab.manifest.libraries]))
        figure_bench = opened.enter_context(open_bench(lab, course.seed, drawn_with))
        for name, source in sources.items():
            job = Job(lab, parse(source.encode(), f"{lab_id}.py"))
            result, seen = assess(job, bench)
            if drawn and name == "right":
                result = illustrate(result, job, figure_bench, sys.exit)
            calls = [one for script in seen.scripts.values() for one in script]
            told.setdefault(lab_id, {})[name] = {
                "earned": result.score.earned,
                "possible": result.score.possible,
                "visible": {check.id: check.outcome for check in result.checks if check.visible},
                "checks": len(result.checks),
                "visible calls": [one.call.key for one in calls if one.visible],
                # Without a seed a hidden call may well be one of a figure or of a visible check too.
                "hidden calls": [one.call.key for one in calls if not one.visible and seeded(one.call)],
                "named": named(seen, bench),
                "pictures": [picture.model_dump() for picture in result.pictures],
            }


main()
