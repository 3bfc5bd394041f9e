import dataclasses
import re
import sys

import pytest

from grader.checking.session import Bench
from grader.errors import CourseError, InternalError, MachineError
from grader.grading import Job, grade, open_bench
from grader.results import for_student
from grader.sandbox.client import Budget, Error
from grader.sandbox.launcher import Sandbox
from grader.submission import parse
from tests import toy
from tests.toy import CHECKS, REFERENCE

QUICK = toy.LAB.replace("cpu_s = 10", "cpu_s = 0.5")


def scaled(body: str) -> str:
    """The right file with another body of `scale`; `right` there is what it should return."""
    return REFERENCE.replace("    return x * factor\n", "    right = x * factor\n" + body)


def outcomes(result):
    return {check.id.split("/")[1]: check.outcome for check in result.checks}


def message(result, name="scale.plain"):
    return next(check.message for check in result.checks if check.id == f"lab01/{name}")


# What one check does to the next


def test_a_crash_does_not_touch_the_next_check(grade_toy):
    result = grade_toy(scaled("    if factor == 2.0:\n        import os\n        os._exit(0)\n    return right\n"))
    assert outcomes(result) == {"scale.plain": "crashed", "scale.secret": "passed", "jitter.draws": "passed"}
    assert message(result) == "your code ended the Python process (exit code 0)"
    assert (result.score.earned, result.score.possible) == (5, 7)
    assert not any(check.unstable for check in result.checks)


def test_an_endless_loop_costs_its_tasks_time_and_nothing_else(assess_toy):
    result, seen = assess_toy(scaled("    while True:\n        pass\n"), lab=QUICK)
    assert outcomes(result) == {"scale.plain": "timed_out", "scale.secret": "timed_out", "jitter.draws": "passed"}
    assert re.fullmatch(r"still running after 0.5 s of CPU time, at line [78]", message(result))
    assert message(result, "scale.secret") == "Not run: the task's time was spent by an earlier check."
    assert [one.check for one in seen.scripts["scale"]] == ["lab01/scale.plain"]  # the other made no call
    assert result.score.earned == 3 and result.tasks[0].state == "crashed"


def test_a_sleeper_is_given_up_by_the_wall(grade_toy):
    result = grade_toy(scaled("    import time\n    time.sleep(1000)\n"), lab=QUICK)
    assert outcomes(result)["scale.plain"] == "timed_out" and outcomes(result)["jitter.draws"] == "passed"
    assert "spent waiting" in message(result)


def test_a_check_that_fails_twice_is_not_unstable(grade_toy):
    result = grade_toy(scaled("    return x\n"))
    assert outcomes(result)["scale.plain"] == "failed" and not any(check.unstable for check in result.checks)


def test_a_check_is_run_again_in_a_fresh_worker_only_when_it_did_not_pass(grade_toy):
    result = grade_toy(
        scaled("    global calls\n    calls += 1\n    print(calls)\n    return right\n") + "\ncalls = 0\n"
    )
    assert [check.output for check in result.checks[:2]] == ["1\n", "2\n"]
    result = grade_toy(scaled("    global calls\n    calls += 1\n    print(calls)\n    return x\n") + "\ncalls = 0\n")
    # Each second run is the first call of its worker; the next check begins in that worker and fails there, then again.
    assert [check.output for check in result.checks[:2]] == ["1\n", "1\n"]


def test_parameters_may_have_any_name(grade_toy):
    source = """
import torch


def scale(picture, by):
    return picture * by


def jitter(picture, dice):
    return picture + torch.rand(picture.shape, generator=dice)
"""
    assert grade_toy(source).score.earned == 7


def test_a_wrapped_function_is_as_good(grade_toy):
    wrapper = "\ndef plain(f):\n    return lambda *args: f(*args)\n\njitter = plain(jitter)\n"
    assert grade_toy(REFERENCE + wrapper).score.earned == 7


# What a student may return


