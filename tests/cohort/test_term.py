"""What a TA of three hundred does beside grading: one student again, sections, who is who, a term."""

import csv
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from grader.cli.instructor import read_cohort
from grader.cohort import term
from grader.cohort.records import CohortResult
from grader.cohort.roster import Key, Known, Person, read_key, write_key
from grader.reports.term import term_page
from tests import toy
from tests.cohort import rows
from tests.cohort.inside import Quick, cohort, command
from tests.cohort.made import result

ROSTER = "Name,Email,Login\nAnn Lee,a@uni.edu,ann\nBob Ray,b@uni.edu,bob\nCy Fox,c@uni.edu,cy\n"


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course"))


def hand_in(folder, files):
    for name, source in files.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "lab01.py").write_text(source)
    return folder


@pytest.fixture
def graded(tmp_path, course):
    hand_in(tmp_path / "in", {"ann": "x = 1\n", "bob": "x = 22\n"})
    (tmp_path / "class.csv").write_text(ROSTER)
    code, _, err = run(course, tmp_path)
    assert code == 0, err
    return tmp_path / "out"


def run(course, tmp_path, *words, subs="in", executor=None):
    return cohort(
        course, tmp_path / subs, "-o", tmp_path / "out", "--roster", tmp_path / "class.csv", *words, executor=executor
    )


def who(out, submission):
    return next(row for row in read_cohort(out).rows if row.submission == submission)


# One student again


@pytest.mark.parametrize("word", ["pseudonym", "ann", "a@uni.edu"])
def test_only_one_is_graded_again_and_the_old_score_is_shown(tmp_path, course, graded, word):
    before = read_cohort(graded)
    ann, bob = who(graded, "ann"), who(graded, "bob")
    (tmp_path / "in" / "ann" / "lab01.py").write_text("x = 333\n")
    (tmp_path / "in" / "bob" / "lab01.py").write_text("x = 4444\n")
    executor = Quick(answer=lambda id, source: result({"draws": "failed"}, digest=id[:16]))
    code, _, err = run(course, tmp_path, "--only", ann.student if word == "pseudonym" else word, executor=executor)
    assert code == 0, err
    assert [work.source for work in executor.asked] == [b"x = 333\n"]
    after = read_cohort(graded)
    assert who(graded, "bob") == bob and after.found.unmatched == before.found.unmatched
    again = who(graded, "ann")
    assert again.score.earned == 4 and again.digest != ann.digest
    assert f"Graded again on its own; before it had {ann.final:g} of 7 points" in again.notes[-1]
    assert len(list((graded / "students").glob("*.html"))) == 2


@pytest.mark.parametrize("word", ["s999", "Ann Lee", "cy"])
def test_only_nobody_is_a_sentence_and_changes_nothing(tmp_path, course, graded, word):
    before = (graded / "cohort.json").read_bytes()
    code, _, err = run(course, tmp_path, "--only", word)
    assert (
        code == 2
        and "is no pseudonym, number or address of anybody here" in err
        and (graded / "cohort.json").read_bytes() == before
    )


# Who leaves


def test_who_leaves_the_class_keeps_the_pseudonym_and_the_page_is_moved_and_said(tmp_path, course, graded):
    bob = who(graded, "bob").student
    page = (graded / "students" / f"{bob}.html").read_bytes()
    (tmp_path / "class.csv").write_text(ROSTER.replace("Bob Ray,b@uni.edu,bob\n", ""))
    assert run(course, tmp_path)[0] == 0 and who(graded, "bob").student == bob  # off the list, and still handed in
    hidden = (tmp_path / "in" / "bob").rename(tmp_path / "bob")
    code, _, err = run(course, tmp_path)
    assert code == 0 and f"! not in the class any more, pages moved to {graded / 'left'}: {bob}" in err
    assert (graded / "left" / f"{bob}.html").read_bytes() == page
    assert not (graded / "students" / f"{bob}.html").exists()
    hidden.rename(tmp_path / "in" / "bob")
    hand_in(tmp_path / "in", {"eve": "e = 1\n"})
    assert run(course, tmp_path)[0] == 0 and who(graded, "bob").student == bob != who(graded, "eve").student


# Sections


