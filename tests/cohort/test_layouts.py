"""The layouts that are read: one example of each, proved here and printed in docs/cohort.md.

`python -m tests.cohort.test_layouts` writes the table into the page.
"""

import contextlib
import io
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from grader.cli.instructor import read_cohort
from grader.cohort import archives
from grader.cohort import find as find_module
from grader.cohort.find import find
from grader.cohort.limits import at_most
from grader.cohort.matching import NOBODY
from grader.cohort.roster import read_key
from grader.cohort.sources import Sources
from grader.digests import source_digest
from grader.errors import SubmissionError, UsageError
from tests import toy
from tests.cohort.inside import cohort

PAGE = Path(__file__).parents[2] / "docs" / "cohort.md"
MADE_BY = "<!-- made by tests/cohort/test_layouts.py -->"


def source(mark: str) -> bytes:
    return f"def scale(x, factor):\n    return x * factor  # {mark}\n".encode()


def zipped(files, compression=zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def tarred(files) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


@dataclass(frozen=True)
class Example:
    """Files as an LMS lays them, and what is made of them: submission -> which file's source counts."""

    layout: str
    looks_like: str
    called: str
    files: dict[str, bytes]
    counts: dict[str, str]
    late: frozenset[str] = field(default_factory=frozenset)


A, B = source("a"), source("b")
METADATA = (
    b"submission_123:\n  :submitters:\n  - :name: Ann Lee\n    :email: a@uni.edu\nsubmission_124:\n  :submitters: []\n"
)
EXAMPLES = [
    Example("folders", "`s017/lab01.py`", "`s017`", {"s017/lab01.py": A, "ann/lab01.py": B}, {"s017": "a", "ann": "b"}),
    Example("folders", "`s017.py`", "`s017.py`", {"s017.py": A, "ann.py": B}, {"s017.py": "a", "ann.py": "b"}),
    Example(
        "folders",
        "`s017.zip`, `s017.tar.gz`, `s017.py.txt`",
        "`s017.zip`",
        {"s017.zip": zipped({"lab01.py": A}), "ann.tar.gz": tarred({"x/lab01.py": B}), "eve.py.txt": source("e")},
        {"s017.zip": "a", "ann.tar.gz": "b", "eve.py.txt": "e"},
    ),
    Example(
        "folders",
        "`submissions/s017/lab01.py`, a folder or a zip around the class",
        "`s017`",
        {"submissions/README.md": b"", "submissions/s017/lab01.py": A, "submissions/ann/hw.py": B},
        {"s017": "a", "ann": "b"},
    ),
    Example(
        "canvas",
        "`smithbob_340934_208490284_lab01-1.py`",
        "`340934_208490284_lab01-1.py`",
        {"smithbob_340934_208490284_lab01-1.py": A, "doejane_LATE_340935_208490285_my_lab01.py": B},
        {"340934_208490284_lab01-1.py": "a", "340935_208490285_my_lab01.py": "b"},
        frozenset({"340935_208490285_my_lab01.py"}),
    ),
    Example(
        "canvas",
        "`group_3_7_LATE_340934_208490284_lab01.py`, a group's",
        "`340934_208490284_lab01.py`",
        {"group_3_7_LATE_340934_208490284_lab01.py": A, "team_b_340935_208490285_lab01.py": B},
        {"340934_208490284_lab01.py": "a", "340935_208490285_lab01.py": "b"},
        frozenset({"340934_208490284_lab01.py"}),
    ),
    Example(
        "canvas",
        "`LATE_anon_xY9z8_9002_lab01.py`, anonymous",
        "`xY9z8_9002_lab01.py`",
        {"LATE_anon_xY9z8_9002_lab01.py": A, "anon_b81Zz_9001_lab01.py": B},
        {"xY9z8_9002_lab01.py": "a", "b81Zz_9001_lab01.py": "b"},
        frozenset({"xY9z8_9002_lab01.py"}),
    ),
    Example(
        "moodle",
        "`Ricky Dindial_657721_assignsubmission_file_/lab01.py`",
        "`657721_assignsubmission_file_`",
        {"Ricky Dindial_657721_assignsubmission_file_/lab01.py": A, "王小明_7_assignsubmission_file_/lab01.py": B},
        {"657721_assignsubmission_file_": "a", "7_assignsubmission_file_": "b"},
    ),
    Example(
        "moodle",
        "`Ricky Dindial_657721_assignsubmission_file_lab01.py`, flat",
        "`657721_assignsubmission_file_`",
        {
            "Ricky Dindial_657721_assignsubmission_file_x_657722_assignsubmission_file_lab01.py": A,
            "Participant_657722_assignsubmission_file_lab01.py": B,
        },
        {"657721_assignsubmission_file_": "a", "657722_assignsubmission_file_": "b"},
    ),
    Example(
        "gradescope",
        "`submission_123/` and `submission_metadata.yml`",
        "`submission_123`",
        {"submission_metadata.yml": METADATA, "submission_123/lab01.py": A, "submission_124/lab01.py": B},
        {"submission_123": "a", "submission_124": "b"},
    ),
    Example(
        "brightspace",
        "`12345-678 - Jane Doe - Nov 22, 2026 604 PM/lab01.py`",
        "`12345-678`",
        {"1-6 - Jane Doe - Nov 22, 2026 604 PM/lab01.py": A, "2-6 - Al-Amin - Ray - Nov 2, 2026 12:04 AM/lab01.py": B},
        {"1-6": "a", "2-6": "b"},
    ),
    Example(
        "brightspace",
        "`12345-678 - Jane Doe - 22 nov. 2026 18 04/lab01.py`",
        "`12345-678`",
        {"1-6 - Jane Doe - 22 nov. 2026 18 04/lab01.py": A, "2-6 - Rob Roe - 22 юли 2026 18 04/lab01.py": B},
        {"1-6": "a", "2-6": "b"},
    ),
    Example(
        "sakai",
        "`Lab 01/Doe, Jane(jdoe)/Submission attachment(s)/lab01.py`",
        "`jdoe`",
        {
            "Lab 01/grades.csv": b"x",
            "Lab 01/Doe, Jane(jdoe)/Submission attachment(s)/lab01.py": A,
            "Lab 01/Doe, Jane(jdoe)/comments.txt": b"",
            "Lab 01/Roe, Rob(rroe)/Submission attachment(s)/lab01.py": B,
        },
        {"jdoe": "a", "rroe": "b"},
    ),
    Example(
        "classroom",
        "`lab01-noise-submissions/lab01-noise-jane/`, clones or plain folders",
        "`lab01-noise-jane`",
        {
            "lab01-noise-submissions/lab01-noise-jane/lab01.py": A,
            "lab01-noise-submissions/lab01-noise-rob-roe/lab01.py": B,
        },
        {"lab01-noise-jane": "a", "lab01-noise-rob-roe": "b"},
    ),
]


def table() -> str:
    lines = ["| layout | looks like | a submission is called |", "| --- | --- | --- |"]
    lines += [f"| `{one.layout}` | {one.looks_like} | {one.called} |" for one in EXAMPLES]
    lines += ["| `git` | one clone a student | the folder's name |"]  # proved in test_find.py
    return "\n".join([MADE_BY, *lines])


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course"))


@pytest.fixture(scope="module")
def lab(course):
    return course.lab("lab01")


@pytest.fixture
def hand(tmp_path, lab):
    """Lay files, find them; return submission -> entry, everything, and the key's lines."""

    def run(files, roster=None, path=None, at="subs", **options):
        for name, content in files.items():
            place = tmp_path / at / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        if roster is not None:
            (tmp_path / "roster.csv").write_text(roster, encoding="utf-8")
            options["roster"] = tmp_path / "roster.csv"
        with Sources() as sources:
            found = find(path or tmp_path / at, lab, key_path=tmp_path / "key.json", sources=sources, **options)
        return {entry.submission: entry for entry in found.entries}, found, read_key(tmp_path / "key.json").students

    return run


def digests(entries):
    return {name: entry.source for name, entry in entries.items()}


def test_the_page_has_the_table_of_these_examples():
    assert table() in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: f"{one.layout} {re.sub('[^a-z]+', ' ', one.looks_like)[:20]}")
