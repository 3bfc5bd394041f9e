"""What a student cannot know is said: which libraries there are, that the file stands alone, whose line raised."""

import pytest

from grader.checking.calls import function_call, scenario_call
from grader.checking.sentences import error_sentence
from grader.results import for_student
from grader.sandbox.client import Error, Frame
from tests.toy import CHECKS, REFERENCE

ALONE = "The grader sees this one file alone"


def problem(result):
    return result.problem.message.split("\n")[0] if result.problem else None


def message(result, name):
    return next(check.message for check in result.checks if check.id == f"lab01/{name}")


@pytest.mark.parametrize("line", ["import matplotlib.pyplot as plt", "import helpers", "from helpers import scale"])
def test_a_library_that_is_not_there_is_answered_with_those_that_are(grade_toy, line):
    says = problem(grade_toy(f"{line}\n{REFERENCE}"))
    assert says.startswith("ModuleNotFoundError: No module named '")
    assert f"'. {ALONE}, and it may import the standard library, torch and numpy." in says
    assert says.endswith('What stands below `if __name__ == "__main__":` is not run.')


def test_what_is_said_of_libraries_is_so(grade_toy):
    imports = "import json, math, numpy, torch, torch.nn.functional\n"
    tail = '\nif __name__ == "__main__":\n    import matplotlib\n'
    assert grade_toy(imports + REFERENCE + tail).score.earned == 7


def test_a_lab_with_diffusers_says_so():
    error = Error("ModuleNotFoundError", "No module named 'transformers'", (), 1, "raised")
    assert "torch, numpy and diffusers." in error_sentence(error, True, "diffusers")
    assert "diffusers" not in error_sentence(error, True, "torch")


def test_a_name_that_a_library_lacks_is_no_missing_library(grade_toy):
    says = problem(grade_toy(f"from torch import nonsense\n{REFERENCE}"))
    assert says.startswith("ImportError: cannot import name 'nonsense' from 'torch'") and ALONE not in says


def test_a_file_beside_the_file_is_not_there(grade_toy):
    source = REFERENCE.replace("import torch\n", "import torch\nWEIGHTS = open('weights.txt').read()\n")
    says = problem(grade_toy(source))
    assert says.endswith(f"{ALONE}: there is no other file that it could open.")
    inside = REFERENCE.replace("    return x * factor", "    open('weights.txt')\n    return x * factor")
    result = grade_toy(inside)
    for name in ("scale.plain", "scale.secret"):
        assert message(result, name).endswith(f"{ALONE}: there is no other file that it could open.")


@pytest.mark.parametrize("end", ["exit()", "exit(1)", "quit()", "import sys\nsys.exit(2)"])
def test_a_file_that_leaves_at_its_end_is_whole(grade_toy, end):
    result = grade_toy(f"{REFERENCE}\n{end}\n")
    assert result.problem is None and result.score.earned == 7


def test_a_file_that_leaves_early_says_where(grade_toy):
    source = REFERENCE.replace("def jitter", "exit()\n\n\ndef jitter")
    result = grade_toy(source)
    assert result.score.earned == 4
    assert message(result, "jitter.draws") == "lab01.py defines no jitter: the file ends at line 9, before it."


def test_leaving_within_a_call_is_an_error(grade_toy):
    result = grade_toy(REFERENCE.replace("    return x * factor", "    exit(0)"))
    assert message(result, "scale.plain") == "SystemExit: 0." and message(result, "scale.secret") == (
        "Your code raised SystemExit."
    )


SCENARIO = '''

@check("scale", visible=True)
def test_grows(compare, draw):
    """It can be differentiated."""
    compare.play("grows", x=draw.normal(3))
'''
GROWS = "def grows(student, *, x):\n    student.scale(x.requires_grad_(), 2.0).sum().backward()\n    return x.grad\n"


def test_what_a_scenario_raises_is_not_said_of_the_students_code(grade_toy):
    source = REFERENCE.replace("    return x * factor", "    with torch.no_grad():\n        return x * factor")
    for checks in (CHECKS + SCENARIO, CHECKS + SCENARIO.replace(", visible=True", "")):
        found = message(grade_toy(source, checks=checks, scenarios=GROWS), "scale.grows")
        assert found.startswith(
            "None of your lines ran when RuntimeError was raised, but what the check does with your answers"
        )
        assert ("does not require grad" in found) == (checks == CHECKS + SCENARIO)
    mine = REFERENCE.replace("    return x * factor", "    raise RuntimeError('mine')")
    assert message(grade_toy(mine, checks=CHECKS + SCENARIO, scenarios=GROWS), "scale.grows") == "RuntimeError: mine."


def test_a_direct_call_has_no_scenario_to_blame():
    error = Error("TypeError", "no", (), None, "raised")
    assert error_sentence(error, True, "torch", function_call("f", (), {})) == "TypeError: no."
    assert "None of your lines ran" in error_sentence(error, True, "torch", scenario_call("f", {}))
    mine = Error("TypeError", "no", (Frame(3, "f", "x"),), 3, "raised")
    assert error_sentence(mine, True, "torch", scenario_call("f", {})) == "TypeError: no."


def test_nothing_of_a_hidden_check_is_said_in_the_codes_own_words():
    for kind in ("Own73125", "Undefined", "ValueError", "ModuleNotFoundError"):
        error = Error(kind, "0.73125", (), None, "raised", ("0.73125",))
        for call in (None, function_call("f", (), {}), scenario_call("f", {})):
            assert "73125" not in error_sentence(error, False, "torch", call)


def test_an_exception_of_ones_own_is_as_good_where_it_is_derived_from_the_right_one(grade_toy):
    refuses = REFERENCE.replace("    return", "    if factor < 0:\n        raise ValueError\n    return", 1)
    own = "class Own(ValueError):\n    pass\n" + refuses.replace("raise ValueError", "raise Own('no')")
    assert grade_toy(own, reference=refuses, misconceptions="").score.earned == 7
    other = own.replace("class Own(ValueError)", "class Own(LookupError)")
    result = for_student(grade_toy(other, reference=refuses, misconceptions=""))
    assert result.score.earned == 5 and message(result, "scale.secret") == "Your code raised an exception."


def test_a_float_of_numpy_is_a_float_and_a_tensor_is_told_how_to_become_one(grade_toy):
    sums = REFERENCE.replace("return x * factor", "return float((x * factor).sum())")
    assert grade_toy(sums.replace("float(", "numpy.float64(").replace("import torch", "import numpy, torch"),
                     reference=sums, misconceptions="").score.earned == 7  # fmt: skip
    result = grade_toy(sums.replace("float(", "("), reference=sums, misconceptions="")
    assert message(result, "scale.plain") == (
        "It gives a tensor where a plain float is expected. `.item()` makes one of a tensor of one entry."
    )