@pytest.mark.parametrize(
    ("body", "outcome", "says"),
    [
        ("    pass\n", "failed", "It gives None where a tensor is expected. Is a `return` missing?"),
        ("    return right.numpy()\n", "failed", "It returns a numpy.ndarray, not a torch tensor or a plain number"),
        ("    return right.tolist()\n", "failed", "It gives a list where a tensor is expected."),
        ("    return float(right.sum())\n", "failed", "It gives a float where a tensor is expected."),
        ("    return right.double()\n", "failed", "The result has dtype float64 where float32 is expected."),
        ("    return right[None]\n", "failed", "The shape is (1, 2, 3); expected (2, 3)."),
        ("    return right.to('meta')\n", "failed", "The result is on device meta where cpu is expected."),
        ("    return right / 0\n", "failed", " is expected; 6 of 6 values differ so."),
        ("    return right.to_sparse()\n", "failed", "It returns a sparse tensor; expected a tensor."),
        ("    return right.to(torch.complex64)\n", "failed", "dtype complex64"),
        ("    return torch.empty(2_500_000_000)\n", "crashed", "used more than 512 MiB of memory"),
        ("    return torch.zeros(1, dtype=torch.uint8).expand(10 << 30)\n", "failed", "tensors of more than 192 MiB"),
        ("    x *= factor\n    return x\n", "failed", "The input x was overwritten; the caller still needs it"),
        ("    torch.rand(1)\n    return right\n", "failed", "Random numbers came from torch's global state"),
        ("    raise KeyError('k')\n", "crashed", "KeyError: 'k'"),
        ("    return object()\n", "failed", "It returns an object of type object"),
    ],
    ids=lambda value: value.strip()[:30] if isinstance(value, str) and value.startswith("    ") else "",
)
def test_a_wrong_answer_is_said_in_a_sentence(grade_toy, body, outcome, says):
    result = grade_toy(scaled(body))
    assert outcomes(result)["scale.plain"] == outcome and outcomes(result)["jitter.draws"] == "passed"
    assert says in message(result)


@pytest.mark.parametrize(
    "body",
    [
        "    return right.requires_grad_()\n",
        "    return torch.nn.Parameter(right)\n",
        "    return right.t().contiguous().t()\n",
        "    print('x' * 1000)\n    return right\n",
        "    return (right.double() * 1).float()\n",
    ],
    ids=["grad", "parameter", "strides", "prints", "float64 inside"],
)
def test_a_right_answer_in_another_dress_passes(grade_toy, body):
    assert grade_toy(scaled(body)).score.earned == 7


@pytest.mark.parametrize(
    "draw", ["torch.rand(x.shape)", "torch.rand(x.shape, generator=generator) + 0 * torch.rand(1, generator=generator)",
             "torch.rand(x.shape, generator=torch.Generator().manual_seed(0))"],
    ids=["global", "too many", "another"],
)  # fmt: skip
def test_misuse_of_the_generator_fails(grade_toy, draw):
    result = grade_toy(REFERENCE.replace("torch.rand(x.shape, generator=generator)", draw))
    assert outcomes(result) == {"scale.plain": "passed", "scale.secret": "passed", "jitter.draws": "failed"}


@pytest.mark.skipif(sys.platform != "linux", reason="the judge sees the inputs of a forked worker")
@pytest.mark.parametrize(
    "trick",
    ["", 'sys.modules["alphabar_worker.inputs"].Inputs.changed = lambda self, encoder: {}\n'],
    ids=["honest", "blind"],
)
def test_an_input_that_was_overwritten_is_seen_by_the_judge(grade_toy, trick):
    result = grade_toy("import sys\n" + trick + scaled("    x.mul_(0)\n    return right\n"))
    assert outcomes(result) == {"scale.plain": "failed", "scale.secret": "failed", "jitter.draws": "passed"}
    assert message(result) == "The input x was overwritten; the caller still needs it."


def test_a_gigabyte_of_output_is_stopped_and_capped(grade_toy):
    loop = "    for _ in range(1024):\n        print('x' * (1 << 20))\n    return right\n"
    result = grade_toy(scaled(loop))
    assert outcomes(result) == {"scale.plain": "crashed", "scale.secret": "crashed", "jitter.draws": "passed"}
    assert message(result) == "printed more than 8 MB"
    assert len(result.model_dump_json()) < 500_000


