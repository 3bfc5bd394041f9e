import os
import sys
from pathlib import Path

import pytest

from grader.errors import CourseError, InternalError, MachineError
from grader.executors import Setup, Work, doubt, local
from grader.executors.doubt import Doubt
from grader.executors.local import LocalExecutor

ROOT = Path(__file__).parents[2]
SETUP = Setup(ROOT, "lab01", 7, {}, "here", "")


@pytest.fixture
def executor(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    opened = []

    def make(jobs=2, manner="serves", deadline_s=100.0, reference=None):
        command = (sys.executable, "-m", "tests.cohort.judge_stub", manner)
        opened.append(LocalExecutor(SETUP, jobs, deadline_s, command, Doubt(reference, ())))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def works(*sources):
    return [Work(str(number), f"{source} {number}".encode(), ("scale",)) for number, source in enumerate(sources)]


def told(executor, jobs):
    """Id -> (what the judge said it graded, fault)."""
    done = list(executor.run(jobs))
    assert len({one.id for one in done}) == len(done)
    return {one.id: (one.result.submission if one.result else None, one.fault) for one in done}


@pytest.mark.parametrize("jobs", [1, 3])
def test_everything_is_graded_once_and_under_its_own_name(executor, jobs):
    assert told(executor(jobs), works(*["serves"] * 20)) == {str(i): (str(i), None) for i in range(20)}


def test_works_are_taken_when_there_is_somebody_to_do_them(executor):
    taken, done = [], 0
    for _ in executor(2).run(work for work in works(*["serves"] * 40) if not taken.append(work.id)):
        done += 1
        assert len(taken) - done <= 2 * 2 + 2 * 2  # two with each judge, and as many that wait
    assert done == len(taken) == 40


def test_what_does_not_fit_into_a_pipe_is_sent_all_the_same(executor):
    assert set(told(executor(1), works(*["serves" + " x" * 400_000] * 3))) == {"0", "1", "2"}


def test_a_judge_that_dies_is_replaced_and_its_work_done_again(executor, tmp_path):
    jobs = works("serves", f"kills-once {tmp_path / 'killed'}", *["serves"] * 6)
    assert told(executor(), jobs) == {str(i): (str(i), None) for i in range(8)}
    assert (tmp_path / "killed").exists()


def test_what_kills_three_judges_is_reported_and_its_neighbours_are_not_harmed(executor):
    found = told(executor(), works("serves", "kills", "serves", "serves", "kills", "serves"))
    assert [found[str(i)] for i in (0, 2, 3, 5)] == [(str(i), None) for i in (0, 2, 3, 5)]
    for name in ("1", "4"):
        assert found[name][0] is None
        assert "3 judges ended" in found[name][1] and "SIGKILL: a last word" in found[name][1]


def test_what_the_grader_failed_on_keeps_what_was_said_of_it(executor):
    found = told(executor(1), works("fails", "serves"))
    assert found == {"0": ("0", "the reference broke off"), "1": ("1", None)}


def test_a_silent_judge_is_ended(executor, monkeypatch):
    monkeypatch.setattr(local, "STRIKES", 1)
    found = told(executor(2, deadline_s=2.0), works("hangs", "serves", "serves"))
    assert "said nothing for 2 s" in found["0"][1]
    assert found["1"] == ("1", None) and found["2"] == ("2", None)


def test_a_judge_that_refuses_stops_the_run_with_its_own_words(executor):
    with pytest.raises(CourseError, match="Another course lies here"):
        told(executor(manner="refuses"), works("serves"))


BROKEN = """
import pathlib, runpy, sys
from grader import errors
from grader.executors import judge

def broken(*asked):
    raise getattr(errors, sys.argv[2])("The zygote ended.")

if pathlib.Path(sys.argv[1]).exists():
    sys.argv = ["", "serves"]
    runpy.run_module("tests.cohort.judge_stub", run_name="__main__")
pathlib.Path(sys.argv[1]).touch()
judge._serve = broken
judge.main()
"""


def test_a_judge_whose_sandbox_was_killed_is_replaced_one_that_lacks_a_layer_stops_the_run(executor, tmp_path):
    opened = executor(1)
    opened._command = [sys.executable, "-c", BROKEN, str(tmp_path / "killed"), "InternalError"]
    assert told(opened, works("serves")) == {"0": ("0", None)}
    assert (tmp_path / "killed").exists()
    opened = executor(1)
    opened._command = [sys.executable, "-c", BROKEN, str(tmp_path / "lacks"), "MachineError"]
    with pytest.raises(MachineError, match="The zygote ended"):
        told(opened, works("serves"))


def test_judges_that_do_not_start_stop_the_run(executor):
    with pytest.raises(InternalError, match="do not start: exit code 1: no torch anywhere"):
        told(executor(manner="never starts"), works("serves"))


def test_a_grader_that_fails_on_everybody_stops(executor, monkeypatch):
    monkeypatch.setattr(doubt, "LUCKLESS", 2)
    with pytest.raises(InternalError, match=r"2 submissions in a row.*broke off"):
        told(executor(1), works(*["fails"] * 4))


def test_files_that_end_the_judges_do_not_stop_the_honest_where_the_reference_is_right(executor, monkeypatch):
    monkeypatch.setattr(doubt, "LUCKLESS", 3)
    seen = told(executor(1, reference=b"serves ours"), works("serves", *["kills"] * 4, "serves"))
    assert {id for id, (graded, _) in seen.items() if graded} == {"0", "5"} and set(seen) == set("012345")


def test_a_grader_that_fails_on_the_reference_stops_at_once(executor):
    with pytest.raises(InternalError, match="fails on the reference itself"):
        told(executor(1, reference=b"kills ours"), works(*["kills"] * 4))


def test_closing_leaves_no_judge_behind(executor):
    opened = executor(2)
    assert next(opened.run(works(*["serves"] * 4))).id in "0123"
    pids = [judge.process.pid for judge in opened._judges]
    opened.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
