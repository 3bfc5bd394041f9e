import dataclasses
import re

import numpy as np
import pytest

from benchmarks.wrong_answers import grade_all, wrong_answers
from grader.checking.calls import Exchange, axes, function_call
from grader.checking.diagnosis import facts
from grader.recipes import (
    alphas_cumprod,
    arange,
    array,
    dtype,
    generator,
    linear_betas,
    linspace,
    ones,
    rand,
    randn,
    tensor,
    zeros,
)
from grader.sandbox.client import Answer, Error
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
    assert found.misconceptions == [] and found.facts[0] == "No known mistake gives your answers."


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
    ("body", "says"),
    [
        ("os._exit(0)", "your code ended the Python process (exit code 0)"),
        ("(lambda: [0 for _ in iter(int, 1)])()", "still running after 0.5 s of CPU time, at line 7"),
    ],
    ids=["crash", "time-out"],
)  # fmt: skip
def test_a_crash_or_a_time_out_is_its_own_explanation(grade_toy, body, says):
    from tests.toy import LAB

    source = "import os\n" + scale(body)
    result = grade_toy(source, reference=LINE, misconceptions=KNOWN, lab=LAB.replace("cpu_s = 10", "cpu_s = 0.5"))
    found = result.tasks[0].diagnosis
    assert result.score.earned == 3 and found.misconceptions == [] and found.facts == []
    assert found.says == f"lab01.py: {says}. What fails: Every entry is multiplied."


def test_what_fits_nothing_is_said_in_the_words_of_the_worst_check(grade_toy):
    found = diagnosis(grade_toy, scale("(x + 1) * factor - 2 if factor == 2.0 else x"))
    assert found.says == ("lab01.py, line 6: The values differ from the expected ones. What fails: Other factors work.")
    assert found.facts == ["No known mistake gives your answers.", "Right already: plain."]
    found = diagnosis(grade_toy, scale("x if factor == 2.0 else {}['k']"))
    assert found.says == "lab01.py, line 6: Your code raised KeyError. What fails: Other factors work."
    found = diagnosis(grade_toy, scale("x"))  # both differ; of the visible one there is more to say
    assert re.fullmatch(
        r"lab01.py, line 6: The values differ, most at \[\d, \d\]: .+ What fails: Every entry is multiplied.",
        found.says,
    )


def test_several_lines_that_return_are_a_fact(grade_toy):
    source = LINE.replace("    shifted", "    if factor == 9:\n        return x\n    shifted").replace("- 2.0", "- 7.0")
    found = diagnosis(grade_toy, source)
    assert found.says.startswith("lab01.py, line 5: ")  # where it is defined
    assert found.facts[-1] == "Values come back at the lines 7, 9."


def test_what_cannot_be_called_says_so(grade_toy):
    found = diagnosis(grade_toy, LINE.replace("def scale(x, factor)", "def scale(x)"))
    assert found.says == "Line 5 defines scale(x), but the task asks for scale(x, factor)." and found.facts == []


def test_where_something_is_kept_that_is_said_first(grade_toy):
    source = LINE.replace("    shifted", "    factor = KEPT.setdefault(1, factor)\n    shifted") + "\nKEPT = {}\n"
    found = diagnosis(grade_toy, source)
    assert found.misconceptions == [] and found.facts == []
    assert found.says.startswith("lab01.py: Right when called first, wrong after other calls: ")
    assert found.says.endswith("`KEPT` of line 14 is changed on line 6. What fails: Other factors work.")


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
    return " ".join(facts(script))


@pytest.mark.parametrize(
    ("mine", "relation"),
    [
        (B * 1.1, "the expected one times 1.1"),
        (B * -0.25, "the expected one times -0.25"),
        (B * 1.01, "the expected one times 1.01"),
        (B * np.float32(1.0004), "the expected one times 1.0004"),
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


# What the answers hang on


def exchange(call, yours, expected, agrees, check="lab01/f.check"):
    return Exchange(check, True, call, yours, expected, agrees)


def called(*shapes):
    return function_call("f", (*(randn(0, *shape) for shape in shapes),), {})


RIGHT = answer(B)
RAISED = Answer(None, {}, {}, False, Error("RuntimeError", "", (), None, "raised"), "", 0.0)
WORKS = "It works for inputs of four axes only: every call with others breaks."


def axes_said(*calls):
    return [says for says in facts([exchange(*one) for one in calls]) if says.startswith("It works")]


def test_what_works_for_four_axes_only_is_said():
    four, two = called((3,), (2, 3, 4, 4), (2,)), called((2, 3), (2,))
    assert axes_said((four, RIGHT, RIGHT, True), (two, RAISED, RIGHT, False)) == [WORKS]
    other_shape = answer(B[None].copy())
    assert axes_said((four, RIGHT, RIGHT, True), (two, other_shape, RIGHT, False)) == [WORKS]
    nested = (
        dataclasses.replace(RIGHT, value={"x": [other_shape.value]}),
        dataclasses.replace(RIGHT, value={"x": [RIGHT.value]}),
    )
    assert axes_said((four, RIGHT, RIGHT, True), (two, *nested, False)) == [WORKS]
    # Wrong in value: something else is the matter.
    assert axes_said((four, RIGHT, RIGHT, True), (two, answer(B + 1), RIGHT, False)) == []
    # One call of four axes that breaks, one of two that does not, or nothing to compare with.
    assert axes_said((four, RIGHT, RIGHT, True), (four, RAISED, RIGHT, False), (two, RAISED, RIGHT, False)) == []
    assert axes_said((four, RIGHT, RIGHT, True), (two, RIGHT, RIGHT, True), (called((2,)), RAISED, RIGHT, False)) == []
    assert axes_said((two, RAISED, RIGHT, False)) == []
    # What has to be refused is no example of what works.
    assert axes_said((two, RAISED, RAISED, True), (four, RIGHT, RIGHT, True), (two, RAISED, RIGHT, False)) == [WORKS]


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (randn(0, 2, 3), 2), (rand(0, 2).to("float16").requires_grad_(), 1), (zeros(2, 3, 4)[0], 2), (ones(2), 1),
        (tensor([[1, 2]]), 2), (tensor(3), 0), (array(np.zeros((2, 1, 1))), 3), (linear_betas(10), 1),
        (alphas_cumprod(linear_betas(10)), 1), (randn(0, 6).reshape(1, 2, 3), 3), (randn(0, 1).expand(4, 5), 2),
        (randn(0, 2, 3).transpose(0, 1) * 2.0 + 1.0, 2), (arange(0, 3), 1), (linspace(0.0, 1.0, 3), 1),
        (generator(0), 0), (dtype("float16"), 0), (3.0, 0), ([randn(0, 1, 1), {"k": randn(0, 1, 1, 1)}], 3),
    ],
    ids=str,
)  # fmt: skip
def test_the_axes_of_an_input_are_counted(value, count):
    assert axes(function_call("f", (value,), {})) == axes(function_call("f", (1,), {"k": value})) == count


def test_what_draws_nothing_from_its_generator_is_said(grade_toy):
    source = LINE.replace("torch.rand(x.shape, generator=generator)", "torch.rand(x.shape)")
    result = grade_toy(source, reference=LINE, misconceptions="")
    found = result.tasks[1].diagnosis
    assert found.facts == ["No known mistake gives your answers.", "It draws nothing from generator."]
    assert "Nothing was drawn from generator." in found.says
    twice = LINE.replace("x + torch.rand", "x + 2 * torch.rand")
    assert "It draws nothing from generator." not in str(grade_toy(twice, reference=LINE, misconceptions="").tasks[1])


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
