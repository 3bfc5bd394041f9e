"""What a scenario may return: the audit refuses verdicts that are made in the process of the student's code."""

from types import SimpleNamespace

import pytest

from grader.authoring import audit
from grader.authoring.contract import breaches
from grader.authoring.trials import Trial, _reported
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


WEIGHED = """
from grader.kit import check


@check("scale", weight={values}, property={alone})
def test_value(compare, draw):
    \"\"\"It is compared.\"\"\"
    compare.scale(draw.normal(3), 2.0)


@check("scale", weight=2, reported=True)
def test_one(compare, draw):
    \"\"\"It is reported.\"\"\"
    compare.play("metered", x=draw.normal(3))


@check("scale", weight=3, reported=True)
def test_other(compare, draw):
    \"\"\"It is reported, too.\"\"\"
    compare.play("metered", x=draw.normal(4))


@check("jitter")
def test_jitter(compare, draw):
    \"\"\"It is compared.\"\"\"
    compare.jitter(draw.normal(4), draw.generator())
"""


@pytest.mark.parametrize(
    ("values", "alone", "says"),
    [
        (45, False, []),  # 5 of 50
        (44, False, ["scale: 10% of its points are for what the student's process says of itself"]),  # 5 of 49
        (5, False, ["scale: 50% of its points are for what the student's process says of itself"]),
        (45, True, ["scale: no check compares values with the reference's, so nothing can be earned"]),
    ],
)
def test_what_is_reported_gives_a_tenth_of_a_task_at_most(tmp_path, values, alone, says):
    checks = WEIGHED.format(values=values, alone=alone)
    lab = toy.make(tmp_path, checks=checks, scenarios=SCENARIOS).lab("lab01")
    with open_bench(lab, "7") as bench:
        result, seen = assess(Job(lab, parse(toy.REFERENCE.encode(), "lab01.py")), bench)
    trial = Trial(
        kind="reference",
        seed="7",
        earned=result.score.earned,
        possible=result.score.possible,
        outcomes={check.id: check.outcome for check in result.checks},
        reported=_reported(result, seen),
        properties=[check.id for check in result.checks if check.property],
    )
    plan = SimpleNamespace(tasks=lab.tasks)
    assert audit._valueless(audit._Seen(lab, plan, [], [trial])) == says
