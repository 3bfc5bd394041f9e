import numpy as np
import pytest

from grader.cohort.records import Rate
from grader.cohort.statistics import (
    ENOUGH,
    Gathering,
    correlation,
    counts,
    cronbach_alpha,
    discrimination,
    is_low,
    signature,
)
from grader.results import Problem
from tests import toy
from tests.cohort.made import found, result, row


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course") / "toy").lab("lab01")


def gather(lab, *rows, unmatched=()):
    gathering = Gathering(lab)
    for one in rows:
        gathering.add(one)
    return gathering.finish(found(unmatched=unmatched))


def test_alpha_by_hand():
    # Items' variances 1 and 1, totals 2, 4, 6 with variance 4: 2/1 * (1 - 2/4) = 1, two copies of one item.
    assert cronbach_alpha([[1, 1], [2, 2], [3, 3]]) == pytest.approx(1.0)
    # Totals 3, 4, 5: variance 1; items 1, 2, 3 (1) and 2, 2, 2 (0): 2 * (1 - 1/1) = 0.
    assert cronbach_alpha([[1, 2], [2, 2], [3, 2]]) == pytest.approx(0.0)
    assert cronbach_alpha([[1, 3], [2, 2], [3, 1]]) is None  # every total is 4
    assert cronbach_alpha([[1], [2]]) is None


def test_discrimination_by_hand():
    # Item 0 is 0, 1, 1; the rest of the score is 1, 2, 3: r = 0.5 / sqrt(1/3 * 1) = sqrt(3)/2.
    assert discrimination([[0, 1], [1, 2], [1, 3]], 0) == pytest.approx(3**0.5 / 2)
    assert correlation([1, 1, 1], [1, 2, 3]) is None


def test_the_formulas_against_numpy():
    random = np.random.default_rng(5)
    skill = random.normal(size=(200, 1))
    points = (skill + random.normal(size=(200, 6)) > 0) * np.array([1.0, 2.0, 3.0, 1.0, 2.0, 5.0])
    for item in range(6):
        rest = points.sum(1) - points[:, item]
        assert discrimination(points.tolist(), item) == pytest.approx(np.corrcoef(points[:, item], rest)[0, 1])
    # alpha from the covariance matrix: k/(k-1) * (1 - trace / sum)
    covariance = np.cov(points.T)
    expected = 6 / 5 * (1 - np.trace(covariance) / covariance.sum())
    assert cronbach_alpha(points.tolist()) == pytest.approx(expected)


def test_a_class_of_forty_against_numpy_and_against_grouping_by_hand(lab):
    random = np.random.default_rng(11)
    names, worth = ["plain", "secret", "draws"], np.array([2.0, 2.0, 3.0])
    skill = random.normal(size=(40, 1))
    right = skill + random.normal(size=(40, 3)) > -0.3
    values = random.choice(["1.0", "2.0", "nan"], size=40)
    shaky = random.random((40, 3)) < 0.1
    times = np.round(random.random(40), 3)
    rows = [
        row(
            i,
            result(
                {name: "failed" for name, good in zip(names, right[i], strict=True) if not good},
                yours=str(values[i]),
                unstable=[name for name, changed in zip(names, shaky[i], strict=True) if changed],
                seconds=float(times[i]),
            ),
        )
        for i in range(40)
    ]
    shown = gather(lab, *rows)
    by_check = right * worth
    by_task = np.column_stack([by_check[:, :2].sum(1), by_check[:, 2]])
    for rates, points, most in ((shown.checks, by_check, worth), (shown.tasks, by_task, np.array([4.0, 3.0]))):
        rest = points.sum(1, keepdims=True) - points
        expected = [np.corrcoef(points[:, i], rest[:, i])[0, 1] for i in range(len(most))]
        assert [rate.discrimination for rate in rates] == pytest.approx(expected, abs=1e-4)
        assert [rate.difficulty for rate in rates] == pytest.approx(points.mean(0) / most, abs=1e-4)
        assert [rate.passed for rate in rates] == list((points == most).sum(0))
    covariance = np.cov(by_task.T)
    assert shown.alpha == pytest.approx(2 * (1 - np.trace(covariance) / covariance.sum()), abs=1e-4)
    assert [(rate.seconds, rate.slowest) for rate in shown.tasks] == [
        (pytest.approx(np.median(times), abs=1e-3), times.max())
    ] * 2

    alike = {}
    for i in range(40):
        for task, columns in (("scale", [0, 1]), ("jitter", [2])):
            wrong = tuple(column for column in columns if not right[i, column])
            if wrong:
                alike.setdefault((task, wrong, values[i]), []).append(f"s{i:03}")
    assert sorted(one.students for one in shown.clusters) == sorted(alike.values())
    assert len(shown.clusters[0].students) == max(map(len, alike.values()))

    assert [rate.unstable for rate in shown.checks] == list(shaky.sum(0))
    assert [rate.unstable for rate in shown.tasks] == [shaky[:, :2].any(1).sum(), shaky[:, 2].sum()]
    assert {one.says.split()[0]: one.students for one in shown.attention if one.kind == "unstable"} == {
        check: [f"s{i:03}" for i in np.flatnonzero(shaky[:, column])]
        for column, check in enumerate(["lab01/scale.plain", "lab01/scale.secret", "lab01/jitter.draws"])
    }


