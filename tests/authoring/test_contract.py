"""What a scenario may return: the audit refuses verdicts that are made in the process of the student's code."""

import pytest

from grader.authoring.contract import breaches
from grader.grading import Job, assess, open_bench
from grader.submission import parse
from tests import toy

SCENARIOS = """
from alphabar_worker.meter import Meter


def values(student, *, x):
    return {"y": student.scale(x, 2.0), "count": 3}


def verdict(student, *, x):
    return {"y": student.scale(x, 2.0), "notes": [{"same": True}]}


def metered(student, *, x):
    with Meter() as meter:
        student.scale(x, 2.0)
    return {"flops": meter.flops}


def handed_back(student, *, config):
    return {"config": config}
"""
CHECK = '''

@check("scale"{mark})
def test_played(compare, draw):
    """It is played."""
    compare.play("{scenario}", {given})
'''
X = "x=draw.normal(3)"


@pytest.mark.parametrize(
    ("scenario", "mark", "given", "says"),
    [
        ("values", "", X, None),
        ("verdict", "", X, "verdict returns a verdict of its own at ['notes'][0]['same']"),
        ("verdict", ", reported=True", X, None),
        ("metered", "", X, "metered reads the meter in the student's process"),
        ("metered", ", reported=True", X, None),
        ("handed_back", "", 'config={"clip": True}', None),
    ],
)
def test_a_scenario_that_decides_is_refused(tmp_path, scenario, mark, given, says):
    checks = toy.CHECKS + CHECK.format(mark=mark, scenario=scenario, given=given)
    lab = toy.make(tmp_path, checks=checks, scenarios=SCENARIOS).lab("lab01")
    with open_bench(lab, "7") as bench:
        result, seen = assess(Job(lab, parse(toy.REFERENCE.encode(), "lab01.py")), bench)
    assert {check.outcome for check in result.checks} == {"passed"}
    found = breaches(lab, seen)
    assert found == [] if says is None else len(found) == 1 and says in found[0]