def test_another_class_is_refused_and_merge_adds_it(tmp_path, course, graded):
    hand_in(tmp_path / "b", {"dan": "y = 1\n", "eve": "y = 22\n"})
    before = read_cohort(graded)
    words = (tmp_path / "b", "-o", graded)
    code, _, err = cohort(course, *words)
    assert code == 2 and "holds the grades of another class" in err and "--merge" in err
    assert read_cohort(graded) == before
    (tmp_path / "a.toml").write_text(
        '[[override]]\nstudent = "ann"\npoints = 1\nwhy = "It was so."\nby = "mk"\ndate = 2026-11-24\n'
    )
    assert cohort(course, *words, "--merge", "--adjust", tmp_path / "a.toml")[0] == 0  # of the other section's people
    after = read_cohort(graded)
    assert {row.submission for row in after.rows} == {"ann", "bob", "dan", "eve"}
    assert [row for row in after.rows if row.submission in ("ann", "bob")] == before.rows
    assert after.found.unmatched == before.found.unmatched and after.found.submissions == 4
    assert len(list((graded / "students").glob("*.html"))) == 4 and after.statistics.students == 4


def test_sections_of_two_folders_are_joined(tmp_path, course, graded):
    hand_in(tmp_path / "b", {"dan": "y = 1\n", "eve": "y = 22\n"})
    assert cohort(course, tmp_path / "b", "-o", tmp_path / "other")[0] == 0
    code, _, err = command(course, "merge", graded, tmp_path / "other", "-o", tmp_path / "both")
    assert code == 0, err
    joined = read_cohort(tmp_path / "both")
    finals = {row.submission: row.final for out in (graded, tmp_path / "other") for row in read_cohort(out).rows}
    assert {row.submission: row.final for row in joined.rows} == finals and len(finals) == 4
    key = read_key(tmp_path / "both" / "students.key.json").students
    assert {key[row.student].submission for row in joined.rows} == set(finals)
    for row in joined.rows:
        page = (tmp_path / "both" / "students" / f"{row.student}.html").read_text()
        assert f"· {row.student} ·" in re.search("<title>(.*?)</title>", page)[1]
    # The next run knows their results.
    executor = Quick()
    hand_in(tmp_path / "in", {"dan": "y = 1\n", "eve": "y = 22\n"})
    assert cohort(course, tmp_path / "in", "-o", tmp_path / "both", executor=executor)[0] == 0
    assert executor.asked == []


def test_who_is_in_two_sections_is_refused(tmp_path, course, graded):
    hand_in(tmp_path / "b", {"ann": "y = 1\n"})
    assert cohort(course, tmp_path / "b", "-o", tmp_path / "other")[0] == 0
    code, _, err = command(course, "merge", graded, tmp_path / "other", "-o", tmp_path / "both")
    assert code == 2 and "nobody may be in two sections" in err and not (tmp_path / "both" / "cohort.json").exists()


def test_a_section_that_is_named_twice_is_refused(tmp_path, course, graded):
    code, _, err = command(course, "merge", graded, graded / ".." / "out", "-o", tmp_path / "both")
    assert code == 2 and "named twice" in err and not (tmp_path / "both").exists()


def test_who_is_missing_in_one_section_and_handed_in_in_the_other_is_not_missing(tmp_path, course, graded):
    hand_in(tmp_path / "b", {"cy": "y = 1\n"})
    (tmp_path / "whole.csv").write_text(ROSTER + "Di Ray,d@uni.edu,di\n")
    for subs, out in (("in", "first"), ("b", "second")):  # one list for the whole class
        words = ("-o", tmp_path / out, "--roster", tmp_path / "whole.csv")
        assert cohort(course, tmp_path / subs, *words)[0] == 0
    code, _, err = command(course, "merge", tmp_path / "first", tmp_path / "second", "-o", tmp_path / "both")
    joined, key = read_cohort(tmp_path / "both"), read_key(tmp_path / "both" / "students.key.json").students
    assert code == 0 and {row.submission for row in joined.rows} == {"ann", "bob", "cy"}, err
    assert [key[one].people[0].login for one in joined.found.unmatched] == ["di"]
    assert sorted(line.people[0].login for line in key.values()) == ["ann", "bob", "cy", "di"]


def test_decisions_about_who_handed_in_nothing_stay_apart_in_the_joined_sections(tmp_path, course):
    for section in "ab":
        hand_in(tmp_path / f"in{section}", {f"s002{section}": f"x = '{section}'\n"})
        (tmp_path / f"{section}.csv").write_text(f"login\ns002{section}\nzed{section}\n")
        (tmp_path / f"{section}.toml").write_text(
            f'[[override]]\nstudent = "zed{section}"\npoints = 1\nwhy = "It was so."\nby = "mk"\ndate = 2026-11-24\n'
        )
        words = ("-o", tmp_path / section, "--roster", tmp_path / f"{section}.csv")
        assert cohort(course, tmp_path / f"in{section}", *words, "--adjust", tmp_path / f"{section}.toml")[0] == 0
    assert command(course, "merge", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "both")[0] == 0
    rows_ = read_cohort(tmp_path / "both").rows
    key = read_key(tmp_path / "both" / "students.key.json").students
    assert len({row.submission for row in rows_}) == len(rows_) == 4
    assert {key[row.student].people[0].login for row in rows_ if row.final == 1} == {"zeda", "zedb"}