def test_numbers_need_ten_students(lab):
    def some(count):
        return [row(i, result({"draws": "failed"} if i % 2 else {"plain": "failed"})) for i in range(count)]

    few, enough = gather(lab, *some(ENOUGH - 1)), gather(lab, *some(ENOUGH))
    assert (few.enough, few.alpha) == (False, None)
    assert {rate.difficulty for rate in few.tasks} == {None} == {rate.discrimination for rate in few.checks}
    # Who fails one task passes the other: scale has 2 or 4 of 4 points, jitter 3 or 0 of 3.
    assert enough.enough and [rate.difficulty for rate in enough.tasks] == [0.75, 0.5]
    assert [rate.discrimination for rate in enough.tasks] == [-1.0, -1.0]
    assert [(rate.passed, rate.graded) for rate in enough.tasks] == [(5, 10), (5, 10)]
    assert "discrimination" in {one.kind for one in enough.attention}


def test_mistakes_are_ranked_with_who_makes_them(lab):
    wrong = {"plain": "failed", "secret": "failed"}
    adds = result(wrong, named={"scale": [["adds"]]})
    either = result(wrong, named={"scale": [["adds"], ["adds", "other"]]})
    shown = gather(lab, row(1, either), row(2, adds), row(3, result()), row(4, adds))
    assert [(one.misconceptions, one.students) for one in shown.named] == [
        (["adds"], ["s002", "s004"]),
        (["adds", "adds + other"], ["s001"]),
    ]
    assert shown.clusters == []


def test_unexplained_failures_group_by_their_wrong_values(lab):
    same, other = result({"plain": "failed"}), result({"plain": "failed"}, yours="2.0")
    both = result({"plain": "failed", "secret": "failed"})
    shown = gather(lab, row(1, other), row(2, same), row(3, same), row(4, same), row(5, both))
    assert shown.clusters[0].students == ["s002", "s003", "s004"]
    assert sorted(one.students for one in shown.clusters[1:]) == [["s001"], ["s005"]]
    assert [one.students for one in shown.attention if one.kind == "cluster"] == [["s002", "s003", "s004"]]
    assert signature(same.checks) != signature(other.checks)


def test_what_we_broke_counts_for_nobody(lab):
    broken = [row(i, result({"plain": "grader_error"})) for i in range(3)]
    good = [row(10 + i, result({"draws": "failed"} if i < 5 else None)) for i in range(10)]
    shown, without = gather(lab, *broken, *good), gather(lab, *good)
    assert shown.alpha == without.alpha
    assert [rate.discrimination for rate in shown.tasks] == [rate.discrimination for rate in without.tasks]
    assert shown.attention[0].kind == "grader_error"
    assert shown.attention[0].students == ["s000", "s001", "s002"]


def test_what_needs_attention_first(lab):
    late = row(1, result({"plain": "timed_out"}))
    gone = row(2, result(), source=None, problem=Problem(kind="syntax_error", message="line 3\ncode"))
    shaky = row(3, result(unstable=["draws"]))
    noted = row(4, result(seconds=9.0), notes=["Two files."])
    shown = gather(lab, noted, shaky, gone, late, unmatched=["s009"])
    kinds = [(one.kind, one.students) for one in shown.attention]
    assert kinds == [
        ("syntax_error", ["s002"]),
        ("timed_out", ["s001"]),
        ("unmatched", ["s009"]),
        ("unstable", ["s003"]),
        ("note", ["s004"]),
    ]
    assert next(one.says for one in shown.attention) == "line 3"
    slow = gather(lab, *(row(i, result(seconds=0.9 * lab.manifest.limits.cpu_s)) for i in range(2)))
    assert [one.kind for one in slow.attention] == ["slow", "slow"]


def test_an_item_is_low_by_the_digits_that_are_shown():
    values = {0.1949: True, 0.1951: False, 0.2: False, -0.5: True, None: False}
    rates = [Rate(id="x", passed=1, graded=12, difficulty=0.5, discrimination=value) for value in values]
    assert [is_low(rate) for rate in rates] == list(values.values())


def test_scores_are_counted_in_equal_parts():
    assert counts([0, 0.99, 1, 9.99, 10], 10, bins=10) == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert counts([0.0, 0.0], 0, bins=2) == [2, 0]
