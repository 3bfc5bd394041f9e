"""What a scenario may return: values that are right only where the work is, not what a process says of itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from grader.checking.session import Examination
from grader.course import Lab

MOST = 0.1  # of a task's points, for checks that compare what the student's process reports of itself


def breaches(lab: Lab, seen: Examination) -> list[str]:
    """Return what the reference's own answers show: verdicts, and figures of the meter, in checks that earn by them."""
    reported = {one.id for one in seen.checks if one.mark.reported}
    metering = set(_metering(lab.scenarios or ""))
    faults = []
    for script in seen.scripts.values():
        for one in script:
            request = one.call.request
            if request["op"] != "play" or one.check in reported or one.call.of_calls or one.expected is None:
                continue
            name = request["scenario"]
            if name in metering:
                faults.append(
                    f"{one.check}: {name} reads the meter in the student's process; say reported=True, and let the "
                    "kernel be the witness (memory_mib)"
                )
            elif place := next(_verdicts(one.expected.value, "", list(request["kwargs"].values())), None):
                faults.append(
                    f"{one.check}: {name} returns a verdict of its own{place}; return values and decide in the check, "
                    "or say reported=True"
                )
    return list(dict.fromkeys(faults))


def _verdicts(value: Any, where: str, given: Sequence[Any]) -> Iterator[str]:
    """Yield the places of truth values in an answer; what the check has `given` and gets back is none."""
    if any(value == one for one in given if isinstance(one, (dict, list))):
        return
    if isinstance(value, bool):
        yield f" at {where}" if where else ""
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _verdicts(item, f"{where}[{key!r}]", given)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _verdicts(item, f"{where}[{index}]", given)


def _metering(source: str) -> Iterator[str]:
    """Yield the scenarios that use the meter."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(part, ast.Name) and part.id == "Meter" for part in ast.walk(node)
        ):
            yield node.name
