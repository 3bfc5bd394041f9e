import pytest

from grader.cohort.find import find
from grader.cohort.matching import NOBODY, SEVERAL
from grader.cohort.roster import Directory, Person, read_key, read_roster
from grader.cohort.sheets import Sheet
from grader.cohort.sources import Sources
from grader.errors import UsageError
from tests import toy

CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,lab01 (12345)
    Points Possible,,,,,20
"Smith, Bob",340934,S124,bsmith,1,
"Lee, Ann",340936,S123,alee,1,
"Student, Test",999,,,1,
"""
MOODLE = """\
Identifier;Full name;Email address;Status;Grade
Participant 657721;Ricky Dindial;ricky@uni.edu;Submitted;
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course")).lab("lab01")


@pytest.fixture
def hand(tmp_path, lab):
    """Hand in files under names, against a roster; returns submission -> entry, and the whole."""

    def run(names, roster, **options):
        for number, name in enumerate(names):
            path = tmp_path / "subs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"def scale(x, factor):\n    return {number}\n")
        (tmp_path / "roster.csv").write_text(roster, encoding="utf-8")
        with Sources() as sources:
            known = {"roster": tmp_path / "roster.csv", "key_path": tmp_path / "key.json", "sources": sources}
            found = find(tmp_path / "subs", lab, **known, **options)
        return {entry.submission: entry for entry in found.entries}, found, read_key(tmp_path / "key.json").students

    return run


def test_canvas_submissions_and_its_gradebook_as_the_roster(hand):
    entries, found, key = hand(["smithbob_340934_1_lab01.py", "doejane_55_2_lab01.py"], CANVAS)
    bob, jane = entries["340934_1_lab01.py"], entries["55_2_lab01.py"]
    assert bob.notes == [] and jane.notes == [NOBODY]
    assert key[bob.student].people == [
        Person(name="Smith, Bob", lms="canvas:340934", sid="S124", login="bsmith", email="")
    ]
    assert [key[student].people[0].name for student in found.unmatched] == ["Lee, Ann"]


def test_moodles_worksheet_as_the_roster(hand):
    entries, found, _ = hand(["Ricky Dindial_657721_assignsubmission_file_/lab01.py"], MOODLE)
    assert found.unmatched == [] and [entry.notes for entry in entries.values()] == [[]]


@pytest.mark.parametrize("folder", ["S123", "alee", "ALEE@uni.edu", "Ann Lee", "ann_lee", "Lee, Ann", "lee-ann"])
def test_a_folder_may_be_named_by_anything_that_identifies_a_student(hand, folder):
    roster = "name,student id,username,email\nAnn Lee,S123,alee,alee@uni.edu\nBob Ray,S124,bray,bray@uni.edu\n"
    entries, found, key = hand([f"{folder}/lab01.py"], roster)
    assert entries[folder].notes == [] and key[entries[folder].student].people[0].sid == "S123"
    assert [key[student].people[0].sid for student in found.unmatched] == ["S124"]


TEAMS = """\
Name,Email,Identifier,Team
Ricky Dindial,r@uni.edu,Participant 1,Team A
Ann Lee,a@uni.edu,Participant 2,Team A
Bob Ray,b@uni.edu,Participant 17,team_b
Eve Fox,e@uni.edu,Participant 4,
"""


@pytest.mark.parametrize(
    "names",
    [
        ["Team A_17_assignsubmission_file/lab01.py", "Team B_18_assignsubmission_file/lab01.py"],
        ["Team A-Ann Lee_2_assignsubmission_file_/lab01.py", "Team B-Bob Ray_17_assignsubmission_file_/lab01.py"],
        ["lab01-submissions/lab01-team-a/lab01.py", "lab01-submissions/lab01-team-b/lab01.py"],
        ["a@uni.edu/lab01.py", "team b/lab01.py"],
    ],
    ids=["Moodle, one folder a team", "Moodle, one a member", "classroom", "by one member, by the team's name"],
)
def test_a_teams_work_is_everybodys_in_it(hand, names):
    entries, found, key = hand(names, TEAMS)
    people = [{person.email for person in key[entry.student].people} for entry in entries.values()]
    assert sorted(people, key=len) == [{"b@uni.edu"}, {"r@uni.edu", "a@uni.edu"}]
    assert [key[student].people[0].name for student in found.unmatched] == ["Eve Fox"]
    assert all(entry.notes == [] for entry in entries.values())


def test_what_two_of_a_team_hand_in_are_two_attempts(hand):
    (entry,) = hand(["Ann Lee/lab01.py", "Ricky Dindial/lab01.py"], TEAMS)[0].values()
    assert entry.attempts == 2 and "2 attempts" in entry.notes[0]


def test_a_group_of_moodles_before_the_name_is_no_part_of_it(hand):
    names = ["Tutorial-2-Ann Lee_7_assignsubmission_file_/lab01.py", "Al-Amin Ray_8_assignsubmission_file_/lab01.py"]
    entries, found, _ = hand(names, "Name,Email\nAnn Lee,a@uni.edu\nAl-Amin Ray,r@uni.edu\n")
    assert found.unmatched == [] and [entry.notes for entry in entries.values()] == [[], []]


def test_a_number_that_belongs_to_another_name_is_said(hand):
    says = "Its number is on the roster, with another name: look whose it is."
    names = ["Team A_657721_assignsubmission_file/lab01.py"]
    assert [entry.notes for entry in hand(names, MOODLE)[0].values()] == [[says]]


