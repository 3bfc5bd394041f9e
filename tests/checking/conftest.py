import sys

import pytest

from grader.grading import Job, assess, open_bench
from grader.sandbox.launcher import Sandbox
from grader.submission import parse
from tests import toy


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox("torch", start_method="fork" if sys.platform == "linux" else "spawn") as sandbox:
        yield sandbox


@pytest.fixture
def assess_toy(sandbox, tmp_path):
    """Grade one source on a toy course made for it: `assess_toy(source, checks=…, reference=…)`."""

    def run(source, seed="7", **parts):
        lab = toy.make(tmp_path / f"course{len(list(tmp_path.iterdir()))}", **parts).lab("lab01")
        with open_bench(lab, seed, sandbox) as bench:
            return assess(Job(lab, parse(source.encode(), "lab01.py")), bench)

    return run


@pytest.fixture
def grade_toy(assess_toy):
    """Return the record alone."""
    return lambda source, **parts: assess_toy(source, **parts)[0]