def test_a_layout_is_read(tmp_path, hand, one, packed):
    if packed:
        (tmp_path / "export.zip").write_bytes(zipped(one.files))
        entries, found, _ = hand({}, path=tmp_path / "export.zip")
    else:
        entries, found, _ = hand(one.files)
    assert found.layout == one.layout
    assert digests(entries) == {name: source_digest(source(mark)) for name, mark in one.counts.items()}
    assert {name for name, entry in entries.items() if entry.late} == one.late
    assert len({entry.student for entry in found.entries}) == len(one.counts)


# What is not a layout, though it looks like one


@pytest.mark.parametrize(
    "names",
    [
        ["u1-lab01-v2", "u2-lab01-v2"],
        ["u1_lab01-1", "u2_lab01-1", "u3_lab01-1"],
        ["u1_lab01-1", "u2_lab01-2"],
        ["lab01-", "lab01-x"],
    ],
)
def test_classrooms_layout_is_believed_only_where_it_gives_everybody_a_name(hand, names):
    entries, found, key = hand({f"{name}/lab01.py": source(name) for name in names})
    assert found.layout == "folders" and entries.keys() == set(names) and len(key) == len(names)
    assert all(entry.attempts == 1 for entry in found.entries)


@pytest.mark.parametrize("given", ["lab01-forward-noise-submissions", "."])
def test_classrooms_own_folder_is_read_as_its_parent_is(tmp_path, hand, given):
    folder = "lab01-forward-noise-submissions"
    files = {f"{folder}/lab01-forward-noise-{name}/lab01.py": source(name) for name in ("u1", "ann-lee")}
    _, found, key = hand(files, path=tmp_path / "subs" / given)
    assert found.layout == "classroom" and {line.identity for line in key.values()} == {"git:u1", "git:ann-lee"}