# Our own faults


def test_a_bug_in_a_check_costs_nothing(grade_toy):
    result = grade_toy(REFERENCE, checks=CHECKS.replace("compare.scale(draw.normal(5), -0.5)", "undefined"))
    assert outcomes(result) == {"scale.plain": "passed", "scale.secret": "grader_error", "jitter.draws": "passed"}
    assert (result.score.earned, result.score.possible) == (5, 5)
    assert result.tasks[0].state == "ungraded"
    fault = result.checks[1]
    assert fault.evidence is not None and "undefined" in fault.evidence.yours
    assert "undefined" not in for_student(result).model_dump_json()


def test_a_check_that_passes_what_no_call_can_take_is_ours(grade_toy):
    checks = CHECKS.replace("compare.scale(draw.normal(5), -0.5)", "compare.scale(object(), -0.5)")
    result = grade_toy(REFERENCE, checks=checks)
    assert outcomes(result)["scale.plain"] == "passed" and outcomes(result)["scale.secret"] == "grader_error"
    assert result.problem is not None and result.problem.kind == "grader_error"
    assert "A check passes a object" in result.problem.message


@pytest.mark.parametrize(
    "breaks_off", ["        import os\n        os._exit(3)\n", "        while True:\n            pass\n"],
    ids=["ends the process", "never ends"],
)  # fmt: skip
def test_a_reference_that_breaks_off_is_ours(grade_toy, breaks_off):
    reference = scaled(f"    if factor == -0.5:\n{breaks_off}    return right\n")
    result = grade_toy(REFERENCE, reference=reference, misconceptions="", lab=QUICK)
    assert outcomes(result) == {"scale.plain": "passed", "scale.secret": "grader_error", "jitter.draws": "passed"}
    assert (result.score.earned, result.score.possible) == (5, 5)
    assert result.problem is not None and result.problem.kind == "grader_error"
    assert "the reference of lab01 broke off on scale(randn(" in result.problem.message
    shown = for_student(result)
    assert shown.problem is not None and "randn" not in shown.problem.message


def test_a_reference_that_does_not_load_is_ours(grade_toy):
    result = grade_toy(REFERENCE, reference=REFERENCE + "\nundefined\n")
    assert set(outcomes(result).values()) == {"grader_error"} and result.score.possible == 0
    assert result.problem is not None and "lab01_toy.py, line 12 does not load: NameError" in result.problem.message


def test_a_reference_that_raises_asks_for_an_exception(grade_toy):
    reference = REFERENCE.replace(
        "    return x * factor", "    if factor < 0:\n        raise ValueError\n    return x * factor"
    )
    right = scaled("    if factor < 0:\n        raise ValueError('no')\n    return right\n")
    assert grade_toy(right, reference=reference, misconceptions="").score.earned == 7
    result = grade_toy(REFERENCE, reference=reference, misconceptions="")
    assert outcomes(result)["scale.secret"] == "failed"
    assert message(result, "scale.secret").startswith("It returns a value where these inputs have to be refused")
    other = grade_toy(right.replace("raise ValueError", "raise TypeError"), reference=reference, misconceptions="")
    assert outcomes(other)["scale.secret"] == "crashed"


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ("from grader.kit import nonsense\n", "cannot import name 'nonsense'"),
        ("def broken(:\n", "line 1: invalid syntax"),
        ("def test_x(compare):\n    '''Doc.'''\n", "test_x has no @check(task)"),
        (
            "from grader.kit import check\n@check('nope')\ndef test_x(compare):\n    '''Doc.'''\n",
            "which lab.toml does not list",
        ),
        ("from grader.kit import check\n@check('scale')\ndef test_x(compare):\n    pass\n", "test_x has no docstring"),
        (
            "from grader.kit import check\nclass TestX:\n    @check('scale')\n    def test_x(self):\n        'Doc.'\n",
            "test_x is a method; write it as a function",
        ),
    ],
    ids=["import", "syntax", "unmarked", "no such task", "no docstring", "method"],
)
def test_a_wrong_checks_file_is_a_course_error(grade_toy, checks, says):
    with pytest.raises(CourseError) as caught:
        grade_toy(REFERENCE, checks=checks)
    assert "lab01_toy/checks.py" in str(caught.value) and says in str(caught.value)


