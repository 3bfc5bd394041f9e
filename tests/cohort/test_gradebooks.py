import csv
import io
import zipfile

import pytest

from grader.cohort.gradebooks import (
    csv_bytes,
    fill_canvas,
    fill_moodle,
    grades_head,
    grades_lines,
    items_table,
    write_feedback,
)
from grader.cohort.records import Adjustment
from grader.cohort.roster import Key, Known, Person
from grader.errors import UsageError
from grader.results import Problem
from tests.cohort.rows import row

STAFF = Adjustment(by="staff", item="scale", before=7, after=9, why="The page was wrong. (mk, 2026-11-24)")


def key(**people):
    return Key(
        students={
            student: Known(
                identity=student, submission=f"{student} whole", people=[one] if isinstance(one, Person) else one
            )
            for student, one in people.items()
        }
    )


# Canvas

CANVAS = (
    "\ufeff"
    "Student,ID,SIS User ID,SIS Login ID,Section,lab01 The forward process (12345),lab02 (12346),Current Score\r\n"
    "    Points Possible,,,,,20,10,(read only)\r\n"
    '"Smith, Bob ""Bo""",340934,S124,bsmith,"1, 2",,9,90\r\n'
    '"Lee, Ann",340936,S123,alee,1,"3",8,80\r\n'
    '"Kim, Zoë",340937,S125,zkim,1,,7,70\r\n'
    '"Student, Test",999,,,1,,,\r\n'
).encode()


def test_canvas_keeps_who_is_who_and_its_own_bytes_and_gets_one_column():
    who = key(s001=Person(lms="canvas:340936"), s002=Person(lms="canvas:340934"), s003=Person(lms="canvas:1"))
    filled = fill_canvas(
        CANVAS, "g.csv", [row("s001", 15), row("s002", 12.5), row("s003", 1)], who, "12345", overwrite=True
    )
    assert (
        filled.data
        == (
            "\ufeff"
            "Student,ID,SIS User ID,SIS Login ID,Section,lab01 The forward process (12345)\r\n"
            "    Points Possible,,,,,20\r\n"
            '"Smith, Bob ""Bo""",340934,S124,bsmith,"1, 2",12.5\r\n'
            '"Lee, Ann",340936,S123,alee,1,"15"\r\n'
            '"Kim, Zoë",340937,S125,zkim,1,\r\n'
            '"Student, Test",999,,,1,\r\n'
        ).encode()
    )
    assert (filled.filled, filled.left, filled.homeless, filled.notes) == (2, 1, ["s003"], [])
    assert filled.column == "lab01 The forward process (12345)"
    assert filled.changes == [('Smith, Bob "Bo"', "", "12.5"), ("Lee, Ann", "3", "15")]


@pytest.mark.parametrize("column", ["12346", "lab02", "lab02 (12346)", "LAB02"])
def test_canvas_columns_by_number_or_name(column):
    filled = fill_canvas(CANVAS, "g.csv", [row("s001", 10)], key(s001=Person(sid="S123")), column, overwrite=True)
    table = list(csv.reader(io.StringIO(filled.data.decode("utf-8-sig"))))
    assert table[0][-1] == "lab02 (12346)" and table[3][-1] == "5"  # of 10 where we count 20
    assert filled.notes == ["The gradebook's maximum is 10; points were scaled to it."]


@pytest.mark.parametrize(
    ("data", "column", "says"),
    [
        (CANVAS, "lab03", "'lab03' is none of its columns; say which with --column: one of 'lab01 The forward process"),
        (CANVAS, "lab01", "'lab01' is none of its columns"),  # a beginning is not a name: lab01 bonus (7)
        (CANVAS.replace(b"lab02", b"lab01 The forward process"), "lab01 the forward process", "fits several columns"),
        (b"name,points\nAnn,1\n", "lab01", "no gradebook of Canvas"),
    ],
)
def test_canvas_columns_that_are_not_there(data, column, says):
    with pytest.raises(UsageError, match=r"g\.csv") as caught:
        fill_canvas(data, "g.csv", [], Key(), column)
    assert says in str(caught.value)