def test_a_name_that_two_share_finds_nobody(hand):
    roster = "name,student id\nAnn Lee,S123\nAnn Lee,S124\n"
    entries, found, _ = hand(["Ann Lee/lab01.py"], roster)
    assert entries["Ann Lee"].notes == [SEVERAL] and len(found.unmatched) == 2


def test_an_identifier_that_differs_outweighs_a_name():
    directory = Directory([Person(name="Ann Lee", sid="S123"), Person(name="Bob Ray", lms="canvas:7")])
    assert directory.find(Person(name="Ann Lee")) == 0
    assert directory.find(Person(name="Ann Lee", sid="S999")) is None
    assert directory.find(Person(name="Bob Ray", lms="canvas:8")) is None
    assert directory.find(Person(name="Bob Ray", lms="moodle:8")) == 1  # another system's number says nothing
    assert directory.find(Person(lms="moodle:7")) is None
    assert directory.find(Person(lms="7")) == 1


def test_two_folders_of_one_student_are_two_attempts(hand):
    entries, found, key = hand(["alee/lab01.py", "S123/lab01.py"], "student id,login\nS123,alee\n")
    (entry,) = entries.values()
    assert entry.attempts == 2 and entry.submission == "alee" and found.unmatched == [] and len(key) == 1
    assert entry.notes == ["2 attempts; the last by name counts, for no time is known: alee."]


def test_who_comes_late_keeps_the_pseudonym_of_the_unmatched_row(hand):
    roster = "student id\nS123\nS124\n"
    _, first, _ = hand(["S123/lab01.py"], roster)
    entries, second, _ = hand(["S123/lab01.py", "S124/lab01.py"], roster)
    assert [entries["S124"].student] == first.unmatched and second.unmatched == []


def test_a_roster_that_comes_later_changes_no_pseudonym(tmp_path, hand):
    names = [f"{name}/lab01.py" for name in ("alee", "bray", "cyoung", "dray")]
    first, _, _ = hand(names, "login\nnobody\n")
    second, found, _ = hand(names, "login\nalee\nbray\ncyoung\ndray\nzed\n")
    assert {name: one.student for name, one in first.items()} == {name: one.student for name, one in second.items()}
    assert found.unmatched == ["s006"]


def test_an_extension_moves_one_students_deadline(tmp_path, hand):
    from datetime import datetime

    names = [f"{n}-1 - {who} - Nov 23, 2026 800 AM/lab01.py" for n, who in ((1, "Ann Lee"), (2, "Bob Ray"))]
    roster = "name,extension\nAnn Lee,2026-11-24T00:00+01:00\nBob Ray,\n"
    deadline = datetime.fromisoformat("2026-11-22T23:59:00+01:00")
    entries, _, _ = hand(names, roster, deadline=deadline)
    assert {name: entry.late for name, entry in entries.items()} == {"1-1": False, "2-1": True}
    assert entries["1-1"].due.isoformat() == "2026-11-23T23:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour,shape\nred,round\n", "no column Student, Name, ID, Username or Email; its columns: colour, shape"),
        ("name,extension\nAnn,tomorrow\n", "line 2: 'tomorrow' is no date"),
        ("name,extension\nAnn,2026-11-22T10:00\n", "line 2: '2026-11-22T10:00' has no time zone"),
        ("", "is not a CSV file"),
        ('name\n"Ann" Lee"x\n"b\n', "roster"),
    ],
)
def test_a_roster_that_is_none(tmp_path, text, says):
    path = tmp_path / "roster.csv"
    path.write_text(text)
    if says == "roster":  # odd quotes are read as they stand
        assert [row.person.name for row in read_roster(path).rows] == ['"Ann" Lee"x', '"b']
    else:
        with pytest.raises(UsageError) as caught:
            read_roster(path)
        assert says in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        "name;id\r\nZoë;1\r\n".encode(),
        b"\xef\xbb\xbfname\tid\nZo\xc3\xab\t1\n",
        "\ufeffname,id\nZoë,1".encode("utf-16-le"),
        "name,id\rZoë,1\r".encode("cp1252"),
        'name,id\r\n"Zoë","1"\r\n\r\n'.encode(),
    ],
    ids=["semicolons", "tabs and a mark", "utf-16", "old mac, cp1252", "quotes, an empty line"],
)
def test_a_sheet_is_read_in_any_dress_and_written_back_byte_for_byte(tmp_path, data):
    sheet = Sheet.parse(data, "x.csv")
    assert (sheet.value(1, 0), sheet.value(1, 1)) == ("Zoë", "1") and sheet.header() == ["name", "id"]
    assert sheet.render() == data
    (tmp_path / "r.csv").write_bytes(data)
    assert [row.person.name for row in read_roster(tmp_path / "r.csv").rows] == ["Zoë"]


def test_a_cell_with_a_line_end_and_quotes():
    data = b'a,b\r\n"x\r\n""y""",2\r\n'
    sheet = Sheet.parse(data, "x.csv")
    assert sheet.value(1, 0) == 'x\r\n"y"'
    sheet.put(1, 1, "3,5")
    assert sheet.render() == b'a,b\r\n"x\r\n""y""","3,5"\r\n'


def test_a_list_of_three_hundred_thousand_lines_is_no_class_list(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_text("name,id\n" + "Ann Lee,1\n" * 300_000)
    with pytest.raises(UsageError, match="has more than 50000 lines"):
        read_roster(path)


@pytest.mark.parametrize("when", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00"])
def test_a_date_at_the_calendars_end_is_a_sentence(tmp_path, when):
    path = tmp_path / "roster.csv"
    path.write_text(f"name,extension\nAnn Lee,{when}\n")
    with pytest.raises(UsageError, match="lies outside the calendar"):
        read_roster(path)