def test_scenarios_that_do_not_load_are_ours(grade_toy):
    result = grade_toy(REFERENCE, scenarios="import nosuchmodule\n")
    assert set(outcomes(result).values()) == {"grader_error"} and result.score.possible == 0
    assert result.problem is not None and "scenarios.py does not load: ModuleNotFoundError" in result.problem.message


def test_a_required_layer_that_is_missing_is_the_machines(tmp_path):
    lab = toy.make(tmp_path / "course").lab("lab01")
    with (
        Sandbox("torch", isolation="none", require=True) as sandbox,
        open_bench(lab, "7", sandbox) as bench,
        pytest.raises(MachineError, match="The sandbox is required"),
    ):
        grade(Job(lab, parse(REFERENCE.encode(), "lab01.py")), bench)


# One submission after another


@pytest.fixture
def bench(sandbox, tmp_path):
    remembers = '''

SEEN = []


@check("scale")
def test_memory(compare):
    """Nothing is remembered."""
    SEEN.append(1)
    assert SEEN == [1]
'''
    with open_bench(toy.make(tmp_path / "course", checks=CHECKS + remembers).lab("lab01"), "7", sandbox) as opened:
        yield opened


def graded_on(bench, source=REFERENCE, tasks=None):
    result = grade(Job(bench.lab, parse(source.encode(), "lab01.py"), tasks), bench)
    return outcomes(result), result


def test_nothing_passes_from_one_submission_to_the_next(bench):
    right, _ = graded_on(bench)
    assert set(right.values()) == {"passed"} and "scale.memory" in right
    wrong, _ = graded_on(bench, REFERENCE.replace("x * factor", "x + factor"))
    assert wrong["scale.plain"] == "failed" and wrong["scale.memory"] == "passed"
    assert set(graded_on(bench, tasks=["jitter"])[0]) == {"jitter.draws"}
    assert graded_on(bench)[0] == right


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("pytest's own")])
def test_after_an_interruption_or_a_fault_the_next_submission_is_graded(bench, monkeypatch, error):
    def breaks_off(sitting):
        raise error

    right, _ = graded_on(bench)
    kept = bench.checks
    with monkeypatch.context() as patch:
        patch.setattr("grader.checking.plugin.Sitting.load", breaks_off)
        if isinstance(error, KeyboardInterrupt):
            assert graded_on(bench)[1].problem.kind == "interrupted"
        else:
            with pytest.raises(InternalError, match="pytest broke off"):
                graded_on(bench)
    assert kept.closed
    assert graded_on(bench)[0] == right


def test_a_file_whose_process_was_killed_while_it_loaded_is_loaded_once_more(bench, monkeypatch):
    seated = []

    def killed_once(self, submission, seat=Bench.seat):
        loaded = seat(self, submission)
        seated.append(loaded)
        if len(seated) > 1:
            return loaded
        self.student_worker(Budget(1))._process.kill()
        return dataclasses.replace(loaded, error=Error("", "the system killed the process", (), None, "crashed"))

    right, _ = graded_on(bench)
    monkeypatch.setattr(Bench, "seat", killed_once)
    assert graded_on(bench)[0] == right and len(seated) == 2


def test_a_name_does_not_depend_on_whether_the_process_of_an_edit_was_killed(bench):
    source = REFERENCE.replace("x * factor", "x + factor")
    _, result = graded_on(bench, source)
    assert result.tasks[0].diagnosis.misconceptions == [["adds"]]
    bench.oracle.forget()
    bench.oracle._edited[1]._process.kill()
    _, again = graded_on(bench, source)
    assert again.tasks[0].diagnosis == result.tasks[0].diagnosis