def test_a_namesake_gets_nobody_elses_grade():
    who = key(s001=Person(name="Kim Zoe", lms="canvas:777"))
    filled = fill_canvas(CANVAS, "g.csv", [row("s001", 20)], who, "12345", overwrite=True)
    assert filled.filled == 0 and filled.homeless == ["s001"]


@pytest.mark.parametrize(
    "person", [Person(login="zkim"), Person(name="Zoë Kim"), Person(name="kimzoe"), Person(lms="canvas:340937")]
)
def test_whoever_did_not_come_from_canvas_is_found_too(person):
    filled = fill_canvas(CANVAS, "g.csv", [row("s001", 20)], key(s001=person), "12345", overwrite=True)
    assert b",zkim,1,20\r\n" in filled.data


def test_everybody_of_a_group_gets_the_grade():
    who = key(s001=[Person(sid="S123"), Person(sid="S124"), Person(sid="S999")])
    filled = fill_canvas(CANVAS, "g.csv", [row("s001", 20)], who, "12345", overwrite=True)
    assert filled.filled == 2 and filled.homeless == ["s001"]


def test_two_rows_of_a_gradebook_for_one_student():
    template = CANVAS.replace(b"S124", b"S123")
    filled = fill_canvas(template, "g.csv", [row("s001", 20)], key(s001=Person(sid="S123")), "12345", overwrite=True)
    assert filled.filled == 1 and filled.notes == ["Two rows of the gradebook fit s001; only the first was filled in."]


def test_what_was_not_judged_gets_no_nought_and_what_does_not_parse_does():
    who = key(s001=Person(sid="S123"), s002=Person(sid="S124"), s003=Person(sid="S125"))
    rows = [
        row("s001", 0, problem=Problem(kind="several", message="several files could be the submission.")),
        row("s002", 0, problem=Problem(kind="syntax_error", message="SyntaxError")),
        row("s003", 0, problem=Problem(kind="missing", message="no lab01.py."), final=7, adjustments=[STAFF]),
    ]
    filled = fill_canvas(CANVAS, "g.csv", rows, who, "12345", overwrite=True)
    told = {line[2]: line[-1] for line in csv.reader(io.StringIO(filled.data.decode("utf-8-sig")))}
    assert (told["S123"], told["S124"], told["S125"]) == ("3", "0", "7")
    assert filled.notes == [
        "s001 has no grade yet, and the row stays as it was: several files could be the submission."
    ]


def test_a_late_policy_makes_no_grade_of_what_nobody_judged():
    late = Adjustment(by="late policy", before=0, after=0, why="1 h late: 1 started day, 10% off.")
    nothing = Problem(kind="missing", message="no lab01.py.")
    rows = [row("s001", 0, problem=nothing, adjustments=[late])]
    filled = fill_canvas(CANVAS, "g.csv", rows, key(s001=Person(sid="S123")), "12345", overwrite=True)
    assert (filled.filled, filled.left) == (0, 3)


@pytest.mark.parametrize("held", ["40", "EX", "3.5"])
def test_what_a_cell_holds_already_stays_unless_asked_and_is_counted(held):
    template = CANVAS.replace(b'1,"3",8', f'1,"{held}",8'.encode())
    who = key(s001=Person(sid="S123"), s002=Person(sid="S124"))
    rows = [row("s001", 15), row("s002", 12)]
    filled = fill_canvas(template, "g.csv", rows, who, "12345")
    assert f'1,"{held}"\r\n'.encode() in filled.data and (filled.filled, filled.kept) == (1, 1)
    assert filled.notes == ["1 row holds another grade already, and stays as it was; --overwrite changes it."]
    assert filled.changes == [('Smith, Bob "Bo"', "", "12")]
    assert b'1,"15"\r\n' in fill_canvas(template, "g.csv", rows, who, "12345", overwrite=True).data
    again = fill_canvas(filled.data, "g.csv", rows, who, "12345")
    assert (again.filled, again.kept, again.changes) == (1, 1, [])  # the same grade is no change


