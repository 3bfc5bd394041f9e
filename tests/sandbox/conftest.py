"""One sandbox of each kind for the whole run: with bwrap, without it, and with no isolation at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grader.sandbox.client import Answer, Budget, Worker
from grader.sandbox.launcher import Limits, Sandbox
from grader.sandbox.values import Tensor

LIMITS = Limits(cpu_s=30, memory_mib=512)
HONEST = b"def step(x):\n    return x * 0.5 + 1\n"


@pytest.fixture(scope="session")
def no_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to be the whole PATH: bwrap is not there."""
    return tmp_path_factory.mktemp("no_programs")


@pytest.fixture(scope="session")
def bwrap_sandbox() -> Iterator[Sandbox]:
    with Sandbox("torch") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def landlock_sandbox(no_programs: Path) -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(no_programs))
        sandbox = Sandbox("torch")
    with sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def open_sandbox() -> Iterator[Sandbox]:
    with Sandbox("torch", isolation="none") as sandbox:
        yield sandbox


@pytest.fixture(params=["bwrap", "landlock"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Each of the two isolated ways."""
    found = request.getfixturevalue(f"{request.param}_sandbox")
    assert isinstance(found, Sandbox)
    return found


@contextlib.contextmanager
def running(
    sandbox: Sandbox, source: str | bytes, scenarios: str | None = None, limits: Limits = LIMITS
) -> Iterator[Worker]:
    """A worker with the source loaded, which must succeed."""
    body = source.encode() if isinstance(source, str) else source
    worker = sandbox.worker(body, "lab01.py", scenarios=scenarios.encode() if scenarios else None, limits=limits)
    try:
        loaded = worker.load()
        assert loaded.error is None, loaded.error
        yield worker
    finally:
        worker.close()


def call(worker: Worker, function: str, *args: Any, budget: float = 10.0, **kwargs: Any) -> Answer:
    """Ask for one call and wait for its answer."""
    worker.ask({"op": "call", "function": function, "args": list(args), "kwargs": kwargs})
    return worker.answer(Budget(budget))


def once(sandbox: Sandbox, source: str, function: str, *args: Any, **kwargs: Any) -> Answer:
    """Call one function of a source in a worker of its own."""
    with running(sandbox, source) as worker:
        return call(worker, function, *args, **kwargs)


def is_right(answer: Answer, x: np.ndarray) -> bool:
    """Whether an answer to `step(x)` is what an honest submission answers."""
    value = answer.value
    if answer.error is not None or not isinstance(value, Tensor) or value.array is None or value.dtype != "float32":
        return False
    return value.shape == x.shape and bool(np.allclose(value.array, x * 0.5 + 1))
