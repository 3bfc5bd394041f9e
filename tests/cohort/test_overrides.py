import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grader.cohort.overrides import adjust, check_items, read_adjustments, resolved, with_decided
from grader.cohort.records import Entry, Found
from grader.cohort.roster import Key, Known, Person
from grader.course import load
from grader.errors import CourseError, UsageError
from tests import toy
from tests.cohort.rows import row

DUE = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def read(tmp_path):
    def run(text):
        path = tmp_path / "adjustments.toml"
        path.write_text(text, encoding="utf-8")
        return read_adjustments(path)

    return run


def test_a_file_of_decisions_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"no file .*late\.toml, which --adjust names"):
        read_adjustments(tmp_path / "late.toml")


def decide(row, adjustments):
    """Adjust a row by every decision of a file; whose they are is tested below."""
    return adjust(row, adjustments.override, adjustments.late)


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
    result = decide(graded, read(override(item, points)))
    (made,) = result.adjustments
    assert (made.by, made.item, made.before, made.after) == ("staff", item or None, before, points)
    assert result.final == final and result.score == graded.score
    assert made.why == "The check asked for more than the page said. (mk, 2026-11-24)"


LATE = {"late": True, "due": DUE, "submitted_at": DUE + timedelta(days=1)}


def test_the_late_policy_acts_on_what_nobody_decided(read):
    result = decide(row(earned=9, **LATE), read("[late]\nper_day = 0.5\n" + override("scale", 12)))
    assert result.final == 6 and [a.by for a in result.adjustments] == ["staff", "late policy"]
    assert [(a.before, a.after) for a in result.adjustments] == [(9, 12), (12, 6)]


def test_a_decision_about_the_whole_score_stands(read):
    result = decide(row(earned=10, **LATE), read("[late]\nper_day = 0.5\n" + override(points=20)))
    assert result.final == 20 and [a.by for a in result.adjustments] == ["staff"]


def test_who_need_not_be_in_time_is_not_late(read):
    text = override().replace("points = 2", 'late = "waived"')
    result = decide(row(earned=10, **LATE), read("[late]\nper_day = 0.5\n" + text))
    assert result.final == 10 and result.adjustments == [] and result.notes[0].startswith("Not counted as late: The")


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
        decide(row(), read(text))
    assert says in str(caught.value)


def test_two_checks_of_one_task_may_be_decided(read):
    result = decide(row(earned=20), read(override("lab01/scale.plain", 1) + override("lab01/scale.secret", 2)))
    assert result.final == 11


# Whose they are

KEY = Key(
    students={
        "s001": Known(
            identity="sid:S124",
            also=["canvas:340934"],
            people=[Person(name="Bob Ray", sid="S124", lms="canvas:340934", email="b@uni.edu")],
        ),
        "s002": Known(identity="folder:s006", people=[Person(name="")]),
        "s006": Known(identity="name:Ann Lee", people=[Person(name="Ann Lee")]),
        "s007": Known(identity="team:a", people=[Person(login="cy"), Person(login="di")]),
        "s009": Known(identity="login:gone", people=[Person(login="gone")]),  # not in this class any more
    }
)


def handed(student, source="ab" * 32):
    facts = {"submission": student, "filename": "lab01.py", "problem": None, "submitted_at": None, "late": False}
    return Entry(student=student, source=source, attempts=1, notes=[], **facts)


FOUND = Found(
    layout="folders",
    entries=[handed("s001", "cd" * 32), handed("s002"), handed("s006")],
    unmatched=["s007"],
    ignored=[],
)


