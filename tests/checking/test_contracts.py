"""What a check may say of itself, tasks of several functions, and mistakes in several spellings."""

import subprocess
import sys

import pytest

from grader.course import load
from grader.errors import CourseError
from tests import toy
from tests.toy import REFERENCE

ALONE = '''
from grader.kit import check, tensor


@check("scale", visible=True)
def test_values(compare, draw):
    """Every entry is multiplied."""
    compare.scale(draw.normal(2, 3), 2.0)


@check("scale", visible=True, property=True)
def test_property(student):
    """Nothing comes of nothing."""
    assert not student.scale(tensor([0.0]), 2.0).array.any(), "Something comes of nothing."


@check("scale", property=True)
def test_refusal(compare):
    """A word is refused."""
    compare.scale("word", 2.0)


@check("jitter")
def test_draws(compare, draw):
    """The noise comes from the generator."""
    compare.jitter(draw.normal(4), draw.generator())
'''
STRICT = REFERENCE.replace(
    "    return x * factor", "    if isinstance(x, str):\n        raise ValueError\n    return x * factor"
)


def scale(body):
    return STRICT.replace("    return x * factor", f"    {body}")


def points(result):
    return {check.id.split(".")[-1]: (check.outcome, check.earned) for check in result.checks if check.task == "scale"}


def test_a_property_earns_beside_a_check_of_values(grade_toy):
    assert points(grade_toy(STRICT, checks=ALONE, reference=STRICT)) == {
        "values": ("passed", 1.33), "property": ("passed", 1.34), "refusal": ("passed", 1.33)
    }  # fmt: skip


@pytest.mark.parametrize("body", ["return 0 * x", "raise ValueError"])
def test_a_hollow_answer_earns_nothing_by_properties_and_is_told_why(grade_toy, body):
    result = grade_toy(scale(body), checks=ALONE, reference=STRICT)
    assert result.tasks[0].earned == 0 and "passed" in {outcome for outcome, _ in points(result).values()}
    held = next(check for check in result.checks if check.outcome == "passed" and check.task == "scale")
    assert held.property and held.message and "as soon as one check of this task that compares values" in held.message


CHECKPOINT = toy.REFERENCE.replace("    return x * factor", "    return 0.6")
TOLD = '''
from grader.kit import check


@check("scale", visible=True, tells="Not yet. Which step?")
def test_prediction(compare):
    """Prediction: a number."""
    compare.scale(1, 2)


@check("jitter", visible=True, subject="What the model was given")
def test_given(compare, draw):
    """The model is given what it should be."""
    compare.jitter(draw.normal(4), draw.generator())
'''


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return 0.7", "Not yet. Which step?"),
        ("return torch.tensor(0.6)", "Not yet. Which step? It gives a tensor where a float is expected."),
        ("return None", "Not yet. Which step? It gives None where a float is expected. Is a `return` missing?"),
    ],
)
def test_a_checkpoint_tells_its_sentence_and_nothing_of_the_answer(grade_toy, body, says):
    result = grade_toy(CHECKPOINT.replace("return 0.6", body), checks=TOLD, reference=CHECKPOINT, misconceptions="")
    (check,) = [check for check in result.checks if check.task == "scale"]
    assert (check.outcome, check.evidence) == ("failed", None)
    assert check.message is not None and check.message.startswith(says[:20]) and "0.6" not in check.message
    assert says.split("? ")[-1][:25] in check.message


def test_what_is_compared_has_the_name_that_the_check_gives_it(grade_toy):
    source = CHECKPOINT.replace("return x + torch.rand(x.shape, generator=generator)", "return x[:2]")
    result = grade_toy(source, checks=TOLD, reference=CHECKPOINT, misconceptions="")
    (check,) = [check for check in result.checks if check.task == "jitter"]
    assert check.outcome == "failed" and check.message is not None
    assert "The result" not in check.message and "shape" in check.message


PAIR = {
    "lab": toy.LAB.replace('id = "scale"', 'id = "there_and_back"\nfunctions = ["scale", "unscale"]'),
    "reference": REFERENCE + "\n\ndef unscale(x, factor):\n    return x / factor\n",
    "starter": toy.STARTER + "\n\ndef unscale(x, factor):\n    raise NotImplementedError\n",
    "checks": '''
from grader.kit import check


@check("there_and_back", visible=True)
def test_there(compare, draw):
    """There."""
    compare.scale(draw.normal(3), 2.0)


@check("there_and_back")
def test_back(compare, draw):
    """Back."""
    compare.unscale(draw.normal(3), 3.0)


@check("jitter")
def test_draws(compare, draw):
    """The noise comes from the generator."""
    compare.jitter(draw.normal(4), draw.generator())
''',
    "misconceptions": """
[there_and_back.multiplies_twice]
find = "x / factor"
put = "x * factor"
also = [[{ find = "x / factor", put = "x * factor * factor" }]]
says = "You multiplied on the way back, too."
""",
}


def test_a_task_of_two_functions_is_one_task(grade_toy):
    right = grade_toy(PAIR["reference"], **PAIR)
    assert right.tasks[0].earned == 4 and right.tasks[0].function == "scale and unscale"
    for wrong in ("x * factor", "factor * x * factor"):
        result = grade_toy(PAIR["reference"].replace("x / factor", wrong), **PAIR)
        assert result.tasks[0].earned == 2 and result.tasks[0].diagnosis is not None
        assert result.tasks[0].diagnosis.misconceptions == [["multiplies_twice"]]  # in either spelling


def test_a_task_of_two_functions_is_graded_when_both_are_written(grade_toy):
    result = grade_toy(REFERENCE + "\n\ndef unscale(x, factor):\n    raise NotImplementedError\n", **PAIR)
    assert result.tasks[0].state == "not_started"
    message = result.checks[0].message
    assert message is not None and "unscale is not written yet" in message and "scale and unscale" in message


def test_the_checks_of_every_lab_collect_under_the_public_runner():
    for lab in load(toy.ROOT).labs:
        words = ["--collect-only", "-q", "-c", "/dev/null", "--import-mode=importlib", "-o", "python_files=checks.py"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words, "-p", "no:cacheprovider", str(lab.checks_path)],
            cwd=toy.ROOT, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0 and f"{lab.checks_path.read_text().count('def test_')} tests" in done.stdout, (
            done.stdout
        )


def test_two_checks_of_one_name_are_refused(grade_toy):
    with pytest.raises(CourseError, match="test_draws is defined twice; Python keeps the last"):
        grade_toy(REFERENCE, checks=toy.CHECKS + toy.CHECKS[toy.CHECKS.index('@check("jitter"') :])