@pytest.mark.parametrize("kind", [".py", ".zip", ".tar.gz", ".py.txt", ".ipynb", ".rar"])
def test_a_file_that_is_called_like_a_submission_keeps_its_name(hand, kind):
    content = {".zip": zipped({"lab01.py": A}), ".tar.gz": tarred({"lab01.py": A})}.get(kind, A)
    names = [f"s{number:03}{kind}" for number in (3, 1, 5)] + ["zoe.py"]
    entries, _, _ = hand(dict.fromkeys(names, content))
    assert {name: entry.student for name, entry in entries.items()} == {
        **{name: name[:4] for name in names[:3]},
        "zoe.py": "s002",
    }


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"sub/README.md": b"", "sub/u1/lab01.py": A, "sub/u2/hw.py": B}, "sub"),
        ({"submissions/u1.py": A, "submissions/u2.py": B}, "submissions"),
        ({"submissions.zip": zipped({"u1/lab01.py": A, "u2/lab01.py": B})}, "submissions.zip"),
        ({"x.zip": zipped({"sub/u1/lab01.py": A, "sub/u2/lab01.py": B}), "list.csv": b""}, "x.zip/sub"),
    ],
    ids=["beside a README", "loose files", "a zip in a folder", "a folder in a zip beside a list"],
)
def test_a_wrapper_is_looked_through_and_said(hand, files, said):
    entries, found, _ = hand(files)
    assert {name.removesuffix(".py") for name in entries} == {"u1", "u2"}
    assert sorted(digests(entries).values()) == sorted(map(source_digest, (A, B)))
    assert found.notes == [f"looked through {said}"]


@pytest.mark.parametrize("name", ["submissions.zip", "Abgaben (2).zip"])
def test_a_class_in_a_zip_in_a_zip_is_looked_through_and_said(tmp_path, hand, name):
    inside = zipped({"u1/lab01.py": A, "u2/lab01.py": B})
    (tmp_path / "outer.zip").write_bytes(zipped({name: inside}))
    entries, found, _ = hand({}, path=tmp_path / "outer.zip")
    assert digests(entries) == {"u1": source_digest(A), "u2": source_digest(B)}
    assert found.notes == [f"looked through {name}"]


@pytest.mark.parametrize(
    "files",
    [
        {"ann/lab01.py": A, "ann/helpers.py": B},
        {"ann/README.md": b"", "ann/src/lab01.py": A},
        {"ann.zip": zipped({"lab01.py": A, "helpers.py": B})},
        {"ann.zip": zipped({"src/lab01.py": A, "README.md": b""})},
        {"submission/lab01.py": A, "submission/helpers.py": B},
    ],
)
def test_the_only_students_own_folder_is_no_wrapper(hand, files):
    entries, found, _ = hand(files)
    assert len(entries) == 1 and found.notes == [] and set(digests(entries).values()) == {source_digest(A)}