# Seeds


def test_only_hidden_checks_follow_the_courses_seed(assess_toy):
    def calls(seed):
        _, seen = assess_toy(REFERENCE, seed=seed)
        return {one.check: str(one.call) for script in seen.scripts.values() for one in script}

    one, other = calls("1"), calls("2")
    assert {name for name in one if one[name] != other[name]} == {"lab01/scale.secret"}
    assert calls("1") == one


# What a student sees of a hidden check

CANARY = 0.734375  # exact in float32

HIDDEN = f'''
from grader.kit import check, randn, tensor


@check("scale")
def test_secret(compare, draw):
    """A secret holds."""
    seed = draw.seed()
    compare.scale(tensor([{CANARY}, -2.0]), 3.25)


@check("jitter")
def test_other(compare, draw):
    """Another holds."""
    seed = draw.seed()
    compare.jitter(randn(seed, 2), None)
'''

KEEPS_X = REFERENCE[: REFERENCE.index("def jitter")] + "def jitter(x, generator):\n    return x\n"


@pytest.mark.parametrize(
    "body",
    [
        "    raise ValueError(words)\n",
        "    raise type(words, (Exception,), {})()\n",
        "    raise SystemExit(words)\n",
        "    print(words)\n    import sys\n    print(words, file=sys.stderr)\n    return x\n",
        "    return {words: factor}\n",
        "    return [words]\n",
        "    return words\n",
        "    return type(words, (), {})()\n",
        "    return x + 1\n",
        "    return right[:1]\n",
        "    x[0] = 0\n    return right\n",
        "    def f():\n        raise ValueError\n    f.__code__ = f.__code__.replace(co_name=words)\n    f()\n",
        "    lied = 'raise ValueError  # ' + words\n"
        "    import gc\n    import alphabar_worker.serve as serve\n"
        "    for worker in gc.get_objects():\n"
        "        if isinstance(worker, serve.Worker):\n            worker.lines = [lied] * 99\n"
        "    raise ValueError\n",
        "    assert False, words\n",
    ],
    ids=["message", "type", "exit", "prints", "keys", "list", "text", "class", "values", "shape", "in place",
         "function", "lines", "assert"],
)  # fmt: skip
def test_nothing_of_a_hidden_checks_inputs_reaches_a_student(grade_toy, body):
    body = "    words = repr(x.tolist() + [factor])\n" + body
    result = grade_toy(scaled(body), checks=HIDDEN, reference=KEEPS_X, misconceptions="")
    assert outcomes(result)["scale.secret"] in ("failed", "crashed")
    shown = for_student(result).model_dump_json()
    for secret in ("734375", "-2.0", "3.25", "2.38", "-6.5"):  # inputs and expected values
        assert secret not in shown
    # What is hidden is there: the instructor's record holds the call.
    assert "734375" in result.model_dump_json()
    assert message(result, "scale.secret")


def test_what_a_hidden_check_gave_is_gone_when_a_visible_one_prints(grade_toy):
    checks = (
        HIDDEN
        + '''

@check("scale", visible=True)
def test_shown(compare, draw):
    """A visible check that stands below the hidden ones."""
    seed = draw.seed()
    compare.scale(randn(seed, 2), 2.0)


@check("jitter", visible=True)
def test_last(compare, draw):
    """The last of all."""
    seed = draw.seed()
    compare.jitter(randn(seed, 2), None)
'''
    )
    source = scaled("    stash.append(x.tolist())\n    return right\n").replace(
        "def jitter(x, generator):\n    return x + torch.rand(x.shape, generator=generator)",
        "def jitter(x, generator):\n    print(stash)\n    return x",
    )
    result = for_student(grade_toy(source + "\nstash = []\n", checks=checks, reference=KEEPS_X, misconceptions=""))
    assert set(outcomes(result).values()) == {"passed"}
    outputs = {check.id.split("/")[1]: check.output for check in result.checks}
    assert outputs["jitter.last"].startswith("[[") and "734375" not in outputs["jitter.last"]
