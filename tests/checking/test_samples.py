"""What fixtures/submissions/README.md says of each sample, held to it. They answer one task, add_noise."""

import re

import pytest

from grader.course import load
from grader.errors import SubmissionError
from grader.grading import Job, grade, open_bench
from grader.results import for_student
from grader.submission import find
from grader.submission import load as read
from tests.toy import ROOT

SAMPLES = ROOT / "fixtures" / "submissions"


@pytest.fixture(scope="module")
def graded(sandbox):
    course = load(ROOT)
    lab = course.lab("lab01")
    with open_bench(lab, course.manifest.seed, sandbox) as bench:
        yield lambda name: grade(Job(lab, read(find(SAMPLES / name, "lab01")), ["add_noise"]), bench)


def test_the_readme_describes_every_sample():
    described = re.findall(r"^\| `(\w+)` \|", (SAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", ["right", "right_another_style"])
def test_right_earns_full_marks(graded, name):
    result = graded(name)
    assert result.score.earned == result.score.possible > 0
    assert {check.outcome for check in result.checks} == {"passed"}


def test_half_done_passes_some_checks_and_is_not_named(graded):
    result = graded("half_done")
    assert 0 < result.score.earned < result.score.possible
    wrong = {check.id.rsplit(".", 1)[-1] for check in result.checks if check.outcome != "passed"}
    assert {"sequences", "videos"} <= wrong  # a reshape for images breaks on these
    (task,) = result.tasks
    assert task.state == "partly" and (task.diagnosis is None or task.diagnosis.misconceptions == [])


@pytest.mark.parametrize(
    ("name", "mistakes"),
    [
        ("one_known_mistake", ["alpha_not_alpha_bar"]),
        ("two_known_mistakes", ["t_minus_1", "no_sqrt_on_noise"]),
    ],
)
def test_known_mistakes_are_named_and_nothing_else_is(graded, name, mistakes):
    (task,) = graded(name).tasks
    assert task.earned < task.possible and task.diagnosis is not None
    assert [sorted(one) for one in task.diagnosis.misconceptions] == [sorted(mistakes)]


def test_a_syntax_error_names_the_line():
    with pytest.raises(SubmissionError) as caught:
        read(find(SAMPLES / "syntax_error", "lab01"))
    assert (caught.value.kind, caught.value.line) == ("syntax_error", 6)


def test_a_crash_at_import_names_the_line(graded):
    result = graded("crash_at_import")
    assert result.problem is not None and (result.problem.kind, result.problem.line) == ("import_error", 5)
    assert "out of bounds" in result.problem.message and "alpha_bar[1000]" in result.problem.message
    assert result.score.earned == 0


def test_an_endless_loop_times_out_and_the_class_goes_on(graded):
    result = graded("endless_loop")
    assert {check.outcome for check in result.checks} == {"timed_out"} and result.score.earned == 0
    assert graded("right").score.earned == result.score.possible


def test_reading_files_and_patching_comparisons_earns_nothing(graded):
    result = for_student(graded("reads_files_and_patches_allclose"))
    assert result.score.earned == 0 and {c.outcome for c in result.checks} <= {"failed", "crashed"}
    (task,) = result.tasks
    assert task.diagnosis is not None and task.diagnosis.misconceptions == []  # zeros are no known mistake
