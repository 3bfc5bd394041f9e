import pytest

from grader.results import Problem
from grader.scoring import problem_result, share_points, state, total
from tests import toy


@pytest.mark.parametrize(
    ("points", "weights", "shares"),
    [
        (5, [1], [5.0]),
        (4, [1, 1], [2.0, 2.0]),
        (5, [1, 1, 1], [1.67, 1.66, 1.67]),  # by hand: 5/3 and 10/3, rounded to two digits, are 1.67 and 3.33
        (6, [2, 1], [4.0, 2.0]),
        (1, [1] * 7, [0.14, 0.15, 0.14, 0.14, 0.14, 0.15, 0.14]),
    ],
)
def test_points_are_shared_by_weight(points, weights, shares):
    assert share_points(points, weights) == shares


@pytest.mark.parametrize("count", [1, 3, 7, 17, 23, 97])
@pytest.mark.parametrize("points", [1, 5, 8, 10])
def test_the_shares_are_the_points_to_the_cent(points, count):
    shares = share_points(points, [1 + n % 3 for n in range(count)])
    assert len(shares) == count and round(sum(shares), 10) == points and min(shares) >= 0
    assert all(share == round(share, 2) for share in shares)


def test_points_are_added_without_binary_dust():
    score = total([(0.1, 0.1)] * 3)
    assert (score.earned, score.possible) == (0.3, 0.3)


@pytest.mark.parametrize(
    ("outcomes", "earned", "expected"),
    [
        (["passed", "passed"], 2, "passed"),
        (["passed", "failed"], 1, "partly"),
        (["passed", "timed_out"], 1, "partly"),
        (["passed", "failed"], 0, "not_yet"),  # a refusal that holds
        (["passed", "crashed"], 0, "crashed"),
        (["failed", "crashed"], 0, "not_yet"),
        (["failed", "failed"], 0, "not_yet"),
        (["crashed", "timed_out"], 0, "crashed"),
        (["crashed", "skipped"], 0, "crashed"),
        (["skipped", "skipped"], 0, "not_started"),
        (["passed", "grader_error"], 1, "ungraded"),
        (["failed", "grader_error"], 0, "ungraded"),
    ],
)
def test_the_state_of_a_task(outcomes, earned, expected):
    assert state(outcomes, earned) == expected == state(outcomes[::-1], earned)


def test_a_file_that_cannot_be_read_earns_nought_of_everything(tmp_path):
    lab = toy.make(tmp_path / "toy").lab("lab01")
    result = problem_result(lab, "7", "lab01.py", Problem(kind="empty", message="lab01.py is empty."))
    assert (result.score.earned, result.score.possible, result.checks) == (0, 7, [])
    assert [(task.id, task.state, task.possible) for task in result.tasks] == [
        ("scale", "not_started", 4),
        ("jitter", "not_started", 3),
    ]
