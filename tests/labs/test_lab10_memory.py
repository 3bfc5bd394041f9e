"""Lab 10's limits of memory: what is right needs at most half of each, what is wrong at least twice as much."""

import sys

import pytest

from grader.course import apply_edits, load
from grader.recipes import randn
from grader.sandbox.client import Budget
from grader.sandbox.launcher import Limits, Sandbox
from tests.labs.witness import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limits are Linux's")

LAB = load(ROOT).lab("lab10")


def play(scenario, **given):
    return {"op": "play", "scenario": scenario, "kwargs": given}


# task -> the limit in MiB, as in checks.py, and a call like the check's
CALLS = {
    "query_chunked_attention": (
        8,
        {
            "op": "call",
            "function": "query_chunked_attention",
            "args": [randn(0, 1, 1, 2048, 8), randn(1, 1, 1, 2048, 8), randn(2, 1, 1, 2048, 8), 16],
            "kwargs": {},
        },
    ),
    "online_softmax_attention": (
        10,
        {
            "op": "call",
            "function": "online_softmax_attention",
            "args": [randn(0, 1, 1, 160, 2), randn(1, 1, 1, 32768, 2), randn(2, 1, 1, 32768, 2), 256],
            "kwargs": {},
        },
    ),
    "tiled_decode": (
        10,
        play("tiled_here", z=randn(0, 1, 4, 32, 32), tile=8, overlap=0.25, f=8, width=40, seed=3),
    ),
    "checkpointed_forward": (
        14,
        play("trained_long", x=randn(0, 1856, 4), cond=randn(1, 1, 4), seg=1, depth=42, seed=1, hidden=80),
    ),
}
WRONG = {
    "online_softmax_attention": ("full", "chunks_queries"),
    "tiled_decode": ("full", "keeps_the_graph"),
    "checkpointed_forward": ("none", "one_segment", "segment_is_a_count"),
}
IN_PLACE = """
import torch

def attention(q, k, v, chunk):
    s = q @ k.transpose(-2, -1)
    s /= q.shape[-1] ** 0.5
    s -= s.amax(-1, keepdim=True)
    s.exp_()
    s /= s.sum(-1, keepdim=True)
    return s @ v
"""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox("torch", start_method="fork") as sandbox:
        yield sandbox


def error(sandbox, source, task, memory_mib):
    """Return the error of the task's call in a process that is held to so much, or None."""
    limits = Limits(60, memory_mib, tight=True)
    worker = sandbox.worker(source.encode(), "lab10.py", scenarios=LAB.scenarios.encode(), limits=limits)
    try:
        assert worker.load(Budget(60)).error is None
        worker.ask(CALLS[task][1])
        return worker.answer(Budget(60)).error
    finally:
        worker.close()


def edited(edits, task, name):
    (edit,) = (one for one in edits if (one.task, one.id) == (task, name))
    return apply_edits(LAB.reference, [edit])


@pytest.mark.parametrize("task", CALLS)
def test_the_reference_needs_at_most_half(sandbox, task):
    assert error(sandbox, LAB.reference, task, CALLS[task][0] // 2) is None


@pytest.mark.parametrize(
    ("task", "name"), [(one.task, one.id) for one in LAB.equivalents if one.task in CALLS], ids=lambda value: value
)
def test_every_right_form_fits(sandbox, task, name):
    assert error(sandbox, edited(LAB.equivalents, task, name), task, CALLS[task][0]) is None


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in WRONG.items() for name in names])
def test_what_is_wrong_needs_at_least_twice_as_much(sandbox, task, name):
    found = error(sandbox, edited(LAB.misconceptions, task, name), task, 2 * CALLS[task][0])
    assert found is not None and "memory" in found.message


@pytest.mark.parametrize("task", ["query_chunked_attention", "online_softmax_attention"])
def test_all_scores_in_place_need_twice_as_much(sandbox, task):
    found = error(sandbox, IN_PLACE.replace("attention", task, 1), task, 2 * CALLS[task][0])
    assert found is not None and "memory" in found.message
