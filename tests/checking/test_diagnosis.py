import numpy as np
import pytest

from benchmarks.wrong_answers import grade_all, wrong_answers
from grader.checking.calls import Exchange, function_call
from grader.checking.diagnosis import describe
from grader.sandbox.client import Answer
from grader.sandbox.values import Tensor
from tests.toy import CHECKS

LINE = """
import torch


def scale(x, factor):
    shifted = x + 1.0
    return shifted * factor - 2.0


def jitter(x, generator):
    return x + torch.rand(x.shape, generator=generator)
"""


def misconception(name, find, put):
    return f"""
[scale.{name}]
find = "{find}"
put = "{put}"
says = "This is what {name} looks like."
see = "{name}"
"""


KNOWN = (
    misconception("no_shift", "x + 1.0", "x")
    + misconception("adds", "* factor", "+ factor")
    + misconception("forgets_the_end", " - 2.0", "")
)


def diagnosis(grade_toy, source, misconceptions=KNOWN, checks=CHECKS, reference=LINE):
    return grade_toy(source, reference=reference, misconceptions=misconceptions, checks=checks).tasks[0].diagnosis


def scale(expression):
    return LINE.replace("    shifted = x + 1.0\n    return shifted * factor - 2.0", f"    return {expression}")


@pytest.mark.parametrize(
    ("expression", "name"),
    [("x * factor - 2", "no_shift"), ("x + factor - 1", "adds"), ("factor * x + factor", "forgets_the_end")],
)
def test_one_mistake_is_named_however_it_is_written(grade_toy, expression, name):
    found = diagnosis(grade_toy, scale(expression))
    assert found.misconceptions == [[name]] and found.see == [name]
    assert found.says == f"This is what {name} looks like."


def test_two_mistakes_at_once_are_named_as_a_pair(grade_toy):
    found = diagnosis(grade_toy, scale("x * factor"))
    assert found.misconceptions == [["no_shift", "forgets_the_end"]] and len(found.see) == 2
    assert found.says == "This is what no_shift looks like. And: This is what forgets_the_end looks like."


def test_what_answers_the_same_is_given_as_one_of(grade_toy):
    twins = misconception("minus_three", "- 2.0", "- 3.0") + misconception(
        "minus_one_more", "factor - 2.0", "factor - 2.0 - 1.0"
    )
    found = diagnosis(grade_toy, scale("(x + 1) * factor - 3"), misconceptions=twins)
    assert found.misconceptions == [["minus_three"], ["minus_one_more"]]
    assert found.says.startswith("One of these, which give the same answers here: ") and " — or: " in found.says


def test_edits_that_overlap_are_never_a_pair(grade_toy):
    overlapping = misconception("a", "x + 1.0", "x") + misconception("b", "shifted = x + 1.0", "shifted = x + 2.0")
    found = diagnosis(grade_toy, scale("x * 7"), misconceptions=overlapping)
    assert found.misconceptions == []


def test_a_mistake_that_fits_only_some_calls_is_not_named(grade_toy):
    # On the visible check (factor 2) it answers as "adds" does, on the hidden one as nobody.
    source = scale("x + 1 + factor - 2 if factor == 2.0 else x * 5")
    found = diagnosis(grade_toy, source)
    assert found.misconceptions == [] and found.says.startswith("No known mistake gives your answers.")


def test_a_mistake_right_on_some_calls_must_be_right_there_too(grade_toy):
    # Wrong as "no_shift" is on one call, and right on the other, where "no_shift" is wrong as well.
    found = diagnosis(grade_toy, scale("x * factor - 2 if factor == 2.0 else (x + 1) * factor - 2"))
    assert found.misconceptions == []


def test_a_mistake_that_raises_is_told_by_the_exception(grade_toy):
    raises = misconception("divides_by_nought", "* factor", "* (1 / 0)")
    found = diagnosis(grade_toy, scale("1 / 0"), misconceptions=raises)
    assert found.misconceptions == [["divides_by_nought"]]
    found = diagnosis(grade_toy, scale("{}['k']"), misconceptions=raises)
    assert found.misconceptions == []


