"""Whose is what, against random class lists: no two people share a row, nobody is lost, and pseudonyms stay."""

import io
import random
import zipfile
from datetime import datetime

import pytest

from grader.cohort.diff import differences
from grader.cohort.find import find
from grader.cohort.gradebooks import write_feedback
from grader.cohort.layouts import Attempt, Handed
from grader.cohort.matching import TWICE, matched
from grader.cohort.records import CohortResult
from grader.cohort.roster import Enrolled, Key, Known, Person, Roster, pseudonyms, read_key, read_roster
from grader.cohort.sheets import plain
from grader.cohort.sources import Sources
from tests import toy
from tests.cohort import rows

FIRST = ["Ann", "Ann-Lee", "Lee", "Bob", "Jean", "Jean-Luc", "Kim", "王", "Zoë", "Group 2-Kim", "Tutorial A-Ann"]
LAST = ["Lee", "Ann", "Kim", "Luc", "王", "O'Neil", "Lee Kim", ""]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course")).lab("lab01")


@pytest.fixture
def hand(tmp_path, lab):
    def run(names, roster, subs="subs", **options):
        for number, name in enumerate(names):
            path = tmp_path / subs / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"def scale(x, factor):\n    return {number}\n")
        (tmp_path / "roster.csv").write_text(roster, encoding="utf-8")
        with Sources() as sources:
            known = {"roster": tmp_path / "roster.csv", "key_path": tmp_path / "key.json", "sources": sources}
            found = find(tmp_path / subs, lab, **known, **options)
        return {entry.submission: entry for entry in found.entries}, found, read_key(tmp_path / "key.json").students

    return run


def made(dice, count):
    """People as they are: each with a name that others may have, and identifiers of their own."""
    names = [f"{dice.choice(FIRST)} {dice.choice(LAST)}".strip() for _ in range(count)]
    return [(number, names[number], f"{plain(names[number])}{number}@uni.edu") for number in range(count)]


@pytest.mark.parametrize("system", ["moodle", "canvas", "folders by login", "folders by name"])
@pytest.mark.parametrize("seed", range(40))
def test_no_two_people_share_a_row(system, seed):
    dice = random.Random(f"{system} {seed}")
    people = made(dice, 24)
    # Of some the list knows the LMS's number, of some an address, of some the name alone; some are not on it.
    lines = []
    for number, name, email in dice.sample(people, 18):
        kind = dice.choice(["number", "address", "name"])
        known = {"number": {"lms": f"{system}:{number + 500}"}, "address": {"email": email}, "name": {}}[kind]
        lines.append(Enrolled(Person(name=name, **known)))
    roster = Roster(lines)
    handed, truth = [], {}
    for number, name, email in dice.sample(people, 18):
        first, _, last = name.partition(" ")
        shown = plain(last + first) if system == "canvas" else name
        if system.startswith("folders"):
            label = email if "login" in system else name
            one = Handed(f"folder:{label}/{number}", [Person()], [Attempt(label, label)], label)
        else:
            person = Person(name=shown, lms=f"{system}:{number + 500}")
            one = Handed(f"{system}:{number + 500}", [person], [Attempt(name, name)])
        truth[one.identity] = number
        handed.append(one)
    numbers = {one.identity: one.people[0].lms for one in handed}
    result = matched(handed, roster)
    assert {name for one in result for name in one.known_as} >= numbers.keys()
    taken = [number for one in result for number in one.rows]
    assert len(taken) == len(set(taken))  # no line of the list stands in two rows
    for one in result:
        who = {truth[name] for name in one.known_as if name in truth}
        assert len(who) == 1, one
        for line in one.rows:  # and a number, where both have one, is the same
            ours = next(numbers[name] for name in one.known_as if name in numbers)
            assert roster.rows[line].person.lms in ("", ours) or not ours
    students = pseudonyms(Key(), [one.known_as for one in result], [])
    assert len(set(students)) == len(result) == len(handed)


@pytest.mark.parametrize("seed", range(30))
def test_pseudonyms_never_change_and_never_move(seed):
    dice = random.Random(seed)
    key, owner = Key(), {}
    for _ in range(6):  # people come and go, and the list knows them or does not
        people = dice.sample(range(30), 15)
        identities = [
            dice.choice([[f"sid:{n}", f"folder:{n}"], [f"folder:{n}"], [f"folder:{n}", f"sid:{n}"]]) for n in people
        ]
        for person, names, student in zip(people, identities, pseudonyms(key, identities, []), strict=True):
            assert owner.setdefault(student, person) == person
            before = key.students.get(student)
            also = [*names[1:], *([before.identity, *before.also] if before else [])]
            key.students[student] = Known(identity=names[0], also=list(dict.fromkeys(also)))
    seen = {}
    for student, person in owner.items():  # a second pseudonym only for who came under an identity that nobody knew
        seen.setdefault(person, set()).add(student)
    assert all(len(students) <= 2 for students in seen.values())