# Moodle

MOODLE = {
    "english": (
        b'Identifier,"Full name","Email address",Status,Grade,"Maximum Grade","Grade can be changed"\n'
        b'"Participant 657721","Ricky Dindial",r@uni.edu,"Submitted for grading",,20.00,Yes\n'
        b'"Participant 657722","Ann Lee",a@uni.edu,"No submission",-,20.00,Yes\n',
        b'"Participant 657721","Ricky Dindial",r@uni.edu,"Submitted for grading",12.5,20.00,Yes\n',
    ),
    "german, semicolons, an id number, cp1252": (
        "ID;Vollständiger Name;ID-Nummer;E-Mail-Adresse;Status;Bewertung;Bestwertung;Bewertung kann geändert werden\r\n"
        "Teilnehmer/in657721;Ricky Dindial;S1;r@uni.edu;Zur Bewertung abgegeben;3,00;20,00;Ja\r\n"
        "Teilnehmer/in657722;Änne Lee;S2;a@uni.edu;Keine Abgabe;;20,00;Ja\r\n".encode("cp1252"),
        b"Teilnehmer/in657721;Ricky Dindial;S1;r@uni.edu;Zur Bewertung abgegeben;12,5;20,00;Ja\r\n",
    ),
    "blind, commas in quotes, utf-8 with a mark": (
        '\ufeffIdentifiant,Statut,Note,"Note maximale","La note peut être modifiée"\r\n'
        '"Participant 657721","Remis",,"20,00",Oui\r\n'
        '"Participant 657722","Pas de travail remis",,"20,00",Oui\r\n'.encode(),
        b'"Participant 657721","Remis","12,5","20,00",Oui\r\n',
    ),
}


@pytest.mark.parametrize("dress", MOODLE)
def test_moodle_in_any_language_changes_by_one_cell(dress):
    template, line = MOODLE[dress]
    who = key(s001=Person(name="Ricky Dindial", lms="moodle:657721"), s002=Person(lms="moodle:1"))
    filled = fill_moodle(template, "m.csv", [row("s001", 12.5), row("s002", 3)], who, overwrite=True)
    before, after = template.splitlines(keepends=True), filled.data.splitlines(keepends=True)
    assert [b for a, b in zip(before, after, strict=True) if a != b] == [line]
    assert (filled.filled, filled.left, filled.homeless) == (1, 1, ["s002"])


def test_moodle_by_email_where_the_files_came_otherwise():
    filled = fill_moodle(MOODLE["english"][0], "m.csv", [row("s001", 20)], key(s001=Person(email="A@uni.edu")))
    assert b'a@uni.edu,"No submission",20,20.00' in filled.data


@pytest.mark.parametrize("data", [b"name,points\nAnn,1\n", b"Identifier\n"])
def test_what_is_no_worksheet(data):
    with pytest.raises(UsageError, match=r"m\.csv is no grading worksheet of Moodle"):
        fill_moodle(data, "m.csv", [], Key())


# Feedback


def test_feedback_goes_back_under_the_names_that_came(tmp_path):
    moodle = "Ricky Dindial_657721_assignsubmission_file_"
    canvas = "smithbob_LATE_340934_208490284_lab_01_2.py"
    for layout, whole, member in (
        ("moodle", moodle, f"{moodle}/report.html"),
        ("canvas", canvas, "smithbob_LATE_340934_208490284_report.html"),
        ("gradescope", "submission_1", "submission_1/report.html"),
    ):
        who = Key(students={"s001": Known(identity="x", submission=whole)})
        write_feedback(tmp_path / "f.zip", layout, [row("s001"), row("s002")], who, lambda one: one.student.encode())
        with zipfile.ZipFile(tmp_path / "f.zip") as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == {
                member: b"s001",
                "s002/report.html": b"s002",
            }


