"""From what Canvas exported to what Canvas takes back, by the real commands; the rest of `grade export` in process."""

import csv
import io
import json
import zipfile

import pytest
from click.testing import CliRunner

from grader.cli.export import export_command
from grader.cli.instructor import KEY_FILE
from grader.cohort.find import find
from grader.cohort.gradebooks import write_feedback
from grader.cohort.records import CohortResult, FoundSummary, Statistics
from grader.cohort.roster import Key, Known, Person, read_key, write_key
from grader.cohort.sources import Sources
from grader.errors import UsageError
from grader.results import Problem
from tests import toy
from tests.cohort.rows import row

GRADEBOOK = """\
Student,ID,SIS User ID,SIS Login ID,Section,lab01 Toys (12345),lab02 (12346)\r
    Points Possible,,,,,7,10\r
"Smith, Bob",340934,S124,bsmith,1,,9\r
"Lee, Ann",340936,S123,alee,1,,8\r
"Kim, Zoe",340937,S125,zkim,1,3,7\r
"""


@pytest.fixture
def graded(tmp_path):
    """The folder of a class of two, one of which did nothing that can be judged."""
    out = tmp_path / "out"
    (out / "students").mkdir(parents=True)
    people = {"s001": Person(name="Ann Lee", sid="S123"), "s002": Person(name="Bob Smith", sid="S124")}
    rows = [row("s001", 20, submission="../../evil"), row("s002", 15)]
    cohort = CohortResult(
        lab="lab01",
        title="Toys",
        seed="7",
        found=FoundSummary(layout="moodle", submissions=2, unmatched=["s003"], ignored=[]),
        rows=rows,
        statistics=Statistics(
            students=2, enough=False, alpha=None, tasks=[], checks=[], named=[], clusters=[], attention=[]
        ),
    )
    (out / "cohort.json").write_text(cohort.model_dump_json())
    known = {name: Known(identity=name, submission=f"{name}_file_", people=[one]) for name, one in people.items()}
    write_key(out / KEY_FILE, Key(students=known))
    for one in rows:
        (out / "students" / f"{one.student}.html").write_text(one.student)
    (tmp_path / "g.csv").write_text(GRADEBOOK, newline="")
    return out


def export(*words):
    done = CliRunner().invoke(export_command, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_canvas_and_what_a_person_should_know(graded, tmp_path):
    done = export(graded, "--to", "canvas", "--gradebook", tmp_path / "g.csv", "-o", tmp_path / "new" / "up.csv")
    assert b'"Lee, Ann",340936,S123,alee,1,7\r\n' in (tmp_path / "new" / "up.csv").read_bytes()
    assert done.stdout == f"{tmp_path / 'new' / 'up.csv'}\n"
    assert done.stderr.splitlines() == [
        "column 'lab01 Toys (12345)': 2 grades filled in, 2 of them changed; 1 row left as before.",
        "! The gradebook's maximum is 7; points were scaled to it.",
        "nothing was handed in by, and nothing written for: s003",
    ]


def test_another_column_of_canvas(graded, tmp_path):
    words = ("--to", "canvas", "--column", "12346", "--gradebook", tmp_path / "g.csv", "--overwrite")
    export(graded, *words, "-o", tmp_path / "up.csv")
    assert b"S124,bsmith,1,7.5\r\n" in (tmp_path / "up.csv").read_bytes()


def test_a_dry_run_lists_every_cell_and_writes_nothing(graded, tmp_path):
    words = ("--to", "canvas", "--gradebook", tmp_path / "g.csv", "--dry-run")
    done = export(graded, *words)
    assert done.stdout == "Smith, Bob: (empty) -> 5.25\nLee, Ann: (empty) -> 7\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.csv", "out"]


