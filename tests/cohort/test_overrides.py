from datetime import UTC, datetime, timedelta

import pytest

from grader.cohort.overrides import adjust, check_students, read_adjustments
from grader.errors import CourseError, UsageError
from tests.cohort.rows import row

DUE = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def read(tmp_path):
    def run(text):
        path = tmp_path / "adjustments.toml"
        path.write_text(text, encoding="utf-8")
        return read_adjustments(path)

    return run


def override(item="", points=2, student="s001", why="The check asked for more than the page said."):
    line = f'item = "{item}"\n' if item else ""
    return (
        f'[[override]]\nstudent = "{student}"\n{line}points = {points}\nwhy = "{why}"\nby = "mk"\ndate = 2026-11-24\n'
    )


@pytest.mark.parametrize(
    ("item", "points", "before", "final"),
    [("lab01/scale.secret", 4, 0, 13), ("scale", 12, 9, 12), ("", 17.5, 9, 17.5), ("lab01/scale.plain", 0, 6, 3)],
)
def test_points_of_a_check_a_task_and_the_whole(read, item, points, before, final):
    graded = row(earned=9)
    graded = graded.model_copy(
        update={
            "checks": [c.model_copy(update={"earned": 0.0}) if c.id.endswith("secret") else c for c in graded.checks]
        }
    )
    result = adjust(graded, read(override(item, points)))
    (made,) = result.adjustments
    assert (made.by, made.item, made.before, made.after) == ("staff", item or None, before, points)
    assert result.final == final and result.score == graded.score
    assert made.why == "The check asked for more than the page said. (mk, 2026-11-24)"


def test_only_the_student_who_is_named(read):
    other = row("s002")
    assert adjust(other, read(override())) == other


def test_what_people_decide_comes_before_the_late_policy(read):
    late = row(earned=10, late=True, due=DUE, submitted_at=DUE + timedelta(days=1))
    result = adjust(late, read("[late]\nper_day = 0.5\n" + override(points=20)))
    assert result.final == 10 and [a.by for a in result.adjustments] == ["staff", "late policy"]
    assert [(a.before, a.after) for a in result.adjustments] == [(10, 20), (20, 10)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (override("lab01/scale.plian"), "did you mean 'lab01/scale.plain'?"),
        (override("xyz"), "'xyz'; there is nothing of that name."),
        (override("scale") + override("lab01/scale.plain"), "the same points of s001: scale and lab01/scale.plain."),
        (override("scale") + override("scale"), "the same points of s001: scale and scale."),
        (override() + override("scale"), "the same points of s001: the whole score and scale."),
        (override("scale", 13), "gives s001 13 points for scale, worth 12."),
        (override("", 21), "gives s001 21 points for the lab, worth 20."),
    ],
)
def test_a_decision_that_cannot_be_meant(read, text, says):
    with pytest.raises(UsageError) as caught:
        adjust(row(), read(text))
    assert says in str(caught.value)


def test_two_checks_of_one_task_may_be_decided(read):
    result = adjust(row(earned=20), read(override("lab01/scale.plain", 1) + override("lab01/scale.secret", 2)))
    assert result.final == 11


def test_a_decision_about_nobody_is_told_before_grading(read):
    with pytest.raises(UsageError, match=r"'s0011'; did you mean 's001'\?"):
        check_students(read(override(student="s0011")), ["s001", "s017"])
    check_students(read(override()), ["s001"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[override]]\nstudent = "s001"\npoints = 2\nby = "mk"\ndate = 2026-11-24\n', "override.0.why"),
        (override(points=-1), "override.0.points"),
        ("[late]\nper_day = 10\n", "late.per_day"),
        ("[lat]\nper_day = 0.1\n", "lat"),
    ],
)
def test_a_file_with_a_mistake_names_its_key(read, text, says):
    with pytest.raises(CourseError, match=says):
        read(text)
