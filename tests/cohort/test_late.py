from datetime import UTC, datetime, timedelta

import pytest

from grader.cohort.late import LatePolicy, apply, lateness
from tests.cohort.rows import row

DUE = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
POLICY = LatePolicy(grace_minutes=15, per_day=0.1, max_days=3)


@pytest.mark.parametrize(
    ("by", "days", "penalty", "says"),
    [
        (timedelta(minutes=-1), 0, 0.0, "in time"),
        (timedelta(0), 0, 0.0, "in time"),
        (timedelta(minutes=15), 0, 0.0, "15 min late, inside the grace time"),
        (timedelta(minutes=15, seconds=1), 1, 0.1, "16 min late: 1 started day, 10% off"),
        (timedelta(hours=24), 1, 0.1, "24 h late: 1 started day, 10% off"),
        (timedelta(hours=24, seconds=1), 2, 0.2, "24 h late: 2 started days, 20% off"),
        (timedelta(days=3), 3, 0.3, "3 days late: 3 started days, 30% off"),
        (timedelta(days=3, seconds=1), 4, 1.0, "3 days late, more than the 3 days that were open"),
    ],
)
def test_what_lateness_costs(by, days, penalty, says):
    found = lateness(POLICY, DUE, DUE + by)
    assert (found.days, found.penalty, found.says) == (days, penalty, says)


def test_never_more_than_everything():
    assert lateness(LatePolicy(per_day=0.4), DUE, DUE + timedelta(days=9)).penalty == 1.0


@pytest.mark.parametrize(("due", "at"), [(None, DUE), (DUE, None)])
def test_what_is_not_known_costs_nothing(due, at):
    assert lateness(POLICY, due, at).penalty == 0.0


def test_clocks_in_two_zones_are_one_moment():
    berlin = datetime.fromisoformat("2026-11-23T00:59:00+01:00")
    assert lateness(POLICY, berlin, DUE).says == "in time" == lateness(POLICY, DUE, berlin).says


def test_a_late_row_keeps_its_graded_score():
    late = apply(row(earned=15, late=True, due=DUE, submitted_at=DUE + timedelta(hours=30)), POLICY)
    assert (late.score.earned, late.final) == (15, 12.0)
    (made,) = late.adjustments
    assert (made.by, made.item, made.before, made.after) == ("late policy", None, 15, 12.0)
    assert made.why == "30 h late: 2 started days, 20% off."


def test_a_row_inside_the_grace_time_says_so():
    late = apply(row(earned=15, late=True, due=DUE, submitted_at=DUE + timedelta(minutes=9)), POLICY)
    assert late.final == 15 and late.adjustments == [] and late.notes == ["It was 9 min late, inside the grace time."]


def test_a_row_that_the_lms_calls_late_without_a_time_is_for_a_person():
    late = apply(row(earned=15, late=True), POLICY)
    assert late.final == 15 and "not by how much" in late.notes[0]


def test_a_row_in_time_is_untouched():
    early = row(earned=15, due=DUE, submitted_at=DUE)
    assert apply(early, POLICY) == early