def test_an_archive_of_a_kind_that_is_not_read_is_a_row_without_points(hand):
    files = {"u1/lab01.py": A, "u2.rar": b"Rar!", "u3.7z": b"7z", "u4.tar.gz": tarred({"lab01.py": B}), "u5.py.txt": A}
    entries, found, _ = hand(files | {"notes.txt": b""})
    assert entries.keys() == {"u1", "u2.rar", "u3.7z", "u4.tar.gz", "u5.py.txt"} and found.ignored == ["notes.txt"]
    for name in ("u2.rar", "u3.7z"):
        assert entries[name].source is None and entries[name].problem.kind == "bad_archive"
        assert "an archive of a kind that is not read" in entries[name].problem.message
    assert entries["u4.tar.gz"].source == source_digest(B) and entries["u5.py.txt"].source == source_digest(A)


@pytest.mark.parametrize(
    ("member", "kind"),
    [("../lab01.py", "unsafe_archive"), ("/lab01.py", "unsafe_archive")],
)
def test_a_tar_that_leads_out_is_refused(hand, member, kind):
    entries, _, _ = hand({"u1/x.tar.gz": tarred({member: A}), "u2/lab01.py": B})
    assert entries["u1"].problem.kind == kind and entries["u2"].source == source_digest(B)