def test_the_same_feedback_is_the_same_archive(tmp_path):
    for name in ("a.zip", "b.zip"):
        write_feedback(tmp_path / name, "moodle", [row("s001")], Key(), lambda one: b"page")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


# Our own


def read(data, encoding="utf-8"):
    return list(csv.DictReader(io.StringIO(data.decode(encoding), newline="")))


def test_grades_csv():
    notes = ["The same file, byte for byte, as s009."]
    one = row("s001", 15, final=17, adjustments=[STAFF], late=True, notes=notes)
    (line,) = read(csv_bytes([grades_head(["scale", "jitter"]), *grades_lines(one, ["scale", "jitter"])]))
    assert line == {
        "student": "s001",
        "submission": "s001",
        "points": "17.0",
        "graded": "15.0",
        "maximum": "20.0",
        "late": "late",
        "submitted_at": "",
        "attempts": "1",
        "problem": "",
        "adjustments": "Adjusted by staff: scale 7 -> 9. The page was wrong. (mk, 2026-11-24)",
        "notes": notes[0],
        "report": "students/s001.html",
        "scale": "12.0",
        "jitter": "3.0",
    }


def test_what_nobody_judged_has_no_points_in_grades_csv():
    nothing = Problem(kind="several", message="several files.")
    table = [grades_head([]), *grades_lines(row(earned=0, problem=nothing), [])]
    assert [(line["points"], line["problem"]) for line in read(csv_bytes(table))] == [("", "several")]
    decided = row(earned=0, problem=nothing, final=9, adjustments=[STAFF])
    assert grades_lines(decided, [])[0][2] == 9


def test_grades_csv_with_names_has_a_line_a_person():
    who = key(s001=[Person(name="Ann Lee", email="a@b.c", sid="1"), Person(name="Bob Ray", lms="canvas:9")])
    lines = read(csv_bytes([grades_head([], named=True), *grades_lines(row("s001"), [], who)]))
    assert [(line["name"], line["email"], line["id"], line["points"]) for line in lines] == [
        ("Ann Lee", "a@b.c", "1", "15.0"),
        ("Bob Ray", "", "9", "15.0"),
    ]


@pytest.mark.parametrize("text", ["a;=1+1", "a; +1", "a\t@x", "a|-1", "a;b;=1;=2"])
def test_no_part_of_a_text_is_a_formula_where_the_separator_is_another(text):
    ((cell,),) = csv.reader(io.StringIO(csv_bytes([[text]]).decode(), newline=""))
    for separator in ";\t|":
        assert not any(part.lstrip().startswith(("=", "+", "-", "@")) for part in cell.split(separator))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", " =1+1", "\r\n=HYPERLINK()"])
def test_no_spreadsheet_runs_what_a_student_wrote(text):
    ((cell,),) = csv.reader(io.StringIO(csv_bytes([[text]]).decode(), newline=""))
    assert cell.startswith("'") and "\n" not in cell and "\r" not in cell


def test_numbers_and_harmless_text_stay_as_they_are_and_a_mark_is_an_option():
    lines = [["Zoë", -1.5, "a-b", ""]]
    assert csv_bytes(lines) == "Zoë,-1.5,a-b,\r\n".encode()
    assert csv_bytes(lines, bom=True) == b"\xef\xbb\xbf" + csv_bytes(lines)


def test_items_csv_has_a_line_for_every_check():
    lines = read(csv_bytes(items_table((one.student, one) for one in (row("s001", 20), row("s002", 6)))))
    assert [(one["student"], one["check"], one["outcome"], one["earned"]) for one in lines][3:] == [
        ("s002", "lab01/scale.plain", "passed", "6.0"),
        ("s002", "lab01/scale.secret", "failed", "0.0"),
        ("s002", "lab01/jitter.draws", "failed", "0.0"),
    ]
