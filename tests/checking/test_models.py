"""Models whose calls are graded: played elsewhere for a student's code, in one process for ours."""

import numpy as np
import pytest

from tests import toy

SCENARIOS = '''
import torch
from torch import nn


class Net(nn.Module):
    """A small network with a config, as diffusers' are."""

    def __init__(self, width):
        super().__init__()
        self.config = {"width": width}
        self.linear = nn.Linear(width, width)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape).cos() + number)

    def forward(self, sample, timestep, scale=1.0, return_dict=True):
        out = self.linear(sample) * scale + timestep
        return {"sample": out} if return_dict else (out,)


def make_net(width):
    return Net(width).eval()


def run(student, *, net, x, steps):
    """Return what the loop gives."""
    return student.scale(net, x, steps)


def look(student, *, net, x, steps):
    """Return what a stand-in shows of its model."""
    out = net(x, 1)
    seen = [net.config["width"], net.dtype, net.device.type, net.training, sum(1 for _ in net.parameters())]
    net.train().eval().requires_grad_(False).to(torch.float32)
    return {"seen": seen, "same": [out.sample, out["sample"], out[0], net(x, timestep=1, return_dict=False)[0]]}
'''
CHECKS = '''
from grader.kit import check, witnessed


@check("scale", visible=True)
def test_value(compare, draw):
    """The loop ends where it should."""
    compare.play("run", net=witnessed("make_net", width=3, calls=8), x=draw.normal(2, 3), steps=4)


@check("scale", visible=True, subject="What the model was given")
def test_calls(compare, draw):
    """The model is called once a step, without gradients."""
    compare.calls("run", net=witnessed("make_net", width=3, calls=8), x=draw.normal(2, 3), steps=4)


@check("jitter")
def test_looks(compare, draw):
    """A stand-in looks like its model."""
    compare.play("look", net=witnessed("make_net", width=3), x=draw.normal(2, 3), steps=1)
'''
LOOP = """
import torch


@torch.no_grad()
def scale(x, factor, steps=0):
    net, x = x, factor
    for t in range(steps):
        x = net(x, t).sample
    return x


def jitter(x, generator):
    return x
""".replace(".sample", '["sample"]')
COURSE = {
    "scenarios": SCENARIOS,
    "checks": CHECKS,
    "reference": LOOP,
    "misconceptions": "",
    "starter": toy.STARTER.replace("scale(x, factor)", "scale(x, factor, steps=0)"),
}
HONEST = LOOP.replace("    for t", "    # a student's\n    for t")


def outcomes(result):
    return {check.id.split(".")[-1]: check.outcome for check in result.checks}


def message(result, name):
    return next(check.message for check in result.checks if check.id.endswith(f".{name}"))


def test_right_code_passes_and_both_ways_give_the_same_bits(assess_toy):
    result, seen = assess_toy(HONEST, **COURSE)
    assert set(outcomes(result).values()) == {"passed"}
    for script in seen.scripts.values():
        for one in script:
            assert one.expected is not None
            assert str(one.yours.calls) != "{}" and one.yours.calls.keys() == one.expected.calls.keys() == {"net"}
            mine, theirs = (tensors([a.value, a.calls]) for a in (one.yours, one.expected))
            assert len(mine) == len(theirs) > 0
            for a, b in zip(mine, theirs, strict=True):
                assert np.array_equal(a.array, b.array) and (a.strides, a.dtype) == (b.strides, b.dtype)


def tensors(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors(item)]
    return [value] if hasattr(value, "array") else []


@pytest.mark.parametrize(
    ("old", "new", "failed", "says"),
    [
        ("range(steps)", "[0] * steps", {"value", "calls"}, "What the model was given"),
        ("@torch.no_grad()\n", "", {"calls"}, "is True at"),
        (
            '        x = net(x, t)["sample"]',
            '        net(x, t)\n        x = net(x, t)["sample"]',
            {"calls"},
            "8 entries",
        ),
        ('net(x, t)["sample"]', 'net(x, float(t))["sample"]', {"calls"}, "What the model was given"),
    ],
)
def test_wrong_calls_fail_their_own_check(grade_toy, old, new, failed, says):
    result = grade_toy(HONEST.replace(old, new), **COURSE)
    assert {name for name, outcome in outcomes(result).items() if outcome != "passed"} == failed
    assert says in message(result, "calls")


