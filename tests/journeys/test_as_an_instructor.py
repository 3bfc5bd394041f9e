"""What an instructor lives through with a class, typed as an instructor would, on a clean clone of the course."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from .conftest import Clone, Desk

ROSTER = "--roster gradebook.csv --deadline 2026-11-22T23:59+01:00"
CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,lab01 (12345)
    Points Possible,,,,,41
"Lee, Ann",1,S101,ann,1,
"Ray, Bob",2,S102,bob,1,
"Fox, Cy",3,S103,cy,1,
"Kim, Dora",4,S104,dora,1,
"Moe, Eve",5,S105,eve,1,
"""
LATE = "[late]\nper_day = 0.1\n"
EXTENSION = """
[[override]]
student = "S104"
extension = 2026-11-25T23:59:00+01:00
why = "Ill for three days."
by = "mk"
date = 2026-11-25
"""
DECISION = """
[[override]]
student = "moodle:7002"
item = "add_noise"
points = 5
why = "The page of this term still had the old formula."
by = "mk"
date = 2026-11-25
"""


@pytest.fixture
def staff(clone: Clone, tmp_path: Path) -> Desk:
    (tmp_path / "seed").write_text("5eed5eed5eed5eed", encoding="utf-8")
    return clone.desk(tmp_path, GRADE_SEED_FILE=str(tmp_path / "seed"))


