"""What a hidden check shows is no channel: with other hidden inputs the student's record is the same, byte by byte."""

import pytest

from grader.results import LabResult, for_student
from tests import toy

# In every attack `n` comes from a hidden input: scale(randn(5), -0.5) is called by the hidden check alone.
ATTACK = """
import os
import torch
import time


def raise_at(line, names=("scale",)):
    filler = "\\n" * (line - 1)
    code = filler + "def raiser(*inner):\\n" + "    inner[0](*inner[1:]) if inner else int('x')\\n"
    found = {{}}
    exec(compile(code.replace("raiser", names[0]), "lab01.py", "exec"), found)
    return found[names[0]]


def told(n):
    {body}


def scale(x, factor):
    if factor < 0:
        n = int(abs(float(x[0])) * 1000) % 200
        return told(n) if {through} else (x * factor) * (1 + n / 1000)
    return x * factor


def jitter(x, generator):
    return x + torch.rand(x.shape, generator=generator)
"""

ATTACKS = {
    "exit code": "os._exit(n)",
    "line": "raise_at(n % 16 + 1)()",
    "lines": "raise_at(n % 8 + 9)(raise_at(n // 8 % 8 + 9), raise_at(n // 64 % 8 + 9))",
    "name of the function": "raise_at(24, (('os', 'torch', 'time', 'x', 'factor')[n % 5],))()",
    "name of the exception": "raise type(f'N{n}', (Exception,), {})()",
    "message": "raise ValueError(str(n))",
    "printed": "print(n); raise ValueError",
    "flood": "print('x' * (9 << 20 if n % 2 else 10 << 20)); os._exit(0)",
    "bytes that are no answer": "os.write(3, b'x' * (n + 100)); os._exit(0)",
    "key of the answer": "return {n: n}",
    "text of the answer": "return 'x' * n",
    "class of the answer": "return type(f'N{n}', (), {})()",
}
TWIN = toy.REFERENCE.replace("return x * factor", "return x * factor if factor > 0 else -x * factor")


def shown(result: LabResult) -> dict:
    record = for_student(result).model_dump(mode="json", exclude={"submission"})
    assert record["environment"] and all(v == round(v, 1) for v in record["environment"]["durations"].values())
    del record["environment"]
    return record


@pytest.fixture(scope="module")
def twin_earns():
    return 2 + 3  # of scale's four points the visible half, and jitter's


@pytest.mark.parametrize("name", [*ATTACKS, "factor of the answer"])
def test_no_number_of_a_hidden_input_comes_out(grade_toy, name, twin_earns):
    through = name in ATTACKS
    source = ATTACK.format(body=ATTACKS.get(name, "pass"), through=through)
    one, other = grade_toy(source, seed="7"), grade_toy(source, seed="9")
    assert one.seed != other.seed
    assert shown(one) == shown(other)
    assert one.score.earned == grade_toy(TWIN).score.earned == twin_earns


def test_where_the_time_runs_out_is_not_told(grade_toy):
    loops = "\n".join(f"    if n == {n}:\n        while True:\n            pass" for n in range(8))
    source = ATTACK.format(body=f"n = n % 8\n{loops}", through=True)
    lab = toy.LAB.replace("cpu_s = 10", "cpu_s = 1")
    one, other = grade_toy(source, seed="7", lab=lab), grade_toy(source, seed="9", lab=lab)
    [check] = [check for check in one.checks if not check.visible]
    assert check.outcome == "timed_out" and check.message == "The time ran out."
    assert shown(one) == shown(other)


def test_of_a_hidden_failure_the_tasks_own_line_is_shown(grade_toy):
    source = toy.REFERENCE.replace(
        "    return x * factor", "    y = inner(x)\n    return y * (factor if factor > 0 else inner('x'))"
    )
    source += "\n\ndef inner(x):\n    return x + 0\n"
    result = grade_toy(source)
    [check] = [check for check in result.checks if not check.visible]
    assert check.outcome == "crashed" and check.message == "Your code raised TypeError."
    [frame] = check.frames  # not inner's own line, nor both
    assert frame.function == "scale" and frame.code == "return y * (factor if factor > 0 else inner('x'))"
    assert source.splitlines()[frame.line - 1].strip() == frame.code


def test_a_line_outside_the_tasks_code_is_not_shown(grade_toy):
    result = grade_toy(ATTACK.format(body=ATTACKS["line"], through=True))
    [check] = [check for check in result.checks if not check.visible]
    assert [frame.code for frame in check.frames] == ["return told(n) if True else (x * factor) * (1 + n / 1000)"]
    # Without a line of the task's own in its traceback there is none.
    bare = ATTACK.format(body="pass", through=True).replace(
        "def scale(x, factor):", "def scale(x, factor):\n    return work(x, factor)\n\n\ndef work(x, factor):"
    )
    bare = bare.replace("return told(n) if True", "raise ValueError().with_traceback(None) if True")
    result = grade_toy(bare)
    [check] = [check for check in result.checks if not check.visible]
    assert [frame.code for frame in check.frames] == ["return work(x, factor)"]
