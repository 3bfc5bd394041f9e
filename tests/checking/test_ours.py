"""An error in a check is ours only where the reference's own answers make it too."""

import pytest

from tests import toy

HEAD = "from grader.kit import check\n"
CHECK = '''

@check("scale", visible={visible})
def test_{name}(compare, student, draw):
    """It holds."""
    {body}
'''
JITTER = '''

@check("jitter")
def test_draws(compare, draw):
    """It draws."""
    compare.jitter(draw.normal(4), draw.generator())
'''
PLAIN = "compare.scale(draw.normal(2, 3), 2.0)"
FORM = "What your code returns has not the form that is asked for: the check cannot read it."


def checks(body, visible=True):
    return (
        HEAD
        + CHECK.format(visible=visible, name="odd", body=body)
        + CHECK.format(visible=True, name="plain", body=PLAIN)
        + JITTER
    )


@pytest.mark.parametrize("visible", [True, False], ids=["visible", "hidden"])
@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("assert 1.0 / float(student.scale(draw.normal(3), 2.0).array.sum()) > -9", "torch.zeros(3)"),
        ("assert student.scale(draw.normal(3), 2.0).array[2] < 9", "None"),
        ("assert [int(v) for v in student.scale(draw.normal(3), 2.0).array]", "torch.full((3,), float('nan'))"),
        ("assert len(student.scale(draw.normal(3), 2.0).shape) == 1 or 1 / 0", "torch.zeros(3, 1)"),
    ],
    ids=["nothing to divide by", "None", "NaN", "shape"],
)
def test_what_a_check_cannot_read_is_the_students(grade_toy, visible, body, answer):
    source = toy.REFERENCE.replace("return x * factor", f"return {answer} if x.ndim == 1 else x * factor")
    result = grade_toy(source, checks=checks(body, visible))
    [odd] = [check for check in result.checks if check.id.endswith(".odd")]
    assert odd.outcome == "failed" and odd.earned == 0 and odd.possible == 2
    assert result.problem is None and result.score.possible == 7 and result.score.earned == 5
    honest = grade_toy(toy.REFERENCE, checks=checks(body, visible))
    assert honest.score.earned == honest.score.possible == 7


def test_the_sentence_says_so(grade_toy):
    body = "assert 1.0 / float(student.scale(draw.normal(3), 2.0).array.sum() != 0) > -9"
    source = toy.REFERENCE.replace("return x * factor", "return torch.zeros(3) if x.ndim == 1 else x * factor")
    for visible in (True, False):
        [odd, *_] = [c for c in grade_toy(source, checks=checks(body, visible)).checks if c.id.endswith(".odd")]
        assert odd.message == FORM


@pytest.mark.parametrize(
    "body",
    [
        "undefined_name",
        "student.scale(draw.normal(3), 2.0).array.no_such_thing",
        "assert 1 / (student.scale(draw.normal(3), 2.0).array.sum() * 0).astype(int)[()].item()",
    ],
)
def test_what_fails_on_the_references_answers_too_is_ours(grade_toy, body):
    for source in (toy.REFERENCE, toy.REFERENCE.replace("return x * factor", "return x + factor")):
        result = grade_toy(source, checks=checks(body))
        [odd] = [check for check in result.checks if check.id.endswith(".odd")]
        assert odd.outcome == "grader_error" and odd.possible == 0


def test_a_view_that_raises_is_the_students(grade_toy):
    body = "compare.scale(draw.normal(3), 2.0, view=None) if 0 else compare.play('sums', view=lambda d: 1 / d['n'])"
    scenarios = "def sums(code):\n    import torch\n\n    return {'n': int(code.scale(torch.ones(3), 2.0).sum())}\n"
    source = toy.REFERENCE.replace("return x * factor", "return x * 0 if x.ndim == 1 else x * factor")
    result = grade_toy(source, checks=checks(body), scenarios=scenarios)
    [odd] = [check for check in result.checks if check.id.endswith(".odd")]
    assert odd.outcome == "failed" and odd.message == "It gives 0 at ['n']; expected 6."
    assert grade_toy(toy.REFERENCE, checks=checks(body), scenarios=scenarios).score.earned == 7