@pytest.mark.parametrize(
    ("wanted", "whose"),
    [
        ("S124", "s001"),
        ("canvas:340934", "s001"),
        ("340934", "s001"),
        ("B@uni.edu", "s001"),
        ("s006", "s002"),  # a folder's own name, though another's pseudonym is the same
        ("di", "s007"),
    ],
)
def test_a_decision_is_tied_to_a_person(read, wanted, whose):
    assert list(resolved(read(override(student=wanted)), KEY, FOUND)) == [whose]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("s001", "that is a pseudonym, and somebody else's in another folder"),
        ("Ann Lee", "that is a name, which others may have"),
        ("S1244", "did you mean 'S124'?"),
        ("gone", "there is nothing of that name"),
    ],
)
def test_a_decision_about_nobody_or_a_pseudonym_is_refused(read, wanted, says):
    with pytest.raises(UsageError) as caught:
        resolved(read(override(student=wanted)), KEY, FOUND)
    assert says in str(caught.value)


def test_a_decision_that_fits_two_is_refused(read):
    two = KEY.model_copy(update={"students": KEY.students | {"s006": Known(identity="lms:340934")}})
    with pytest.raises(UsageError, match="which fits s001 and s006"):
        resolved(read(override(student="340934")), two, FOUND)
    with pytest.raises(UsageError, match="which fits s002 and s006"):
        resolved(read(override().replace('student = "s001"', 'file = "abababab"')), KEY, FOUND)


def test_a_decision_about_a_file(read):
    text = override().replace('student = "s001"', 'file = "cdcdcdcd"')
    assert list(resolved(read(text), KEY, FOUND)) == ["s001"]


def test_points_for_who_handed_in_nothing_make_a_row(read):
    given = resolved(read(override(student="cy", points=5)), KEY, FOUND)
    found = with_decided(FOUND, given, "lab01.py")
    assert found.unmatched == [] and found.entries[-1].student == "s007" and found.entries[-1].problem.kind == "missing"
    assert not decide(row("s007", 0, problem=found.entries[-1].problem), read(override(points=5))).undecided
    waived = resolved(read(override(student="cy").replace("points = 2", 'late = "waived"')), KEY, FOUND)
    assert with_decided(FOUND, waived, "lab01.py") == FOUND


def test_a_task_that_is_none_is_told_before_grading(read):
    tasks = ["scale", "jitter"]
    for item in ("scale", "lab01/scale.plain"):
        check_items({"s001": read(override(item)).override}, "lab01", tasks)
    for item in ("scael", "lab02/scale.plain", "lab01/scael.plain"):
        with pytest.raises(UsageError, match=f"names '{item}'"):
            check_items({"s001": read(override(item)).override}, "lab01", tasks)


def test_the_pages_own_example_is_accepted_as_printed(read):
    page = (Path(__file__).parents[2] / "docs" / "cohort.md").read_text(encoding="utf-8")
    [text] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    adjustments = read(text)
    key = Key(students={"s001": Known(identity="folder:s017"), "s002": Known(identity="canvas:340934")})
    found = Found(layout="folders", entries=[handed("s001", "11" * 32), handed("s002")], unmatched=[], ignored=[])
    given = resolved(adjustments, key, found)
    assert {student: len(own) for student, own in given.items()} == {"s001": 1, "s002": 1}
    lab = load(toy.ROOT).lab("lab01")
    check_items(given, lab.id, [task.id for task in lab.tasks])
    for one in adjustments.override:
        if one.item and one.item.startswith("lab01/"):
            assert f"def test_{one.item.split('.')[1]}(" in lab.checks_path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[override]]\nstudent = "s001"\npoints = 2\nby = "mk"\ndate = 2026-11-24\n', "override.0.why"),
        (override(points=-1), "override.0.points"),
        (override().replace("points = 2", ""), "give points, extension, or late"),
        (override().replace('student = "s001"', ""), "give either student or file"),
        (override().replace('student = "s001"', 'file = "ab"'), "8 hexadecimal digits"),
        (override("scale").replace("points = 2", 'late = "waived"'), "an item needs points"),
        ("[late]\nper_day = 10\n", "late.per_day"),
        ("[lat]\nper_day = 0.1\n", "lat"),
    ],
)
def test_a_file_with_a_mistake_names_its_key(read, text, says):
    with pytest.raises(CourseError, match=says):
        read(text)
