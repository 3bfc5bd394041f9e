"""What fixtures/submissions/README.md says of each sample, held to it."""

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
    with open_bench(lab, course.seed, sandbox) as bench:
        yield lambda name: grade(Job(lab, read(find(SAMPLES / name, "lab01"))), bench)


def named(result):
    """What the diagnosis names, by task; tasks where it names nothing are left out."""
    diagnosed = {task.id: task.diagnosis.misconceptions for task in result.tasks if task.diagnosis}
    return {task: [sorted(one) for one in found] for task, found in diagnosed.items() if found}


def states(result):
    return {task.id: task.state for task in result.tasks}


def test_the_readme_describes_every_sample():
    described = re.findall(r"^\| `(\w+)` \|", (SAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", ["right", "right_another_style"])
def test_right_earns_full_marks(graded, name):
    result = graded(name)
    assert {check.outcome for check in result.checks} == {"passed"}
    assert result.score.earned == result.score.possible == sum(task.points for task in load(ROOT).lab("lab01").tasks)


def test_half_done_earns_what_is_done_and_is_told_where_it_stands(graded):
    result = graded("half_done")
    found = states(result)
    assert {task for task, state in found.items() if state == "passed"} == {
        "checkpoint_factors",
        "checkpoint_factor_shape",
        "noise_levels",
    }
    assert {task for task, state in found.items() if state == "partly"} == {"make_betas", "add_noise"}
    assert found["checkpoint_calls"] == "not_yet"
    assert {task for task, state in found.items() if state == "not_started"} == {
        "checkpoint_denoiser_inputs",
        "training_target",
        "zero_terminal_snr",
        "flow_matching_pair",
        "min_snr_weights",
        "training_loss",
    }
    assert named(result) == {"checkpoint_calls": [["forward_at_inference"]], "add_noise": [["four_axes_only"]]}
    wrong = {check.id.rsplit(".", 1)[-1] for check in result.checks if check.outcome in ("failed", "crashed")}
    assert "any_number_of_axes" in wrong
    told = {task.id: task.diagnosis for task in result.tasks if task.diagnosis}
    (right,) = (says for says in told["make_betas"].facts if says.startswith("Right already: "))
    # It asks for the cosine schedule too and asserts what must hold of each: no answer differs from the reference's.
    assert "ramps of other lengths" in right and "betas are variances" not in right
    assert told["make_betas"].says.startswith("lab01.py, line 26: ValueError: cosine: later. What fails: ")


@pytest.mark.parametrize(
    ("name", "mistakes"),
    [
        ("one_known_mistake", ["alpha_not_alpha_bar"]),
        ("two_known_mistakes", ["no_sqrt_on_noise", "t_minus_1"]),
    ],
)
def test_known_mistakes_are_named_and_nothing_else_is(graded, name, mistakes):
    result = graded(name)
    assert named(result) == {"add_noise": [mistakes]}
    lost = {task.id for task in result.tasks if task.earned < task.possible}
    assert lost == {"add_noise"}


@pytest.mark.parametrize("file", sorted((SAMPLES / "five_known_mistakes").iterdir()), ids=lambda file: file.stem)
def test_five_known_mistakes_are_named_in_every_lab(file):
    lab = load(ROOT).lab(file.stem)
    head = file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# Five known mistakes: ")
    planted = dict(one.split(".") for one in head.split(", "))
    with open_bench(lab, load(ROOT).seed) as bench:
        result = grade(Job(lab, read(file)), bench)
    assert named(result) == {task: [[mistake]] for task, mistake in planted.items()}
    assert {task.id for task in result.tasks if task.earned < task.possible} == planted.keys()


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
    assert {check.outcome for check in result.checks if check.task == "add_noise"} == {"timed_out"}
    assert {task for task, state in states(result).items() if state == "passed"} == {
        "noise_levels",
        "flow_matching_pair",
    }
    after = graded("right")
    assert after.score.earned == after.score.possible


def test_reading_files_and_patching_comparisons_earns_nothing(graded):
    result = for_student(graded("reads_files_and_patches_allclose"))
    assert result.score.earned == 0 and named(result) == {}  # zeros are no known mistake
    tried = {check.task for check in result.checks if check.outcome in ("failed", "crashed")}
    assert tried == {"add_noise", "zero_terminal_snr", "checkpoint_factors"}
    assert all(check.outcome == "skipped" for check in result.checks if check.task not in tried)
