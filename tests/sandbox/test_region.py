"""Inputs in memory that the judge sees: laid out as they were made, read from outside, never used twice."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from grader.recipes import Recipe, arange, array, generator, linear_betas, ones, rand, randn, tensor, zeros
from grader.sandbox import region
from grader.sandbox.client import Answer, Budget, Worker
from grader.sandbox.launcher import Sandbox

from .conftest import LIMITS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is shared with a forked worker")

SAME = "def same(*inputs):\n    return inputs\n"
# What hides a change from the worker's own eyes.
BLIND = """
import sys

sys.modules["alphabar_worker.inputs"].Inputs.changed = lambda self, encoder: {}

"""


@contextmanager
def both(sandbox: Sandbox, source: str) -> Iterator[tuple[Worker, Worker]]:
    """A watched worker with `source`, and one that describes: it holds none of it."""
    watched = sandbox.worker(source.encode(), "lab01.py", scenarios=None, limits=LIMITS, watched=True)
    describing = sandbox.worker(SAME.encode(), "same.py", scenarios=None, limits=LIMITS)
    try:
        for worker in (watched, describing):
            assert worker.load().error is None
        yield watched, describing
    finally:
        watched.close()
        describing.close()


def ask(pair: tuple[Worker, Worker], function: str, *args: Any) -> tuple[Answer, Answer, dict[str, Any]]:
    """What the watched worker answers, what the other does, and what has changed as the judge sees it."""
    watched, describing = pair
    assert watched.region is not None
    names = [f"input{index}" for index in range(len(args))]
    request = {"op": "call", "args": list(args), "names": names, "kwargs": {}}
    watched.ask({**request, "function": function, "at": watched.region.at})
    describing.ask({**request, "function": "same", "describe": True})
    yours, described = watched.answer(Budget(30)), describing.answer(Budget(30))
    assert described.made is not None
    return yours, described, watched.region.changed(described.made)


def drawn(rng: random.Random) -> Recipe:
    """A recipe of some steps: every way in which checks make inputs."""
    start = rng.choice(
        [
            lambda: randn(rng.randrange(99), 2, 3, 4),
            lambda: rand(rng.randrange(99), 4, 6),
            lambda: tensor([[1, 2, 3], [4, 5, 6]]),
            lambda: tensor([True, False, True]),
            lambda: tensor(2.5),
            lambda: array(np.arange(24, dtype=np.int16).reshape(2, 12)),
            lambda: linear_betas(17),
            lambda: arange(0, 12, 2),
            lambda: ones(1, 5).expand(4, 5),
            lambda: zeros(3, 0),
        ]
    )()
    for _ in range(rng.randrange(4)):
        start = rng.choice(
            [
                lambda made: made.to(rng.choice(["bfloat16", "float16", "float64", "int64"])),
                lambda made: made * 1.5,
                lambda made: made.contiguous(),
                lambda made: made.on("meta"),
                lambda made: made.clamp(0, 2),
            ]
        )(start)
    return start


def test_inputs_are_what_they_are_elsewhere(bwrap_sandbox: Sandbox) -> None:
    rng = random.Random(5)
    odd = [
        randn(0, 2, 3, 4).transpose(0, 2),
        randn(1, 4, 6)[1],
        randn(2, 4, 6).transpose(0, 1)[2],
        ones(1).expand(3, 3),
        randn(3, 2, 3).to("bfloat16").transpose(0, 1),
        zeros(2).requires_grad_(),
        generator(4),
        [randn(5, 2), (randn(6, 3), {"deep": randn(7, 2, 2)})],
    ]
    with both(bwrap_sandbox, SAME) as pair:
        for args in [odd, *([drawn(rng) for _ in range(4)] for _ in range(30))]:
            yours, theirs, changed = ask(pair, "same", *args)
            assert yours.error is None and changed == {} and yours.changed == {}
            assert equal(yours.value, theirs.value)


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if hasattr(one, "array"):
        same = one.array is None if other.array is None else one.array.tobytes() == other.array.tobytes()
        form = [(t.dtype, t.shape, t.strides, t.device, t.requires_grad) for t in (one, other)]
        return bool(same) and form[0] == form[1]
    return bool(one == other) or type(one).__name__ == "Refused"  # a generator cannot travel


def test_storages_are_of_just_their_size_and_shared_as_they_were_made(bwrap_sandbox: Sandbox) -> None:
    source = "def sizes(*inputs):\n    return [x.untyped_storage().nbytes() for x in inputs]\n"
    with both(bwrap_sandbox, source) as pair:
        yours, _, _ = ask(pair, "sizes", randn(0, 3), randn(1, 4, 6)[1], ones(1).expand(8), tensor(1, "uint8"))
    assert yours.value == [12, 96, 4, 1]


@pytest.mark.parametrize("blind", ["", BLIND], ids=["honest", "blind"])
@pytest.mark.parametrize(
    ("given", "spoiled"),
    [
        (randn(0, 2, 3), "x.add_(1)"),
        (randn(0, 2, 3).transpose(0, 1), "x[0, 1] = 7"),
        (randn(0, 4, 3)[2], "x.mul_(2)"),
        (randn(0, 5).to("bfloat16"), "x[4] = 0"),
        (tensor([True, False]), "x.logical_not_()"),
        (array(np.arange(3)), "x.numpy()[0] = 9"),
        (zeros(2).requires_grad_(), "x.detach().fill_(3)"),
    ],
)
def test_a_change_is_seen_whatever_the_worker_says(
    bwrap_sandbox: Sandbox, blind: str, given: Recipe, spoiled: str
) -> None:
    source = f"{blind}def spoil(x, y):\n    {spoiled}\n    return 1\n"
    with both(bwrap_sandbox, source) as pair:
        yours, _, changed = ask(pair, "spoil", given, randn(8, 2))
        assert yours.value == 1 and list(changed) == ["input0"] and yours.changed == {}
        tensor = changed["input0"]
        assert tensor.array.shape == tensor.shape
        assert ask(pair, "spoil", given, randn(8, 2))[2].keys() == {"input0"}


def test_another_form_is_told_by_the_worker(bwrap_sandbox: Sandbox) -> None:
    source = "def turn(x):\n    x.t_()\n    return 1\ndef swap(x):\n    x.data = x.clone()\n    return 1\n"
    with both(bwrap_sandbox, source) as pair:
        assert list(ask(pair, "turn", randn(0, 2, 3))[0].changed) == ["input0"]
        assert list(ask(pair, "swap", randn(0, 2, 3))[0].changed) == ["input0"]


def test_what_was_given_before_stays_what_it_was(bwrap_sandbox: Sandbox) -> None:
    source = "kept = []\ndef keep(x):\n    kept.append(x)\n    return [float(x[0]) for x in kept]\n"
    with both(bwrap_sandbox, source) as pair:
        for last in range(1, 9):
            yours, _, changed = ask(pair, "keep", tensor([float(last)] * last))
            assert yours.value == [float(number) for number in range(1, last + 1)] and changed == {}


def test_where_there_is_no_room_the_worker_says_what_changed(
    bwrap_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region, "SIZE", 8192)
    with both(bwrap_sandbox, "def spoil(x):\n    x.add_(1)\n    return 1\n") as pair:
        large = [ask(pair, "spoil", randn(0, 1500)) for _ in range(3)]
    assert [list(changed) for _, _, changed in large] == [["input0"], [], []]
    assert [list(yours.changed) for yours, _, _ in large] == [[], ["input0"], ["input0"]]
    with both(bwrap_sandbox, f"{BLIND}def spoil(x):\n    x.add_(1)\n    return 1\n") as pair:
        blind = [ask(pair, "spoil", randn(0, 1500)) for _ in range(2)]
    assert [list(yours.changed) for yours, _, _ in blind] == [[], []]  # so it does blind the worker


def test_the_memory_cannot_change_its_size() -> None:
    made = region.Region()
    try:
        for size in (0, region.SIZE // 2, 2 * region.SIZE):
            with pytest.raises(PermissionError):
                os.ftruncate(made.descriptor, size)
    finally:
        made.close()