def test_links_and_bombs_in_a_tar_are_refused(hand):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        link = tarfile.TarInfo("lab01.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    files = {"u1/x.tgz": data.getvalue(), "u2/x.tgz": tarred({"lab01.py": b"#" * (33 << 20)}), "u3/lab01.py": B}
    entries, _, _ = hand(files | {"u4/x.tgz": tarred({f"{n}.txt": b"" for n in range(2001)})})
    kinds = {name: entry.problem.kind for name, entry in entries.items() if entry.problem}
    assert kinds == {"u1": "symlink", "u2": "too_large", "u4": "unsafe_archive"}


# Canvas


def test_what_was_typed_into_canvas_is_a_row_of_its_author_without_a_name(hand):
    files = {
        "lastfirst_201_text.html": b"<p>",
        "doejane_LATE_202_link.html": b"",
        "leeann_203_9_lab01.py": A,
        "leeann_203_text.html": b"",
    }
    entries, found, _ = hand(files, "Student,ID\nLast First,201\nDoe Jane,202\nLee Ann,203\n")
    assert found.layout == "canvas" and found.unmatched == [] and entries.keys() == {"201", "202", "203_9_lab01.py"}
    assert entries["201"].problem.kind == "missing" and entries["202"].late and entries["203_9_lab01.py"].source
    assert not any(name in found.model_dump_json() for name in ("lastfirst", "doejane", "leeann"))


ANONYMOUS = ["LATE_anon_xY9z8_9002_lab01.py", "anon_b81Zz_9001_lab01.py", "LATE_anon_c00Kq_text.html"]


def test_an_anonymous_export_finds_its_people_by_canvass_number_alone(hand):
    roster = "Name,ID\nAnn Lee,xY9z8\nBob Ray,canvas:b81Zz\nCy Fox,c00Kq\n"
    entries, found, key = hand(dict(zip(ANONYMOUS, (A, B, b"<p>"), strict=True)), roster)
    assert found.layout == "canvas" and found.unmatched == []
    assert {name: entry.late for name, entry in entries.items()} == {
        "xY9z8_9002_lab01.py": True,
        "b81Zz_9001_lab01.py": False,
        "c00Kq": True,
    }
    assert [key[entries[name].student].people[0].name for name in sorted(entries)] == ["Bob Ray", "Cy Fox", "Ann Lee"]


def test_an_anonymous_export_that_no_list_knows_asks_a_person(hand):
    entries, found, key = hand(dict(zip(ANONYMOUS, (A, B, b"<p>"), strict=True)), "Name,ID\nAnn Lee,340934\n")
    assert all(NOBODY in entry.notes for entry in entries.values()) and len(found.unmatched) == 1
    assert all(key[entry.student].people[0].name == "" for entry in entries.values())


# Moodle


def test_different_numbers_are_different_people_whatever_the_names(hand):
    names = ["First-Second Last_501", "Second Last_502"]
    files = {f"{name}_assignsubmission_file_/lab01.py": source(name) for name in names}
    entries, found, key = hand(files, "Name,Email\nSecond Last,s@uni.edu\n")
    one, two = (entries[f"{number}_assignsubmission_file_"] for number in (501, 502))
    assert one.notes == [NOBODY] and two.notes == [] and found.unmatched == []
    assert key[one.student].people[0].email == "" and key[two.student].people[0].email == "s@uni.edu"
    _alone, found, key = hand({"First-Second Last_501_assignsubmission_file_/lab01.py": A}, at="alone")
    assert [line.people[0].email for line in key.values() if "501" in line.submission] == [""]


def test_two_of_one_name_are_two_rows_and_a_person_decides(hand):
    files = {f"Ann Lee_{number}_assignsubmission_file_/lab01.py": source(str(number)) for number in (531, 532)}
    entries, found, key = hand(files, "Name,Email\nAnn Lee,a@uni.edu\n")
    assert len({entry.student for entry in found.entries}) == 2 and len(found.unmatched) == 1
    assert all(entry.notes[0].startswith("Two people of this name") for entry in entries.values())
    assert all(key[entry.student].people[0].email == "" for entry in entries.values())


@pytest.mark.parametrize("name", ["Sukarno", "王小明", "Ñandú"])
def test_a_name_of_one_word_fits(hand, name):
    files = {f"{name}_531_assignsubmission_file_/lab01.py": A, "Ann Lee_532_assignsubmission_file_/lab01.py": B}
    entries, found, _ = hand(files, f"Name,Email\n{name},n@uni.edu\nAnn Lee,a@uni.edu\n")
    assert found.unmatched == [] and all(entry.notes == [] for entry in entries.values())


def test_the_same_word_before_every_number_is_no_name(hand):
    files = {f"Ktokolwiek_{number}_assignsubmission_file_/lab01.py": source(str(number)) for number in (1, 2)}
    _, _, key = hand(files)
    assert [line.people[0].name for line in key.values()] == ["", ""]


def in_code(files, code):
    """A zip whose names stand in `code` without the mark of UTF-8, as the programs of other systems write it."""
    names = {f"{place}".ljust(len(name.encode(code)), "x"): name.encode(code) for place, name in enumerate(files)}
    data = zipped(dict(zip(names, files.values(), strict=True)))
    for stand_in, name in names.items():
        data = data.replace(stand_in.encode(), name)
    return data


UNSURE = [
    *(("gbk", name) for name in ("王小明", "马龙", "劉", "陈")),
    *(("cp1252", name) for name in ("Zoë Žák", "Novák", "Ünal", "Åsa", "Peña", "Groß")),
    *(("cp852", name) for name in ("Jiří Čapek", "Paweł", "Dvořák", "Łukasz", "Kűri Győző", "Václav Klaus, Růžena")),
    ("cp1250", "Černý"),
    ("cp866", "Пётр"),
]


@pytest.mark.parametrize(("code", "name"), UNSURE)
def test_a_name_that_cannot_be_read_is_kept_by_its_number_and_said(tmp_path, hand, name, code):
    files = {f"{name}_531_assignsubmission_file_/lab01.py": A, "Ann Lee_7_assignsubmission_file_/lab01.py": B}
    (tmp_path / "export.zip").write_bytes(in_code(files, code))
    entries, _, key = hand({}, "Name,ID\nAnn Lee,moodle:7\nSomebody,moodle:531\n", path=tmp_path / "export.zip")
    entry = entries["531_assignsubmission_file_"]
    assert entry.notes == ["The name in the export cannot be read; its number counts."]
    assert key[entry.student].people[0].name == "Somebody" and entry.source == source_digest(A)


@pytest.mark.parametrize("code", ["cp437", "cp850", "cp852"])
@pytest.mark.parametrize("name", ["Zoë Müller", "José Gómez", "Jörg Groß", "Benoît Lefévre"])
def test_a_name_that_every_alphabet_of_dos_writes_alike_is_read(tmp_path, hand, name, code):
    files = {f"{name}_531_assignsubmission_file_/lab01.py": A, "Ann Lee_7_assignsubmission_file_/lab01.py": B}
    (tmp_path / "export.zip").write_bytes(in_code(files, code))
    entries, found, _ = hand({}, f"Name,Email\n{name},n@x\nAnn Lee,a@x\n", path=tmp_path / "export.zip")
    assert found.unmatched == [] and entries["531_assignsubmission_file_"].notes == []


# Brightspace


def test_a_time_in_another_language_is_a_time_or_said_to_be_none(hand):
    from datetime import datetime

    times = {
        "22 nov. 2026 18 04": 18,
        "22 november 2026 18 04": 18,
        "22. November 2026 18:04": 18,
        "22 de novembro de 2026 1804": 18,
        "22 listopada 2026 18 04": 18,
        "Nov 22, 2026 604 PM": 18,
        "22 юли 2026 18 04": None,
        "2026 年 11 月 22 日 18 04": None,
    }
    files = {f"{n}-6 - Jane Doe {n} - {when}/lab01.py": source(when) for n, when in enumerate(times)}
    deadline = datetime.fromisoformat("2026-11-22T23:59+00:00")
    entries, found, _ = hand(files, deadline=deadline)
    assert found.layout == "brightspace"
    for number, hour in enumerate(times.values()):
        entry = entries[f"{number}-6"]
        assert (entry.submitted_at and entry.submitted_at.hour) == hour, entry
        assert any("time could not be read" in note for note in entry.notes) == (hour is None)


# What stops nobody


def damaged(how: str) -> bytes:
    if how == "LZMA":
        data = bytearray(zipped({"lab01.py": A * 50}, zipfile.ZIP_LZMA))
        data[len("lab01.py") + 30 + 4 : len("lab01.py") + 30 + 9] = b"\xff" * 5  # the stream's properties
        return bytes(data)
    if how == "LZMA stream":
        data = bytearray(zipped({"lab01.py": A * 50}, zipfile.ZIP_LZMA))
        data[60:90] = b"\xff" * 30
        return bytes(data)
    data = bytearray(zipped({"lab01.py": A}))
    end = data.rindex(b"PK\x05\x06")
    directory = data.index(b"PK\x01\x02")
    if how == "local name":  # flagged UTF-8, and is not
        data[7] |= 8
        data[30] = 0xFF
    elif how == "negative offset":
        data[end + 16 : end + 20] = (directory + 100).to_bytes(4, "little")
    elif how == "offset of 2^63":
        extra = b"\x01\x00\x08\x00" + (1 << 63).to_bytes(8, "little")
        data[directory + 42 : directory + 46] = b"\xff" * 4
        data[directory + 30 : directory + 32] = len(extra).to_bytes(2, "little")
        data[directory + 46 + len("lab01.py") : directory + 46 + len("lab01.py")] = extra
        end += len(extra)
        data[end + 12 : end + 16] = (end - directory).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize("how", ["LZMA", "LZMA stream", "local name", "negative offset", "offset of 2^63"])
def test_a_damaged_zip_is_its_own_rows_sentence(tmp_path, hand, how):
    entries, _, _ = hand({"u1/work.zip": damaged(how), "u2/lab01.py": B})
    assert entries["u1"].problem.kind == "bad_archive" and "cannot be unpacked" in entries["u1"].problem.message
    assert entries["u2"].source == source_digest(B)
    (tmp_path / "class.zip").write_bytes(damaged(how))  # as what the instructor names: no bug of ours either
    with contextlib.suppress(UsageError):
        hand({}, path=tmp_path / "class.zip")


@pytest.mark.parametrize("more", [["--dry-run"], []], ids=["dry run", "run"])
def test_a_class_with_all_of_them_is_graded(tmp_path, course, more):
    kinds = ["LZMA", "LZMA stream", "local name", "negative offset", "offset of 2^63"]
    files = {f"in/u{n}/work.zip": damaged(how) for n, how in enumerate(kinds)} | {"in/honest/lab01.py": A}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(content)
    code, out, err = cohort(course, tmp_path / "in", "-o", tmp_path / "out", *more)
    assert code == 0, err
    if more:
        assert out.count("cannot be unpacked") == len(kinds) and "honest" in out
    else:
        rows = read_cohort(tmp_path / "out").rows
        assert sorted(row.problem.kind if row.problem else "" for row in rows) == ["", *["bad_archive"] * len(kinds)]


def test_of_many_files_that_could_be_meant_few_are_read(hand, monkeypatch):
    read = []
    inner = archives.read_capped
    monkeypatch.setattr(archives, "read_capped", lambda file, name: read.append(name) or inner(file, name))
    many = {f"lab01 ({number}).py": b"x = %d\n" % number for number in range(1500)}
    entries, _, _ = hand({"u1/work.zip": zipped({"lab01.py": A} | many)})
    assert entries["u1"].source == source_digest(A) and len(read) < 150


SLOW = b"def f():\n" + b" 1;1;1;1;1;1;1;1\n" * 6000  # 100 kB that pack into 300 bytes


@pytest.mark.parametrize(
    "files",
    [{"lab01.py": SLOW}, {"a.py": SLOW + b"\n"} | {f"{n}.py": SLOW for n in range(50)}],
    ids=["within the only file", "between files"],
)
@pytest.mark.parametrize("packed", [True, False], ids=["zip", "folder"])
def test_looking_for_a_file_has_an_end_for_each_student(hand, monkeypatch, files, packed):
    monkeypatch.setattr("grader.cohort.find.MAX_SECONDS", 0.1)
    slow = {}
    handed = {"u1/work.zip": zipped(files)} if packed else {f"u1/{name}": content for name, content in files.items()}
    entries, _, _ = hand(handed | {"u2/lab01.py": B, "u3/lab01.py": A}, slow=slow)
    assert entries["u1"].source is None and entries["u1"].problem.kind == "unreadable"
    assert "more than 0.1 s of computing to look through it; hand in lab01.py alone" in entries["u1"].problem.message
    assert (entries["u2"].source, entries["u3"].source) == (source_digest(B), source_digest(A))
    # What took too long is not looked through again, until it is another file.
    looked = []
    inner = find_module._chosen
    monkeypatch.setattr(find_module, "_chosen", lambda files, lab: looked.append(files) or inner(files, lab))
    assert hand({}, slow=slow)[0]["u1"].problem == entries["u1"].problem and len(slow) == 1 and len(looked) == 2
    if packed:
        assert hand({"u1/work.zip": zipped({"lab01.py": A})}, slow=slow)[0]["u1"].source == source_digest(A)


def test_what_takes_too_long_is_remembered_by_the_folder_of_results(tmp_path, course, monkeypatch):
    for name, content in {"u1": SLOW, "u2": A}.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "lab01.py").write_bytes(content)
    monkeypatch.setattr(find_module, "MAX_SECONDS", 0.1)
    looked = []
    inner = find_module._chosen
    monkeypatch.setattr(find_module, "_chosen", lambda files, lab: looked.append(files) or inner(files, lab))
    words = (tmp_path / "in", "-o", tmp_path / "out")
    for count, more in ((2, ()), (3, ()), (4, ("--dry-run",))):  # both, then one in each run
        assert cohort(course, *words, *more)[0] == 0 and len(looked) == count
    assert [row.problem and row.problem.kind for row in read_cohort(tmp_path / "out").rows].count("unreadable") == 1