def test_a_folder_and_a_line_that_have_one_name_in_two_ways_are_not_joined(hand):
    entries, found, _ = hand(["Ann Lee/lab01.py", "ann_lee/lab01.py"], "name\nAnn Lee\n")
    assert len({entry.student for entry in entries.values()}) == 2 and len(found.unmatched) == 1
    assert all(entry.notes == [entries["Ann Lee"].notes[0]] for entry in entries.values())


def test_a_number_wins_against_a_name(hand):
    names = ["Ann Lee_7_assignsubmission_file_/lab01.py", "Ann Lee_8_assignsubmission_file_/lab01.py"]
    entries, found, key = hand(names, "Name,ID,Email\nAnn Lee,moodle:7,a@uni.edu\n")
    seven, eight = entries["7_assignsubmission_file_"], entries["8_assignsubmission_file_"]
    assert key[seven.student].people[0].email == "a@uni.edu" and seven.notes == []
    assert key[eight.student].people[0].email == "" and eight.notes != [] and found.unmatched == []


def test_identifiers_that_name_two_people_name_nobody(hand):
    entries, found, _ = hand(["5/lab01.py"], "name,student id,id\nAnn Lee,5,\nBob Ray,,5\n")
    assert entries["5"].notes[0].startswith("Two people") and len(found.unmatched) == 2


def test_two_lines_of_nothing_but_one_name_are_two_people(hand):
    _, found, key = hand(["zed/lab01.py"], "name\nAnn Lee\nAnn Lee\n")
    assert len(found.unmatched) == 2 and len({key[one].identity for one in found.unmatched}) == 2


# Two sections


TWO_SECTIONS = "name,student id,section,extension\nAnn Lee,S1,1,\nBob Ray,S2,1,\nAnn Lee,S1,2,2026-11-24T00:00+01:00\n"


def test_who_stands_twice_on_the_roster_is_one_person_with_the_later_deadline(hand):
    entries, found, _ = hand(["S1/lab01.py"], TWO_SECTIONS, deadline=datetime.fromisoformat("2026-11-22T23:59+01:00"))
    assert entries["S1"].due.isoformat() == "2026-11-23T23:00:00+00:00" and entries["S1"].notes == [TWICE]
    assert len(found.unmatched) == 1


@pytest.mark.parametrize(
    ("roster", "count"),
    [
        ("name,email\nAnn Lee,x@uni.edu\nBob Ray,x@uni.edu\n", 2),  # one address, two names
        ("name,id,email\nAnn Lee,1,a@uni.edu\nAnn Lee,2,a@uni.edu\n", 2),  # two numbers
        ("name,id,email\nAnn Lee,1,\nAnn Lee,1,a@uni.edu\n", 1),
        ("name\nAnn Lee\nAnn Lee\n", 2),
    ],
)
def test_only_an_identifier_makes_two_lines_one_person(tmp_path, roster, count):
    (tmp_path / "roster.csv").write_text(roster)
    assert len(read_roster(tmp_path / "roster.csv").rows) == count


@pytest.mark.parametrize(
    ("cell", "lms"),
    [
        ("Participant 657721", "moodle:657721"),
        ("Teilnehmer/in657721", "moodle:657721"),
        ("参与者657721", "moodle:657721"),
        ("canvas:340934", "canvas:340934"),
        ("S123", "S123"),
        ("340934", "340934"),
    ],
)
def test_what_a_number_in_a_list_is_a_number_of(tmp_path, cell, lms):
    (tmp_path / "roster.csv").write_text(f"name,id\nAnn Lee,{cell}\n", encoding="utf-8")
    assert read_roster(tmp_path / "roster.csv").rows[0].person.lms == lms


# Teams


TEAMS = "Name,Email,Identifier,Team\nRicky Dindial,r@uni.edu,Participant 1,A\nAnn Lee,a@uni.edu,Participant 2,A\n"


def test_what_two_of_a_team_hand_in_without_a_time_a_person_decides(hand):
    names = [f"{name}_assignsubmission_file_/lab01.py" for name in ("Ann Lee_2", "Ricky Dindial_1")]
    _, found, key = hand(names, TEAMS)
    [entry] = found.entries
    assert entry.problem.kind == "several" and "members of one team handed in different files" in entry.problem.message
    assert {person.email for person in key[entry.student].people} == {"a@uni.edu", "r@uni.edu"}
    given = {key[entry.student].submission, *key[entry.student].others}
    assert given == {"Ann Lee_2_assignsubmission_file_", "Ricky Dindial_1_assignsubmission_file_"}