def test_an_edit_that_hangs_or_does_not_load_names_nothing_and_harms_nothing(grade_toy):
    bad = misconception("hangs", "x + 1.0", "x + 1.0\\n    while True:\\n        pass") + misconception(
        "adds", "* factor", "+ factor"
    )
    found = diagnosis(grade_toy, scale("x + factor - 1"), misconceptions=bad)
    assert found.misconceptions == [["adds"]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [("os._exit(0)", None), ("(lambda: [0 for _ in iter(int, 1)])()", None)],
    ids=["crash", "time-out"],
)
def test_a_crash_or_a_time_out_is_its_own_explanation(grade_toy, body, expected):
    from tests.toy import LAB

    source = "import os\n" + scale(body)
    result = grade_toy(source, reference=LINE, misconceptions=KNOWN, lab=LAB.replace("cpu_s = 10", "cpu_s = 0.5"))
    assert result.score.earned == 3 and result.tasks[0].diagnosis is expected


def test_what_fits_nothing_says_what_passes_and_where_the_value_returns(grade_toy):
    found = diagnosis(grade_toy, scale("(x + 1) * factor - 2 if factor == 2.0 else x"))
    assert found.misconceptions == [] and "Right already: plain." in found.says
    assert "The value comes back at line 6." in found.says


# How a wrong tensor relates to the right one

B = np.arange(1.0, 17.0, dtype=np.float32).reshape(4, 4) ** 1.5


def answer(array):
    tensor = Tensor(array, str(array.dtype), array.shape, (), "cpu", False)
    return Answer(tensor, {}, {}, False, None, "", 0.0)


def said(*pairs):
    script = [
        Exchange("lab01/f.check", True, function_call("f", (n,), {}), answer(mine), answer(right), False)
        for n, (mine, right) in enumerate(pairs)
    ]
    return describe(script).says.removeprefix("No known mistake gives your answers.").strip()


@pytest.mark.parametrize(
    ("mine", "relation"),
    [
        (B * 1.1, "the expected one times 1.1"),
        (B * -0.25, "the expected one times -0.25"),
        (B * 1.01, "the expected one times 1.01"),
        (-B, "the expected one with the opposite sign"),
        (B + 3, "the expected one plus a constant"),
        (B * 0, "all zeros"),
        (B.T.copy(), "the expected one with axes 0 and 1 exchanged"),
        (B[::-1].copy(), "the expected one reversed along axis 0"),
        (np.roll(B, 1, 1), "the expected one shifted by one along axis 1"),
        (np.roll(B, -1, 0), "the expected one shifted by one along axis 0"),
        (B.reshape(2, 8), "of another shape with the same number of entries"),
        (B.astype(np.float64), "right in value"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_relation_is_said_in_words(mine, relation):
    assert said((mine, B)) == f"Wherever the function was called directly and was wrong, its result is {relation}."


@pytest.mark.parametrize(
    "mine", [B * B, B + np.nan, B.astype(np.complex64), B[:2].copy()], ids=["square", "NaN", "complex", "half"]
)
def test_no_relation_is_made_up(mine):
    assert said((mine, B)) == ""


def test_the_relation_must_be_that_of_every_call():
    assert "times 2" in said((B * 2, B), (B.T * 2, B.T))
    assert said((B * 2, B), (B * 3, B)) == ""
    assert said((B * 2, B), (B * B, B)) == ""


# Wrong answers that no list names


def test_wrong_answers_that_no_list_names_are_described_and_not_named():
    """Every fourth of the hundred, but the dear lab's one; `python benchmarks/wrong_answers.py` grades them all."""
    chosen = [one for one in wrong_answers()[::4] if one.lab != "lab06"]
    assert len(chosen) == 24 and {one.lab for one in chosen} == {"lab01", "lab02", "lab03", "lab10"}
    named = []
    for one, result in grade_all(chosen):
        (task,) = result.tasks
        assert task.earned < task.possible, one
        assert task.diagnosis is not None and task.diagnosis.says, one
        named += task.diagnosis.misconceptions
    assert named == []


def test_there_are_a_hundred_of_them():
    assert len(wrong_answers()) == len({(one.task, one.answer) for one in wrong_answers()}) == 100
