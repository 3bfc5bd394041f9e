"""The peers' benchmark stands on its submissions: they fail what they have to, in plain Python and with us."""

import importlib.util
import sys

import pytest

from benchmarks.peers import submissions as handed_in
from grader.course import load
from grader.grading import Job, grade, open_bench
from grader.submission import parse

ALL = handed_in.submissions()
# One for each way of going wrong: a value, a shape, no tensor, a side effect, an exception, no import; and right code.
GRADED = ["as_it_is", "no_cumprod", "no_broadcast", "list_not_tensor", "inplace", "snr_todo", handed_in.CRASHES]


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    """The 20 checks as the peers import them: number -> function of the student's module."""
    lab = handed_in.HERE / "lab"
    before = sys.path[:]
    sys.path.insert(0, str(lab))
    try:
        return {int(name[1:3]): check for name, check in module("lab03_checks", lab / "lab03_checks.py").CHECKS}
    finally:
        sys.path[:] = before
        sys.modules.pop("lab03_reference", None)


def module(name, file):
    spec = importlib.util.spec_from_file_location(name, file)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def fails(checks, file):
    """Return the numbers of the checks that a file fails, with nothing around them."""
    try:
        student = module("lab03", file)
    except ImportError:
        return frozenset(checks)
    failed = set()
    for number, check in checks.items():
        try:
            check(student)
        except Exception:
            failed.add(number)
    return frozenset(failed)


def test_there_are_40_different_submissions_of_the_mix_that_is_described():
    assert len(ALL) == len({one.source for one in ALL}) == 40
    right = [one for one in ALL if not one.fails]
    assert (len(right), len(handed_in.WRONG)) == (16, 22)
    assert {one.name for one in ALL if len(one.fails) == handed_in.CHECKS} == {handed_in.CRASHES}
    assert [one.passes for one in ALL if one.name == handed_in.LOOPS] == [19]


def test_each_fails_the_checks_that_it_has_to_in_plain_python(checks, tmp_path):
    handed_in.write(tmp_path)
    assert len(checks) == handed_in.CHECKS
    for one in (one for one in ALL if one.name != handed_in.LOOPS):
        assert fails(checks, tmp_path / "submissions" / one.id / handed_in.FILE) == one.fails, one.name


def test_we_judge_as_the_peers_do(tmp_path):
    handed_in.write(tmp_path)
    course = load(tmp_path / "course")
    lab = course.lab("lab03")
    with open_bench(lab, course.seed) as bench:
        for name in GRADED:
            one = next(one for one in ALL if one.name == name)
            result = grade(Job(lab, parse(one.source.encode(), handed_in.FILE)), bench)
            assert len(result.checks) == handed_in.CHECKS
            failed = {int(check.id.split(".c")[1][:2]) for check in result.checks if check.outcome != "passed"}
            assert failed == one.fails, name