FORGED = {
    "a list of its own": HONEST + "\n\nimport alphabar_worker.witness as w\nw.bound = lambda *a, **k: {}\n",
    "the builder": HONEST + "\n\nimport scenarios\nscenarios.make_net = lambda width: print\n",
    "the answer's calls": HONEST
    + "\n\nimport alphabar_worker.codec as c\nvalue = c.Encoder.value\n"
    + "c.Encoder.value = lambda self, v: value(self, {'net': []} if v == {} else v)\n",
}


@pytest.mark.parametrize("trick", FORGED)
@pytest.mark.parametrize("keeps_grad", [False, True])
def test_what_a_process_says_of_its_calls_is_worth_nothing(grade_toy, trick, keeps_grad):
    source = FORGED[trick].replace("@torch.no_grad()\n", "") if keeps_grad else FORGED[trick]
    assert outcomes(grade_toy(source, **COURSE))["calls"] == ("failed" if keeps_grad else "passed")


def test_a_caught_refusal_stays_one(grade_toy):
    retry = """        for _ in range(9):
            try:
                y = net(x, t)["sample"]
            except Exception:
                pass
        x = y"""
    result = grade_toy(HONEST.replace('        x = net(x, t)["sample"]', retry), **COURSE)
    assert outcomes(result)["value"] == "crashed" and "called more than 8 times" in message(result, "value")


@pytest.mark.parametrize(
    "body",
    [
        "net.half()",
        "net.state_dict()",
        "__import__('copy').deepcopy(net)",
        "net.register_forward_hook(print)",
        "net.to(torch.float64)",
    ],
)
def test_what_does_not_reach_the_model_is_one_sentence(grade_toy, body):
    result = grade_toy(HONEST.replace("    # a student's", f"    {body}"), **COURSE)
    assert outcomes(result)["value"] == "crashed" and "this model is a stand-in" in message(result, "value")


def test_a_wrong_call_raises_what_the_model_raises(grade_toy):
    result = grade_toy(HONEST.replace("net(x, t)", "net(x)"), **COURSE)
    assert "TypeError" in message(result, "value") and "timestep" in message(result, "value")
    result = grade_toy(HONEST.replace("net(x, t)", "net(x, lambda: t)"), **COURSE)
    assert "a model takes tensors on the processor and plain values" in message(result, "value")


def test_the_next_file_is_judged_as_before_after_a_model_broke_off(grade_toy):
    broken = HONEST.replace("net(x, t)", "net(x.expand(100_000_000, 2, 3), t)")
    assert outcomes(grade_toy(broken, **COURSE))["value"] == "crashed"
    assert set(outcomes(grade_toy(HONEST, **COURSE)).values()) == {"passed"}


# Text as UTF-8, which is longer when it is written anew.
WIDE = """

import json
import alphabar_worker.frames as f
f.dumps = lambda m: json.dumps(m, ensure_ascii=False).encode()
"""


@pytest.mark.parametrize(
    "given",
    [
        "{object(): 1}",
        "{'$recipe': ['stack', ['raise SystemExit', {}, {}], {}]}",
        "[{'a': {(1, 2): x}}]",
        "['€' * 90_000] * 14",
    ],
    ids=["an odd key", "a recipe", "a key within", "more than fits"],
)
def test_what_cannot_be_passed_on_is_no_fault_of_ours(grade_toy, given):
    result = grade_toy(HONEST.replace("net(x, t)", f"net(x, {given})") + WIDE, **COURSE)
    assert outcomes(result) == {"value": "crashed", "calls": "crashed", "looks": "passed"}
    assert "a model takes tensors on the processor and plain values" in message(result, "value")
    assert result.score.possible == 7 and result.problem is None


def test_whoever_asks_without_end_runs_out_of_time(grade_toy):
    endless = """        while True:
            try:
                net(x, t)
            except Exception:
                pass
"""
    source = HONEST.replace('        x = net(x, t)["sample"]\n', endless)
    result = grade_toy(source, **COURSE, lab=toy.LAB.replace("cpu_s = 10", "cpu_s = 1"))
    assert {outcomes(result)[name] for name in ("value", "calls")} == {"timed_out"}
