import json

import pytest
from pydantic import ValidationError

from grader.results import (
    CheckResult,
    Diagnosis,
    Environment,
    Evidence,
    Frame,
    LabResult,
    Picture,
    Problem,
    Score,
    TaskResult,
    canonical,
    for_instructor,
    for_student,
)  # fmt: skip


def check(name, visible, **other):
    facts = {
        "id": f"lab01/f.{name}", "task": "f", "title": "It holds.", "outcome": "failed", "earned": 0.0, "possible": 1.5,
        "visible": visible, "message": f"message of {name}", "output": f"output of {name}",
        "evidence": Evidence(call=f"call of {name}", yours=f"yours of {name}", expected=f"expected of {name}"),
        "frames": [Frame(line=3, function="f", code="return x")],
    }  # fmt: skip
    return CheckResult(**{**facts, **other})


def record(**other):
    facts = {
        "lab": "lab01", "title": "Toys", "seed": "7", "submission": "0" * 16, "filename": "lab01.py",
        "score": Score(earned=0, possible=3),
        "tasks": [TaskResult(id="f", title="F", function="f", line=1, earned=0, possible=3, state="not_yet",
                             diagnosis=Diagnosis(misconceptions=[["a"], ["b", "c"]], says="Says so.", see=["f"]))],
        "checks": [check("shown", True), check("secret", False)],
        "environment": Environment(
            grader="0", python="3", platform="P", libraries={"torch": "2"}, start_method="fork",
            sandbox={"bwrap": "not installed", "rlimits": True}, isolation="partial", graded_at="now",
            durations={"total": 1.5}),
        "pictures": [Picture(task="f", title="T", caption="C", alt="A")],
    }  # fmt: skip
    return LabResult(**{**facts, **other})


def test_canonical_leaves_out_when_where_and_how():
    plain = canonical(record())
    other = record(
        environment=None,
        pictures=[],
        filename="other.py",
        checks=[check("shown", True, output="else"), check("secret", False, output="")],
    )
    assert canonical(other) == plain
    assert list(json.loads(plain)) == sorted(
        ["format_version", "lab", "title", "seed", "submission", "score", "tasks", "checks", "problem"]
    )


@pytest.mark.parametrize(
    "change",
    [
        {"seed": "8"},
        {"submission": "1" * 16},
        {"score": Score(earned=1, possible=3)},
        {"problem": Problem(kind="interrupted", message="m")},
        {"checks": [check("shown", True, message="other"), check("secret", False)]},
        {"checks": [check("shown", True), check("secret", False, unstable=True)]},
        {"checks": [check("shown", True, evidence=None), check("secret", False)]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_canonical_keeps_everything_else(change):
    assert canonical(record(**change)) != canonical(record())


def test_a_student_sees_nothing_measured_of_a_hidden_check():
    before = record()
    shown, secret = for_student(before).checks
    assert shown == before.checks[0]
    assert secret.evidence is None and secret.output == ""
    # Title, outcome, what was found, and their own line stay.
    kept = {"id", "task", "title", "outcome", "earned", "possible", "visible", "message", "frames", "unstable"}
    assert secret.model_dump(include=kept) == before.checks[1].model_dump(include=kept)
    assert before.checks[1].evidence is not None  # the record itself is as it was
    assert for_student(for_student(before)) == for_student(before)
    assert for_instructor(before) == before


def test_what_exactly_failed_on_our_side_is_for_instructors():
    ours = record(problem=Problem(kind="grader_error", message="the reference broke off on f(randn(99, 2))"))
    told = for_student(ours).problem
    assert told is not None and "randn" not in told.message and "costs you nothing" in told.message
    assert for_instructor(ours).problem == ours.problem
    theirs = record(problem=Problem(kind="syntax_error", message="line 3"))
    assert for_student(theirs).problem == theirs.problem


def test_the_record_survives_json():
    assert LabResult.model_validate_json(record().model_dump_json()) == record()


def test_the_schema_names_the_fields_that_scripts_rely_on():
    schema = LabResult.model_json_schema()
    # docs/design.md, section 7 of the first design: the names are fixed.
    assert {"format_version", "lab", "score", "tasks", "checks", "problem", "environment"} <= set(schema["properties"])
    parts = schema["$defs"]
    assert {"id", "earned", "possible", "state", "diagnosis"} <= set(parts["TaskResult"]["properties"])
    fields = {"id", "task", "title", "outcome", "earned", "possible", "visible", "message", "evidence", "output"}
    assert fields <= set(parts["CheckResult"]["properties"])
    assert {"misconceptions", "says"} <= set(parts["Diagnosis"]["properties"])
    assert {"kind", "message", "line"} == set(parts["Problem"]["properties"])
    outcomes = {"passed", "failed", "crashed", "timed_out", "skipped", "grader_error"}
    assert set(parts["CheckResult"]["properties"]["outcome"]["enum"]) == outcomes


@pytest.mark.parametrize("broken", ['{"lab": "lab01"}', "[]", "no json", '{"lab": 3, "extra": 1}'])
def test_what_is_no_record_is_refused(broken):
    with pytest.raises(ValidationError):
        LabResult.model_validate_json(broken)


def test_a_field_that_is_not_known_is_refused():
    data = record().model_dump()
    with pytest.raises(ValidationError, match="Extra inputs"):
        LabResult.model_validate({**data, "name": "Ada"})  # grading is blind
