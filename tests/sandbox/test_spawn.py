"""The start method spawn: no isolation, the same answers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from grader.recipes import generator, randn
from grader.sandbox.client import Answer, Worker
from grader.sandbox.launcher import Limits, Sandbox

from .conftest import call, running

SOURCE = """
import random, torch

def everything(x, g):
    x.add_(1)
    print("here")
    return {"a": torch.randn(3, generator=g), "b": torch.rand(2), "c": random.random(), "d": hash("alphabar"), "e": x.T}

def raises():
    return [][1]

def burns():
    while True:
        pass

def hides():
    import importlib
    found = []
    for name in ("grader", "pytest", "pip", "numpy", "diffusers"):
        try:
            importlib.import_module(name)
            found.append(name)
        except ImportError:
            pass
    return found

def leaves():
    import os
    os._exit(4)
"""


@pytest.fixture(scope="module")
def spawned() -> Iterator[Worker]:
    with Sandbox("torch", start_method="spawn") as sandbox:
        assert sandbox.isolation == "none"
        with running(sandbox, SOURCE, limits=Limits(60, 1024)) as worker:
            assert sandbox.layers["bwrap"] == "the start method spawn has no isolation"
            assert sandbox.layers["rlimits"] is True
            assert worker.report["versions"] == sandbox.versions
            yield worker


def same(a: object, b: object) -> bool:
    array = getattr(a, "array", None)
    return np.array_equal(array, b.array) if array is not None else a == b  # type: ignore[attr-defined]


def test_the_answers_are_those_of_a_forked_worker(spawned: Worker, bwrap_sandbox: Sandbox) -> None:
    def ask(worker: Worker) -> Answer:
        return call(worker, "everything", randn(0, 2, 3), generator(1))

    with running(bwrap_sandbox, SOURCE) as forked:
        one, two = ask(spawned), ask(forked)
        assert call(spawned, "raises").error == call(forked, "raises").error
        assert call(spawned, "hides").value == call(forked, "hides").value == ["numpy"]
    assert one.error is None
    assert all(same(one.value[key], two.value[key]) for key in one.value)
    assert (one.next_draw, one.global_rng_moved, one.output) == (two.next_draw, two.global_rng_moved, two.output)
    assert same(one.changed["argument 1"], two.changed["argument 1"])


def test_it_is_given_up_like_any_other(spawned: Worker) -> None:
    error = call(spawned, "burns", budget=0.3).error
    assert error is not None
    assert (error.kind, error.line) == ("timed_out", 13) or error.line == 14
    assert not spawned.alive