def test_names(graded, tmp_path):
    export(graded / "cohort.json", "--to", "names", "--bom", "-o", tmp_path / "n.csv")
    data = (tmp_path / "n.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    assert [one["name"] for one in csv.DictReader(io.StringIO(data.decode("utf-8-sig")))] == ["Ann Lee", "Bob Smith"]


def test_feedback(graded, tmp_path):
    export(graded, "--to", "feedback", "-o", tmp_path / "f.zip")
    with zipfile.ZipFile(tmp_path / "f.zip") as archive:
        assert archive.read("s001_file_/report.html") == b"s001"


@pytest.mark.parametrize("after", ["_/", "/", "_"], ids=["folders", "folders since 4.1", "flat"])
def test_moodles_folders_come_back_as_they_went(tmp_path, after):
    """Unpacked, both archives have the same folders; of a flat one, the names without the file's."""
    people = ["Ricky Dindial_657721", "Zoë O'Neil-Smith_657722", "李 小龍_657723", "Team A_17", "Participant_657724"]
    folders = [f"{one}_assignsubmission_file{after.rstrip('/')}" for one in people]
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for folder in folders:
            archive.writestr(f"{folder}{'/' if after.endswith('/') else ''}lab01.py", toy.REFERENCE + f"# {folder}\n")
    with Sources() as sources:
        found = find(
            tmp_path / "in.zip",
            toy.make(tmp_path / "toy").lab("lab01"),
            key_path=tmp_path / "key.json",
            sources=sources,
        )
    rows = [row(entry.student) for entry in found.entries]
    write_feedback(tmp_path / "out.zip", found.layout, rows, read_key(tmp_path / "key.json"), lambda one: b"page")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        archive.extractall(tmp_path / "back")
    assert found.layout == "moodle"
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == sorted(folders)


def test_gradescope_gets_no_nought_for_what_nobody_judged(graded, tmp_path):
    cohort = CohortResult.model_validate_json((graded / "cohort.json").read_bytes())
    nothing = Problem(kind="several", message="several files could be the submission.")
    rows = [cohort.rows[0], cohort.rows[1].model_copy(update={"problem": nothing})]
    (graded / "cohort.json").write_text(cohort.model_copy(update={"rows": rows}).model_dump_json())
    done = export(graded, "--to", "gradescope", "-o", tmp_path / "gs")
    assert [path.parent.name for path in (tmp_path / "gs").rglob("results.json")] == ["__.._evil"]
    assert "! s002 has no grade yet, and no results.json: several files could be the submission." in done.stderr


def test_gradescope_stays_in_its_folder(graded, tmp_path):
    export(graded, "--to", "gradescope", "-o", tmp_path / "gs")
    found = {path.relative_to(tmp_path / "gs").as_posix() for path in (tmp_path / "gs").rglob("*.json")}
    assert found == {"__.._evil/results.json", "s002/results.json"}
    assert json.loads((tmp_path / "gs" / "s002" / "results.json").read_text())["score"] == 15
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--to", "canvas"], "give Canvas's own export to fill in: --gradebook FILE."),
        (["--to", "names", "--gradebook", "g.csv"], "--gradebook says nothing with --to names."),
        (["--to", "moodle", "--gradebook", "g.csv", "--column", "x"], "--column says nothing with --to moodle."),
        (["--to", "feedback", "--bom"], "--bom says nothing with --to feedback."),
        (["--to", "canvas", "--gradebook", "nowhere.csv"], "nowhere.csv cannot be read or written"),
    ],
)
def test_what_cannot_be_meant(graded, tmp_path, words, says):
    with pytest.raises(UsageError) as caught:
        export(graded, *words, "-o", tmp_path / "x")
    assert says in str(caught.value) and not (tmp_path / "x").exists()


def test_the_lmss_own_export_is_never_overwritten(graded, tmp_path):
    with pytest.raises(UsageError, match="keep this one"):
        export(graded, "--to", "canvas", "--gradebook", tmp_path / "g.csv", "-o", tmp_path / "g.csv")
    assert (tmp_path / "g.csv").read_bytes() == GRADEBOOK.encode()


def test_without_the_key_file_nobody_has_a_name(graded, tmp_path):
    (graded / KEY_FILE).unlink()
    with pytest.raises(UsageError, match="who is who"):
        export(graded, "--to", "names", "-o", tmp_path / "n.csv")


def test_from_canvas_to_canvas(tmp_path):
    """Bob is right, Ann half right and helped by staff, Zoe handed in nothing."""
    toy.make(tmp_path / "course")
    right = toy.REFERENCE
    half = right.replace("x + torch.rand(x.shape, generator=generator)", "x")
    with zipfile.ZipFile(tmp_path / "subs.zip", "w") as archive:
        archive.writestr("smithbob_340934_1_lab01.py", right)
        archive.writestr("leeann_LATE_340936_2_lab01-1.py", half)
    (tmp_path / "g.csv").write_text(GRADEBOOK, newline="")
    words = ("cohort", "lab01", "subs.zip", "-o", "out", "--roster", "g.csv", "--jobs", "1")
    shown = toy.grade(tmp_path, *words, "--dry-run", course=tmp_path / "course")
    assert shown.returncode == 0 and not (tmp_path / "out").exists()
    ann = next(line.split()[0] for line in shown.stdout.splitlines() if "340936" in line)
    (tmp_path / "adjust.toml").write_text(
        '[[override]]\nstudent = "canvas:340936"\nitem = "jitter"\npoints = 1\nwhy = "She explained it."\nby = "mk"\n'
        "date = 2026-11-24\n"
    )
    done = toy.grade(tmp_path, *words, "--adjust", "adjust.toml", course=tmp_path / "course")
    assert done.returncode == 0, done.stderr
    done = toy.grade(tmp_path, "export", "out", "--to", "canvas", "--gradebook", "g.csv", "-o", "up.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "up.csv").read_bytes().decode().splitlines()[2:] == [
        '"Smith, Bob",340934,S124,bsmith,1,7',
        '"Lee, Ann",340936,S123,alee,1,5',
        '"Kim, Zoe",340937,S125,zkim,1,3',
    ]
    page = (tmp_path / "out" / "students" / f"{ann}.html").read_text(encoding="utf-8")
    assert "Adjusted by staff: jitter 0 -&gt; 1. She explained it. (mk, 2026-11-24)" in page
    assert "After this your score is 5 of 7 points" in page
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != KEY_FILE]
    assert len(written) > 5
    assert not [path.name for path in written if b"smithbob" in path.read_bytes() or b"Lee, Ann" in path.read_bytes()]