def test_a_reader_that_catches_everything_does_not_catch_the_end(monkeypatch):
    def reads_for_ever():
        while True:
            with contextlib.suppress(Exception):
                sum(range(100))

    with pytest.raises(SubmissionError, match=r"more than 0\.05 s"), at_most(0.05, "lab01.py"):
        reads_for_ever()
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0) and signal.getsignal(signal.SIGPROF) is signal.SIG_DFL


def burns():
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass


class Falls:
    def __del__(self):
        burns()


def makes_another_error_of_it():
    try:
        burns()
    except BaseException:
        raise SystemError from None


@pytest.mark.parametrize("block", [Falls, makes_another_error_of_it])
def test_a_ring_that_does_not_come_through_counts_and_nobody_hears_of_it(monkeypatch, block):
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    with pytest.raises(SubmissionError, match=r"more than 0\.05 s"), at_most(0.05, "lab01.py"):
        block()
    assert heard == [] and sys.unraisablehook == heard.append


def test_a_zip64_table_of_contents_is_not_read(hand):
    data = zipped({"lab01.py": A})
    end = data.rindex(b"PK\x05\x06")
    locator = b"PK\x06\x07" + bytes(16)
    entries, _, _ = hand({"u1/x.zip": data[:end] + locator + data[end:], "u2/lab01.py": B})
    assert "far more files" in entries["u1"].problem.message and entries["u2"].source == source_digest(B)


