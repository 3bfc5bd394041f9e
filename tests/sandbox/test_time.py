"""Budgets and limits: what burns, sleeps, eats memory or dies becomes a sentence."""

from __future__ import annotations

import pytest

from grader.sandbox.client import Budget, Error
from grader.sandbox.launcher import Limits, Sandbox

from .conftest import call, running

BURNS = "def ok():\n    return 1\n\ndef f():\n    while True:\n        pass\n"
SLEEPS = "import time\ndef f():\n    time.sleep(1000)\n"


def failure(sandbox: Sandbox, source: str, *, budget: float = 0.3, limits: Limits | None = None) -> Error:
    with running(sandbox, source, limits=limits or Limits(30, 512)) as worker:
        error = call(worker, "f", budget=budget).error
        assert error is not None
        assert not worker.alive or error.kind == "raised"
        return error


def test_burning_is_given_up_when_the_cpu_budget_is_spent(sandbox: Sandbox) -> None:
    error = failure(sandbox, BURNS)
    assert error.kind == "timed_out"
    assert error.message in {f"still running after 0.3 s of CPU time, at line {line}" for line in (5, 6)}
    assert error.line in (5, 6)


def test_sleeping_is_given_up_by_the_wall(sandbox: Sandbox) -> None:
    error = failure(sandbox, SLEEPS)
    assert error.kind == "timed_out"
    assert error.message.startswith("no answer after 1 s")
    assert error.line == 3


def test_what_is_spent_is_spent_for_the_task(open_sandbox: Sandbox) -> None:
    budget = Budget(0.3)
    for _ in range(2):
        with running(open_sandbox, BURNS) as worker:
            worker.ask({"op": "call", "function": "f", "args": [], "kwargs": {}})
            answer = worker.answer(budget)
            assert answer.error is not None
            assert answer.error.kind == "timed_out"
    assert budget.exhausted
    assert budget.spent >= 0.3
    assert budget.spent < 10


def test_a_quick_call_spends_little(open_sandbox: Sandbox) -> None:
    budget = Budget(20)
    with running(open_sandbox, BURNS) as worker:
        worker.ask({"op": "call", "function": "ok", "args": [], "kwargs": {}})
        assert worker.answer(budget).value == 1
    assert not budget.exhausted
    assert 0 < budget.spent < 20


def test_a_dead_worker_goes_on_saying_why(open_sandbox: Sandbox) -> None:
    with running(open_sandbox, "import os\ndef f():\n    os._exit(3)\n") as worker:
        first = call(worker, "f").error
        assert call(worker, "f").error == first
        assert not worker.alive


@pytest.mark.parametrize(
    ("body", "kind", "message", "line"),
    [
        ("import os; os._exit(0)", "crashed", "your code ended the Python process (exit code 0)", None),
        ("import ctypes; ctypes.string_at(0)", "crashed", "segmentation fault, at line 2", 2),
        ("import signal; signal.raise_signal(40)", "crashed", "ended by signal 40", None),
        ("import os; os.abort()", "crashed", "the process aborted, at line 2", 2),
        ("x = bytearray(1 << 40)", "raised", "used more than 512 MiB of memory", 2),
        ("import torch; torch.ones(1 << 40)", "raised", "used more than 512 MiB of memory", 2),
        ("[print('x' * 65536) for _ in range(1000)]", "crashed", "printed more than 8 MB", None),
    ],
)
def test_every_end_has_its_sentence(sandbox: Sandbox, body: str, kind: str, message: str, line: int | None) -> None:
    error = failure(sandbox, f"def f():\n    {body}\n", budget=10)
    assert (error.kind, error.message, error.line) == (kind, message, line)


def test_the_workers_own_cpu_limit_holds_without_the_judge(sandbox: Sandbox) -> None:
    error = failure(sandbox, BURNS, budget=60, limits=Limits(cpu_s=1, memory_mib=512))
    assert error.kind == "timed_out"
    assert error.message.startswith("used more than 1 s of CPU time")


def test_ignoring_the_cpu_signal_does_not_help(sandbox: Sandbox) -> None:
    source = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n" + BURNS
    error = failure(sandbox, source, budget=60, limits=Limits(cpu_s=1, memory_mib=512))
    assert error.kind == "timed_out"
