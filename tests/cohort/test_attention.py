"""The notes and problems of a large class, from its files to the lines that a person reads first."""

from datetime import UTC, datetime, timedelta

import pytest

from grader.cohort.find import find
from grader.cohort.late import LatePolicy, apply
from grader.cohort.matching import NOBODY
from grader.cohort.records import Row
from grader.cohort.sources import Sources
from grader.cohort.statistics import Gathering
from grader.scoring import problem_result
from tests import toy
from tests.cohort.made import result

SOURCE = "def scale(x, factor):\n    return x * factor  # {}\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course")).lab("lab01")


@pytest.fixture
def told(tmp_path, lab):
    """Hand in files (name -> content, None: an own one) and return (kind, says, how many students) for each line."""

    def run(files, change=lambda row: row):
        for name, content in files.items():
            path = tmp_path / "subs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(SOURCE.format(name) if content is None else content)
        with Sources() as sources:
            found = find(tmp_path / "subs", lab, key_path=tmp_path / "key.json", sources=sources)
        gathering = Gathering(lab)
        for entry in found.entries:
            graded = result() if entry.problem is None else problem_result(lab, "7", entry.filename, entry.problem)
            gathering.add(change(Row.of(entry, graded)))
        return [(one.kind, one.says, one.students) for one in gathering.finish(found).attention]

    return run


def test_a_class_full_of_odd_names_does_not_hide_who_has_the_same_file(told):
    odd = {f"s{i:03}/lab01-{i}.py": None for i in range(40)}
    same = {f"s{i:03}/lab01.py": "x = 1\n" for i in (101, 102, 103)} | {f"s{i}/lab01.py": "y = 1\n" for i in (104, 105)}
    assert told(odd | same) == [
        ("note", "The same file, byte for byte", ["s101", "s102", "s103"]),
        ("note", "The same file, byte for byte", ["s104", "s105"]),
        ("note", "A file of another name was taken; grades.csv says which", [f"s{i:03}" for i in range(40)]),
    ]


def test_few_are_told_one_by_one(told):
    lines = told({f"s{i:03}/lab01-{i}.py": None for i in range(3)})
    assert [says for _, says, _ in lines] == [f"lab01-{i}.py was taken as lab01.py." for i in range(3)]


def test_what_could_not_be_graded_is_one_line_for_each_way(told):
    wrong = {f"s{i:03}/notes-{i}.txt": "x" for i in range(5)} | {"s101/lab01.py": "def f(:\n", "s102/lab01.py": ""}
    assert [(kind, says) for kind, says, _ in told(wrong)] == [
        ("empty", "lab01.py is empty."),
        ("missing", "each page says why"),
        ("syntax_error", "SyntaxError: invalid syntax"),
    ]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            lambda i: [f"smith_{i}_7_lab01-{i}.py"],
            "Several attempts: the last before the deadline counts, else the last",
        ),
        (lambda i: [f"s00{i}/lab01.py", f"s00{i}/lab01_{i}.py"], "Another file could be meant; grades.csv says which"),
    ],
    ids=["attempts", "other files"],
)
def test_more_than_a_few_of_a_kind_are_one_line(told, names, says):
    lines = told({name: None for i in range(1, 6) for name in names(i)})
    assert lines == [("note", says, [f"s00{i}" for i in range(1, 6)])]


def test_late_files_are_a_line_and_grace_is_one(told):
    due = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)

    def late(row):
        when = due + timedelta(minutes=int(row.student[1:]))
        return apply(
            row.model_copy(update={"due": due, "submitted_at": when, "late": True}),
            LatePolicy(grace_minutes=60, per_day=0.1),
        )

    students = [f"s00{i}" for i in range(1, 6)]
    assert told({f"{student}/lab01.py": None for student in students}, late) == [
        ("late", "Handed in after the deadline", students),
        ("note", "Late, inside the grace time", students),
    ]


def test_whose_work_it_is_comes_first(tmp_path, lab):
    for name, content in {"ann": SOURCE, "bob": SOURCE + "#", "zed": "def f(:\n"}.items():
        (tmp_path / "subs" / name).mkdir(parents=True)
        (tmp_path / "subs" / name / "lab01.py").write_text(content)
    (tmp_path / "class.csv").write_text("login\nann\nzed\n")
    with Sources() as sources:
        known = {"roster": tmp_path / "class.csv", "key_path": tmp_path / "key.json", "sources": sources}
        found = find(tmp_path / "subs", lab, **known)
    gathering = Gathering(lab)
    for entry in found.entries:
        graded = result() if entry.problem is None else problem_result(lab, "7", entry.filename, entry.problem)
        gathering.add(Row.of(entry, graded))
    bob = next(entry.student for entry in found.entries if entry.submission == "bob")
    first, second, *_ = gathering.finish(found).attention
    assert (first.kind, first.says, first.students) == ("whose", NOBODY, [bob]) and second.kind == "syntax_error"
