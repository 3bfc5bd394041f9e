"""A zygote that dies is replaced, and the file asked again: one submission must not end the grading of others."""

import sys

import pytest

from grader.grading import Job, grade, illustrate, open_bench
from grader.sandbox.launcher import Sandbox
from grader.submission import parse
from tests import toy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork is Linux's")

# Only without isolation can student code kill at all.
KILLS = """
import os
import signal


def scale(x, factor):
    if factor < 0 and not os.path.exists({flag!r}):
        {leave}
        os.kill(os.getppid(), signal.SIGKILL)
    return x * factor
"""
FIGURES = """
from grader.kit import Chart, figure, ones


@figure("scale")
def lines(play):
    yours, reference = play.call("scale", ones(3), -2.0)
    points = [(0.0, float(reference.array[0]))]
    return Chart(title="Lines", caption="c", alt="a", x_label="x", y_label="y", series=[("l", "yours", points)])
"""


@pytest.fixture
def bench(tmp_path):
    root = toy.make(tmp_path / "toy").root
    (root / "exercises" / "lab01_toy" / "figures.py").write_text(FIGURES)
    lab = toy.load(root).lab("lab01")
    with Sandbox("torch", isolation="none") as sandbox, open_bench(lab, "7", sandbox) as bench:
        yield bench


def job(bench, source):
    return Job(bench.lab, parse(source.encode(), "lab01.py"), ["scale"])


def outcomes(result):
    return [check.outcome for check in result.checks]


def test_what_killed_the_zygote_once_is_asked_again(bench, tmp_path):
    source = KILLS.format(flag=str(tmp_path / "flag"), leave=f"open({str(tmp_path / 'flag')!r}, 'w').close()")
    result = grade(job(bench, source), bench)
    assert result.problem is None and outcomes(result) == ["passed", "passed"]


def test_what_kills_it_always_is_ungraded_and_the_next_file_is_not(bench, tmp_path):
    source = KILLS.format(flag=str(tmp_path / "never"), leave="pass")
    result = grade(job(bench, source), bench)
    assert result.problem is not None and result.problem.kind == "grader_error"
    assert result.score.earned <= 2.0
    honest = grade(job(bench, toy.REFERENCE), bench)
    assert honest.problem is None and outcomes(honest) == ["passed", "passed"]


def test_a_zygote_that_dies_for_a_picture_costs_only_that(bench, tmp_path):
    honest = grade(job(bench, toy.REFERENCE), bench)
    faults = []
    source = KILLS.format(flag=str(tmp_path / "never"), leave="pass")
    assert illustrate(honest, job(bench, source), bench, faults.append).pictures == []
    assert len(faults) == 1 and "zygote has ended" in faults[0]
    assert len(illustrate(honest, job(bench, toy.REFERENCE), bench, faults.append).pictures) == 1
    assert grade(job(bench, toy.REFERENCE), bench).score.earned == 4