@pytest.mark.parametrize("files", [{}, {"notes.txt": b""}, {"__MACOSX/x": b""}], ids=["empty", "no work", "junk"])
def test_a_class_in_which_nobody_handed_in_anything_is_a_wrong_word(tmp_path, hand, files):
    (tmp_path / "class.zip").write_bytes(zipped(files))
    if files.keys() == {"notes.txt"}:
        entries, _, _ = hand({}, path=tmp_path / "class.zip")  # a loose file alone is a submission without code
        assert entries["notes.txt"].problem.kind == "missing"
        return
    with pytest.raises(UsageError, match="nobody handed in anything"):
        hand({}, path=tmp_path / "class.zip")


def test_a_folder_of_results_inside_the_submissions_is_no_student(tmp_path, hand):
    files = {"u1/lab01.py": A, "u2/lab01.py": B, "out/students.key.json": b"{}", "out/students/s001.html": b""}
    entries, found, _ = hand(files)
    assert entries.keys() == {"u1", "u2"} and found.ignored == ["out: results that `grade cohort` wrote"]
    with pytest.raises(UsageError, match="folder of results"):
        hand({}, path=tmp_path / "subs" / "out")


# Clones


def clone(folder: Path, content: bytes):
    def git(*words):
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@y", *words]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    folder.mkdir(parents=True)
    git("init", "-q")
    (folder / "lab01.py").write_bytes(content)
    git("add", "-A")
    git("commit", "-q", "-m", "x")
    return git