def test_of_a_team_the_lmss_newest_counts(hand):
    names = [
        f"{n}-6 - {who} - Nov {day}, 2026 800 AM/lab01.py"
        for n, who, day in ((1, "Ann Lee", 20), (2, "Ricky Dindial", 19))
    ]
    _, found, _ = hand(names, TEAMS, deadline=datetime.fromisoformat("2026-11-22T23:59+01:00"))
    [entry] = found.entries
    assert entry.problem is None and entry.submission == "1-6" and entry.attempts == 2


def test_the_same_file_from_both_of_a_team_is_one_work(tmp_path, hand):
    names = [f"{name}_assignsubmission_file_/lab01.py" for name in ("Ann Lee_2", "Ricky Dindial_1")]
    hand(names, TEAMS)
    for name in names:
        (tmp_path / "subs" / name).write_text("def scale(x, factor):\n    return 1\n")
    [entry] = hand([], TEAMS)[1].entries
    assert entry.problem is None


# Who leaves


def test_who_drops_out_of_the_roster_keeps_the_pseudonym(hand):
    names = ["alee/lab01.py", "bray/lab01.py"]
    first, _, _ = hand(names, "name,login\nAnn Lee,alee\nBob Ray,bray\n")
    second, _, _ = hand(names, "name,login\nBob Ray,bray\n")
    assert {name: one.student for name, one in first.items()} == {name: one.student for name, one in second.items()}


def test_a_pseudonym_stays_with_its_person_when_the_roster_is_put_right(hand):
    wrong, _, _ = hand(["alee/lab01.py"], "name,student id,login\nAnn Lee,S1,alee\nBob Ray,S2,\n")
    entries, found, _ = hand(["alee/lab01.py"], "name,student id,login\nAnn Lee,S1,\nBob Ray,S2,alee\n")
    assert len({entry.student for entry in found.entries} | set(found.unmatched)) == 2
    assert wrong["alee"].student in {entries["alee"].student, *found.unmatched}


def test_a_diff_knows_who_handed_in_again_under_another_number(course_rows):
    old = course_rows("canvas", "340936_208490287_lab01.py", 2.0)
    new = course_rows("canvas", "340936_208490299_lab01-1.py", 8.0)
    [move] = differences(old, new).moves
    assert (move.before, move.after) == (2.0, 8.0)
    gradescope = course_rows("gradescope", "submission_1", 2.0), course_rows("gradescope", "submission_2", 8.0)
    assert differences(*gradescope).moves == [] and differences(*gradescope).gone == ["submission_1"]
    key = Key(students={"s001": Known(identity="gradescope:a@uni.edu")})
    [move] = differences(*gradescope, (key, key)).moves
    assert (move.before, move.after) == (2.0, 8.0)


@pytest.fixture
def course_rows():
    def run(layout, submission, points):
        found = {"layout": layout, "submissions": 1, "unmatched": [], "ignored": []}
        lists = {name: [] for name in ("tasks", "checks", "named", "clusters", "attention")}
        statistics = {"students": 1, "enough": False, "alpha": None} | lists
        one = rows.row("s001", points, submission=submission)
        told = {"lab": "lab01", "title": "Toys", "seed": "7", "found": found, "rows": [one], "statistics": statistics}
        return CohortResult.model_validate(told)

    return run


def test_feedback_goes_to_every_member_under_the_name_of_their_own():
    names = ["Ann Lee_2_assignsubmission_file_", "Ricky Dindial_1_assignsubmission_file_"]
    key = Key(students={"s001": Known(identity="team:a", submission=names[0], others=names[1:])})
    archive = io.BytesIO()
    write_feedback(archive, "moodle", [rows.row("s001")], key, lambda row: row.student.encode())
    assert zipfile.ZipFile(archive).namelist() == [f"{name}/report.html" for name in names]


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("smithbob_340934_208490284_lab01.py", "smithbob_340934_208490284_report.html"),
        ("doejane_LATE_340935_208490285_my_lab01-2.py", "doejane_LATE_340935_208490285_report.html"),
        ("group_3_7_340934_208490284_lab01.py", "group_3_7_340934_208490284_report.html"),
        ("LATE_anon_xY9z8_9002_lab01.py", "LATE_anon_xY9z8_9002_report.html"),
    ],
)
def test_canvas_finds_the_submission_again(name, member):
    archive = io.BytesIO()
    key = Key(students={"s001": Known(identity="canvas:1", submission=name)})
    write_feedback(archive, "canvas", [rows.row("s001")], key, lambda row: b"")
    assert zipfile.ZipFile(archive).namelist() == [member]