# Who is who


def test_who_says_it_both_ways(tmp_path, course, graded):
    ann = who(graded, "ann").student
    for word in (ann, "Ann Lee", "a@uni.edu", "ann"):
        code, out, _ = command(None, "who", graded, word)
        assert code == 0 and out.startswith(f"{ann}  Ann Lee, a@uni.edu, ann  ") and "of 7" in out
    assert len(command(None, "who", graded)[1].splitlines()) == 3
    code, _, err = command(None, "who", graded, "zed")
    assert code == 2 and "nobody who is called 'zed'" in err


def test_names_are_shown_on_a_terminal_and_in_no_log(tmp_path, course, graded):
    words = (tmp_path / "in", "--roster", tmp_path / "class.csv", "--dry-run")
    _, out, err = cohort(course, *words)
    assert "Ann Lee" not in out + err and "Cy Fox" not in out + err
    seen, ours = pty.openpty()
    line = [str(toy.GRADE), "cohort", "lab01", *map(str, words), "--course", str(course.root)]
    done = subprocess.Popen(line, stdout=ours, stderr=ours)
    os.close(ours)
    text = b""
    while True:
        try:
            block = os.read(seen, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        text += block
    os.close(seen)
    assert done.wait() == 0 and b"Ann Lee" in text and b"missing: " in text and b"Cy Fox" in text


def test_the_last_line_says_how_the_class_stands(tmp_path, course, graded):
    (tmp_path / "in" / "bob" / "lab01.py").unlink()
    _, _, err = run(course, tmp_path)
    last = err.strip().splitlines()[-1]
    assert re.fullmatch(r"graded 1 · median [57] · unusable 1 · missing 1 · look first at: .*", last), last


def test_pages_say_whose_they_are_and_unusable_rows_have_a_mark_of_their_own(tmp_path, course, graded):
    (tmp_path / "in" / "bob" / "lab01.py").unlink()
    run(course, tmp_path)
    ann, bob = who(graded, "ann"), next(row for row in read_cohort(graded).rows if row.problem)
    page = (graded / "students" / f"{ann.student}.html").read_text()
    assert f" · {ann.student} · lab01.py</title>" in page and f"<b>lab01</b> / {ann.student} / lab01.py" in page
    matrix = (graded / "cohort.html").read_text()
    line = matrix[matrix.rindex(f"{bob.student}.html") :]
    assert "×</a>" in line[: line.index("</tr>")]


# The term


@pytest.fixture(scope="module")
def two_labs(tmp_path_factory):
    root = tmp_path_factory.mktemp("second")
    text = toy.LAB.replace('id = "lab01"', 'id = "lab02"')
    other = toy.make(root, lab=text)
    return other


def test_a_term_is_one_table_over_all_labs(tmp_path, course, two_labs, graded):
    hand_in(tmp_path / "second", {})
    for name in ("ann", "cy"):
        (tmp_path / "second" / name).mkdir(parents=True)
        (tmp_path / "second" / name / "lab02.py").write_text(f"z = '{name}'\n")
    from grader.cli import instructor

    before, instructor._executor = (
        instructor._executor,
        lambda *_: Quick(
            answer=lambda id, source: result({"plain": "failed"}, digest=id[:16], named={"scale": [["adds"]]})
        ),
    )
    try:
        words = ("-o", tmp_path / "out2", "--roster", tmp_path / "class.csv")
        code, _, err = command(two_labs, "cohort", "lab02", tmp_path / "second", *words)
    finally:
        instructor._executor = before
    assert code == 0, err
    code, _, err = command(None, "term", graded, tmp_path / "out2", "-o", tmp_path / "term")
    assert code == 0 and err == "3 students · 2 labs · missing 2\n"
    with (tmp_path / "term" / "term.csv").open(newline="") as file:
        table = {line["name"]: line for line in csv.DictReader(file)}
    first = {row.submission: row.final for row in read_cohort(graded).rows}
    assert (float(table["Ann Lee"]["lab01"]), float(table["Ann Lee"]["lab02"])) == (first["ann"], 5.0)
    assert (table["Bob Ray"]["lab02"], table["Bob Ray"]["missing"]) == ("", "lab02")
    assert (table["Cy Fox"]["lab01"], table["Cy Fox"]["missing"], table["Cy Fox"]["sum"]) == ("", "lab01", "5.0")
    page = (tmp_path / "term" / "term.html").read_text()
    assert "Ann Lee" in page and "adds: 2" in page and "<script" not in page
    code, _, err = command(None, "term", graded, graded, "-o", tmp_path / "term")
    assert code == 2 and "lab01 is given twice" in err


def of_lab(lab, *people, missing=()):
    """What one lab knows: rows of people, and who of its list is missing."""
    lists = {name: [] for name in ("tasks", "checks", "named", "clusters", "attention")}
    everybody = {f"s{number:03}": person for number, person in enumerate([*people, *missing], 1)}
    told = {
        "lab": lab,
        "title": "Toys",
        "seed": "7",
        "found": {
            "layout": "folders",
            "submissions": len(people),
            "unmatched": list(everybody)[len(people) :],
            "ignored": [],
        },
        "rows": [rows.row(student) for student in list(everybody)[: len(people)]],
        "statistics": {"students": len(people), "enough": False, "alpha": None} | lists,
    }
    students = {s: Known(identity=f"{lab}:{s}", people=[person]) for s, person in everybody.items()}
    return CohortResult.model_validate(told), Key(students=students)


ANN = Person(name="Lee, Ann", sid="S123", lms="canvas:7")


@pytest.mark.parametrize(
    ("other", "joined", "doubts"),
    [
        (Person(name="Ann Lee", lms="moodle:72"), False, 1),  # nothing but a name
        (Person(name="leeann"), False, 1),
        (Person(name="Ann Lee", email="a@uni.edu"), False, 1),
        (Person(name="Ann Lee", sid="S123"), True, 0),
        (Person(name="Ann Lee", sid="S999"), False, 0),  # two numbers are two people
        (Person(name="Ann Lee", lms="canvas:8"), False, 0),
        (Person(name="Ann Leeds", lms="moodle:72"), False, 0),
    ],
)
@pytest.mark.parametrize("absent", [False, True], ids=["handed in", "missing"])
def test_lines_that_may_be_one_persons_are_said(other, joined, doubts, absent):
    second = of_lab("lab02", missing=[other]) if absent else of_lab("lab02", other)
    found = term.gathered([of_lab("lab01", ANN), second])
    assert len(found.students) == 2 - joined and len(found.doubts) == doubts
    head, *lines = term.table(found)
    told = [line[head.index("may be one person with")] for line in lines]
    assert [bool(cell) for cell in told] == [bool(doubts)] * len(lines)
    assert (term.HOW_TO_TELL.split("`")[0] in term_page(found)) == bool(doubts)


def test_of_two_namesakes_in_one_lab_both_are_asked_about_and_not_against_each_other():
    two = of_lab("lab02", Person(name="Ann Lee", lms="moodle:1"), Person(name="Ann Lee", lms="moodle:2"))
    found = term.gathered([of_lab("lab01", ANN), two])
    assert len(found.students) == 3 and len(found.doubts) == 2
    assert all(ANN in one.people for one, _, _ in found.doubts)


def test_an_identifier_that_points_at_two_is_said():
    first = of_lab("lab01", Person(name="A", sid="S1"), Person(name="B", email="b@uni.edu"))
    found = term.gathered([first, of_lab("lab02", Person(name="C", sid="S1", email="b@uni.edu"))])
    assert len(found.students) == 3
    assert [why for *_, why in found.doubts] == ["an identifier of one is the other's too"] * 2


def test_the_command_says_which_lines_may_be_one_person_and_how_to_tell(tmp_path):
    for name, (result_, key) in {
        "one": of_lab("lab01", ANN),
        "two": of_lab("lab02", Person(name="Ann Lee", lms="moodle:72")),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "cohort.json").write_text(result_.model_dump_json())
        write_key(tmp_path / name / "students.key.json", key)
    code, _, err = command(None, "term", tmp_path / "one", tmp_path / "two", "-o", tmp_path / "term")
    first, second, last = err.splitlines()
    assert code == 0 and last == "2 students · 2 labs · missing 0 · 1 in doubt"
    assert "Lee, Ann (S123, lab01) and Ann Lee (moodle:72, lab02): one name, and no identifier in common" in first
    assert term.HOW_TO_TELL in second


@pytest.mark.skipif(sys.platform == "win32", reason="a path of another kind")
def test_a_terms_page_runs_nothing_that_a_student_wrote(tmp_path, course):
    hand_in(tmp_path / "in", {"ann": "x = 1\n"})
    (tmp_path / "class.csv").write_text("Name,Login\n<script>alert(1)</script>,ann\n")
    assert run(course, tmp_path)[0] == 0
    assert command(None, "term", tmp_path / "out", "-o", tmp_path / "term")[0] == 0
    assert "<script" not in Path(tmp_path / "term" / "term.html").read_text()