def test_a_students_own_tag_says_nothing_about_time(tmp_path, hand):
    git = clone(tmp_path / "subs" / "ann", A)
    git("tag", f"submit/20261101T000000Z-{git('rev-parse', 'HEAD')[:12]}")
    clone(tmp_path / "subs" / "bob", B)
    entries, _, _ = hand({})
    assert entries["ann"].submitted_at is None and entries["ann"].source == source_digest(A)
    assert any("--submit-tags" in note for note in entries["ann"].notes)
    assert hand({}, trust_tags=True)[0]["ann"].submitted_at.day == 1


@pytest.mark.parametrize("how", ["alternates", "linked ref", "linked objects", "commondir"])
def test_a_clone_that_leads_elsewhere_is_read_as_a_plain_folder(tmp_path, hand, how):
    secret = clone(tmp_path / "secret", source("the course's reference"))
    clone(tmp_path / "subs" / "bob", B)
    clone(tmp_path / "subs" / "eve", A)
    git, theirs = tmp_path / "subs" / "eve" / ".git", tmp_path / "secret" / ".git"
    head = secret("rev-parse", "HEAD")
    branch = (git / "HEAD").read_text().split()[1]
    if how == "alternates":
        (git / "objects" / "info").mkdir(exist_ok=True)
        (git / "objects" / "info" / "alternates").write_text(f"{theirs / 'objects'}\n")
        (git / branch).write_text(f"{head}\n")
    elif how == "linked ref":
        (git / branch).unlink()
        (git / branch).symlink_to(theirs / branch)
    elif how == "linked objects":
        shutil.rmtree(git / "objects" / head[:2], ignore_errors=True)  # names are hashes of the time: some begin alike
        (git / "objects" / head[:2]).symlink_to(theirs / "objects" / head[:2])
    else:
        (git / "commondir").write_text(str(theirs))
    entries, _, _ = hand({})
    assert entries["eve"].source == source_digest(A) and entries["bob"].source == source_digest(B)
    assert "the files beside it were taken" in entries["eve"].notes[0]


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(rf"{re.escape(MADE_BY)}\n(\|.*\n)+", table() + "\n", text), encoding="utf-8")