def packed(desk: Desk, name: str, files: dict[str, str]) -> None:
    with zipfile.ZipFile(desk.folder / name, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


def gradescope(handed_in: dict[int, tuple[str, str, str, str]]) -> dict[str, str]:
    """Return an export of Gradescope's: its number -> name, student number, when, source."""
    files, metadata = {}, ""
    for number, (name, sid, when, source) in handed_in.items():
        files[f"assignment_77_export/submission_{number}/lab01.py"] = source
        metadata += f"submission_{number}:\n  :submitters:\n  - :name: {name}\n    :sid: {sid}\n  :created_at: {when}\n"
    return files | {"assignment_77_export/submission_metadata.yml": metadata}


def table(text: str, key: str) -> dict[str, dict[str, str]]:
    return {line[key]: line for line in csv.DictReader(io.StringIO(text))}


def environment(desk: Desk, folder: str) -> dict[str, Any]:
    return dict(json.loads(desk.reads(f"{folder}/cohort.json"))["environment"])


def test_from_the_export_to_the_gradebook_and_a_late_file_with_an_extension(staff: Desk, clone: Clone) -> None:
    mistaken = clone.sample("one_known_mistake")
    handed_in = {
        101: ("Ann Lee", "S101", "2026-11-22 20:00:00 Z", clone.sample("right")),
        102: ("Bob Ray", "S102", "2026-11-22 21:00:00 Z", f"{mistaken}\n# Bob\n"),
        103: ("Cy Fox", "S103", "2026-11-22 21:30:00 Z", f"{mistaken}\n# Cy\n"),
        104: ("Dora Kim", "S104", "2026-11-22 22:00:00 Z", clone.sample("syntax_error")),
    }
    packed(staff, "submissions.zip", gradescope(handed_in))
    staff.writes("gradebook.csv", CANVAS)

    # Who is who, before anything is graded.
    staff.types(
        f"grade cohort lab01 submissions.zip -o out {ROSTER} --dry-run",
        "submission_104 - 2026-11-22T22:00+00:00 SyntaxError: '(' was never closed",
        "On the roster, but nothing was handed in.",
        "found 4 submissions (gradescope)",
        "missing: 1 of the roster",
    )
    assert not (staff.folder / "out").exists()
    staff.types(
        f"grade cohort lab01 submissions.zip -o out {ROSTER} --jobs 1",
        "! The file is not valid Python: SyntaxError: '(' was never closed",
        "graded 4 · median 36.36 · unusable 0 · missing 1",
    )

    # What they did not understand, and the marks.
    page = staff.reads("out/cohort.html")
    assert "you used α_t where the closed form needs ᾱ_t" in page and "2 students: show in the matrix" in page
    staff.types("grade who out S104", "Kim, Dora", "0 of 41")
    staff.types(
        "grade export out --to canvas --gradebook gradebook.csv -o marks.csv",
        "column 'lab01 (12345)': 4 grades filled in, 4 of them changed; 1 row left as before.",
        "nothing was handed in by, and nothing written for:",
    )
    marks = {who: line["lab01 (12345)"] for who, line in table(staff.reads("marks.csv"), "SIS User ID").items() if who}
    assert marks == {"S101": "41", "S102": "36.36", "S103": "36.36", "S104": "0", "S105": ""}

    # Dora hands in again, 45 hours late; then the letter comes.
    staff.types("cp -r out before")
    del handed_in[104]
    handed_in[105] = ("Dora Kim", "S104", "2026-11-24 20:00:00 Z", clone.sample("right_another_style"))
    packed(staff, "submissions.zip", gradescope(handed_in))
    staff.writes("decisions.toml", LATE)
    again = f"grade cohort lab01 submissions.zip -o out {ROSTER} --jobs 1 --adjust decisions.toml"
    staff.types(again, "3 files have their result already", "! Handed in after the deadline")
    rows = table(staff.reads("out/grades.csv"), "submission")
    assert (rows["submission_105"]["points"], rows["submission_105"]["graded"]) == ("32.8", "41.0")
    assert "45 h late: 2 started days, 20% off." in rows["submission_105"]["adjustments"]
    staff.writes("decisions.toml", LATE + EXTENSION)
    staff.types(again, "4 files have their result already", "An extension until 2026-11-25T23:59+01:00: Ill for")
    staff.types(
        "grade diff before out",
        "0 -> 41 (+41) problem: syntax_error -> none another file was handed in no check had run before; now:",
        "0 lose points, 1 gain, 0 move otherwise, 3 are unchanged.",
    )
    staff.types(
        "grade export out --to canvas --gradebook marks.csv -o more.csv --dry-run",
        "none of them changed; 2 rows left as before. ! 1 row holds another grade already, and stays as it was;",
    )
    staff.types(
        "grade export out --to canvas --gradebook marks.csv -o more.csv --overwrite",
        "4 grades filled in, 1 of them changed",
    )
    assert table(staff.reads("more.csv"), "SIS User ID")["S104"]["lab01 (12345)"] == "41"


@pytest.mark.sweep
def test_a_killed_run_goes_on_where_it_was_and_sections_are_joined(staff: Desk, clone: Clone) -> None:
    right, mistaken = clone.sample("right"), clone.sample("one_known_mistake")
    for number in range(8):
        staff.writes(f"class/u{number}/lab01.py", f"{(right, mistaken)[number % 2]}\n# {number}\n")
    # The smallest file comes last, and takes its time: the run is in the middle when it is killed.
    staff.writes(
        "class/u8/lab01.py", "import time\n\ntime.sleep(3)\n\n\ndef checkpoint_factors():\n    return 0.6, 0.8\n"
    )
    grading = "grade cohort lab01 class -o out --jobs 1"
    with staff.starts(grading) as run:
        for line in run.stderr:
            if line.startswith("[3/9]"):
                run.kill()
        assert run.wait() == -9
    assert not (staff.folder / "out" / "grades.csv").exists()

    staff.types(grading, "result already", "graded 9 · median 36.36 · unusable 0 · missing 0")
    known = environment(staff, "out")
    assert known["kept"] >= 3 and known["kept"] + known["graded"] == 9
    points = {line["submission"]: line["points"] for line in table(staff.reads("out/grades.csv"), "student").values()}
    assert points == {f"u{number}": ("41.0", "36.36")[number % 2] for number in range(8)} | {"u8": "1.0"}
    staff.types(grading, "9 files have their result already")
    assert environment(staff, "out")["graded"] == 0

    staff.writes("evening/w1/lab01.py", f"{right}\n# evening\n")
    staff.types("grade cohort lab01 evening -o out-evening --jobs 1", "graded 1 · median 41")
    staff.types(
        "grade cohort lab01 evening -o out --jobs 1", "out holds the grades of another class", "--merge.", code=2
    )
    staff.types("grade merge out out-evening -o whole", "whole/cohort.html", "10 students of 2 sections")
    assert len(table(staff.reads("whole/grades.csv"), "student")) == 10
    staff.types("grade merge out out -o twice", "one folder is named twice; name each section once.", code=2)


def moodle(handed_in: dict[int, tuple[str, str]]) -> dict[str, str]:
    """Return an export of Moodle's: a number that is another one in every assignment -> name, source."""
    return {f"{name}_{number}_assignsubmission_file_/lab.py": source for number, (name, source) in handed_in.items()}


def worksheet(maximum: int, people: dict[int, str]) -> str:
    head = 'Identifier,"Full name","Email address",Status,Grade,"Maximum Grade","Grade can be changed"\n'
    lines = (
        f'"Participant {number}","{name}",{name[:3].lower()}@uni.edu,"Submitted for grading",,{maximum},Yes\n'
        for number, name in people.items()
    )
    return head + "".join(lines)


@pytest.mark.sweep
def test_a_term_of_two_labs_with_a_decision_and_pages_for_everybody(staff: Desk, clone: Clone) -> None:
    first, mistaken = clone.sample("right"), clone.sample("one_known_mistake")
    second = (clone.folder / "reference" / "lab02_denoising_step.py").read_text(encoding="utf-8")
    packed(staff, "noise.zip", moodle({7001: ("Ann Lee", first), 7002: ("Bob Ray", mistaken)}))
    packed(staff, "step.zip", moodle({8009: ("Bob Ray", second)}))
    staff.writes("noise.csv", worksheet(41, {7001: "Ann Lee", 7002: "Bob Ray"}))
    staff.writes("step.csv", worksheet(42, {8005: "Ann Lee", 8009: "Bob Ray"}))

    staff.types("grade cohort lab01 noise.zip -o out01 --roster noise.csv --jobs 1", "found 2 submissions (moodle)")
    staff.types(
        "grade cohort lab02 step.zip -o out02 --roster step.csv --jobs 1",
        "found 1 submission (moodle)",
        "graded 1 · median 42 · unusable 0 · missing 1",
    )

    # Bob read a page that was wrong.
    staff.writes("decisions.toml", DECISION)
    decided = "grade cohort lab01 noise.zip -o out01 --roster noise.csv --jobs 1"
    staff.types(f"{decided} --adjust decisions.toml", "2 files have their result already", "graded 2 · median 41")
    staff.types(
        decided, "! what staff decided counted here before and is not in this run; --adjust keeps it: s00", code=0
    )
    staff.types(f"{decided} --adjust decisions.toml", "graded 2 · median 41")
    bob = table(staff.reads("out01/grades.csv"), "submission")["7002_assignsubmission_file_"]
    assert (bob["graded"], bob["points"]) == ("36.36", "41.0")
    staff.types(
        "grade export out01 --to moodle --gradebook noise.csv -o up.csv",
        "2 grades filled in, 2 of them changed; 0 rows left as before.",
    )
    assert {line["Grade"] for line in table(staff.reads("up.csv"), "Identifier").values()} == {"41"}

    # Everybody's page, under the names that Moodle gave.
    staff.types("grade export out01 --to feedback -o feedback.zip", "feedback.zip")
    with zipfile.ZipFile(staff.folder / "feedback.zip") as pages:
        texts = {name: pages.read(name).decode() for name in pages.namelist()}
    (name,) = [name for name in texts if name.startswith("Bob Ray_7002_assignsubmission_file_")]
    assert "The page of this term still had the old formula." in texts[name] and len(texts) == 2
    assert "Bob" not in texts[name] and "Ann" not in texts[name]

    staff.types("grade term out01 out02 -o term", "term/term.csv", "2 students · 2 labs · missing 1")
    term = table(staff.reads("term/term.csv"), "name")
    assert (term["Bob Ray"]["lab01"], term["Bob Ray"]["lab02"], term["Bob Ray"]["sum"]) == ("41.0", "42.0", "83.0")
    assert (term["Ann Lee"]["lab02"], term["Ann Lee"]["missing"]) == ("", "lab02")
    assert "alpha_not_alpha_bar" in staff.reads("term/term.html")
