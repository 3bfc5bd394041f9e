"""Every hostile submission of tests/attacks, in both isolated ways; and an honest one is graded right afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grader.sandbox.client import Answer, Budget
from grader.sandbox.launcher import Limits, Sandbox
from grader.sandbox.values import Refused

from .conftest import HONEST, LIMITS, call, is_right, running

CORPUS = sorted((Path(__file__).parents[1] / "attacks").glob("*.py"))
X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
# A submission that only burns or sleeps is given up soon; any other has time enough on a busy machine.
SHORT_S, LONG_S = 0.4, 20
TIGHT = Limits(cpu_s=1, memory_mib=512)


def expectation(file: Path) -> tuple[list[str], bool]:
    """Read `# expects OUTCOME [or OUTCOME] [at import] | ...` from a file's first line."""
    first = file.read_bytes().splitlines()[0].decode()
    said = first.removeprefix("# expects ").split("|")[0].strip()
    at_import = said.endswith(" at import")
    return said.removesuffix(" at import").split(" or "), at_import


def outcome(answer: Answer) -> str:
    if answer.error is not None:
        return answer.error.kind
    if answer.changed:
        return "changed"
    if isinstance(answer.value, Refused):
        return "refused"
    return "right" if is_right(answer, X) else "wrong"


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) >= 50


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_attack(sandbox: Sandbox, file: Path) -> None:
    expected, at_import = expectation(file)
    limits = TIGHT if at_import and "timed_out" in expected else LIMITS
    worker = sandbox.worker(file.read_bytes(), "lab01.py", scenarios=None, limits=limits)
    try:
        answer = worker.load()
        assert (answer.error is not None) is at_import, answer.error
        if not at_import:
            worker.ask({"op": "call", "function": "step", "args": [X], "kwargs": {}})
            answer = worker.answer(Budget(SHORT_S if "timed_out" in expected else LONG_S))
    finally:
        worker.close()
    found = outcome(answer)
    assert found in expected or expected == ["any"], f"{found}: {answer}"
    shown = answer.output + (answer.error.message if answer.error else "")
    assert "LEAK" not in shown
    assert not any(sign in shown for sign in ("\x1b", "\x9b", "\u202e", "\r"))
    with running(sandbox, HONEST) as honest:
        assert is_right(call(honest, "step", X), X)


def test_after_an_answer_given_twice_the_next_one_does_not_count(sandbox: Sandbox) -> None:
    source = next(file for file in CORPUS if file.stem == "answers_twice").read_bytes()
    with running(sandbox, source) as worker:
        assert call(worker, "step", X).value == [1]
        later = call(worker, "step", X)
        assert later.error is not None
        assert later.error.kind == "protocol"
        assert not worker.alive
