"""Every way in which submissions arrive, made here as the LMS makes it."""

import io
import json
import os
import stat
import subprocess
import zipfile
from datetime import UTC, datetime

import pytest

from grader.cohort import archives
from grader.cohort.find import find, mapping
from grader.cohort.roster import read_key
from grader.cohort.sources import Sources
from grader.digests import source_digest
from grader.errors import UsageError
from tests import toy

DEADLINE = datetime(2026, 11, 22, 22, 59, tzinfo=UTC)


def source(mark: str) -> bytes:
    return f"def scale(x, factor):\n    return x * factor  # {mark}\n".encode()


def kept(mark: str) -> str:
    return source_digest(source(mark))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course")).lab("lab01")


@pytest.fixture
def found(tmp_path, lab):
    def run(path, **options):
        with Sources() as sources:
            result = find(path, lab, key_path=tmp_path / "key.json", sources=sources, **options)
            for entry in result.entries:
                if entry.source is not None:
                    assert source_digest(sources.read(entry.source)) == entry.source
        return result

    return run


@pytest.fixture
def key(tmp_path):
    return lambda: read_key(tmp_path / "key.json").students


def lay(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def packed(files) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def by_name(found):
    return {entry.submission: entry for entry in found.entries}


# Folders


def test_a_folder_of_folders_whether_on_disk_or_zipped_or_wrapped(tmp_path, found):
    files = {"ann/lab01.py": source("a"), "bob/lab01.py": source("b"), "bob/.DS_Store": b"x", "__MACOSX/x": b"x"}
    on_disk = found(lay(tmp_path / "subs", files))
    zipped = tmp_path / "subs.zip"
    zipped.write_bytes(packed(files))
    wrapped = tmp_path / "wrapped.zip"
    wrapped.write_bytes(packed({f"export/{name}": content for name, content in files.items()}))
    assert on_disk.layout == "folders" and on_disk.ignored == ["__MACOSX"]
    assert found(zipped) == on_disk
    assert found(wrapped) == on_disk.model_copy(update={"notes": ["looked through export"]})
    assert {name: entry.source for name, entry in by_name(on_disk).items()} == {"ann": kept("a"), "bob": kept("b")}
    assert sorted(entry.student for entry in on_disk.entries) == ["s001", "s002"]


def test_a_folder_that_is_a_pseudonym_already_keeps_it(tmp_path, found):
    subs = lay(
        tmp_path / "subs", {"s017/lab01.py": source("a"), "s002/lab01.py": source("b"), "zoe/lab01.py": source("c")}
    )
    assert {e.submission: e.student for e in found(subs).entries} == {"s017": "s017", "s002": "s002", "zoe": "s001"}


def test_the_only_student_is_not_taken_for_a_wrapper(tmp_path, found):
    assert by_name(found(lay(tmp_path / "subs", {"ann/lab01.py": source("a")}))).keys() == {"ann"}


def test_pseudonyms_stay_and_say_nothing_about_the_alphabet(tmp_path, found, key):
    names = [f"{letter}name" for letter in "abcdefghijkl"]
    subs = lay(tmp_path / "subs", {f"{name}/lab01.py": source(name) for name in names})
    first = {e.submission: e.student for e in found(subs).entries}
    assert [first[name] for name in names] != sorted(first.values())
    lay(subs, {"aaron/lab01.py": source("new"), "aname/lab01.py": source("changed")})
    second = {e.submission: e.student for e in found(subs).entries}
    assert second == first | {"aaron": "s013"}
    assert key()["s013"].identity == "folder:aaron"


def test_the_same_class_gets_the_same_pseudonyms_elsewhere(tmp_path, lab):
    subs = lay(tmp_path / "subs", {f"{name}/lab01.py": source(name) for name in "abcdefgh"})
    with Sources() as sources:
        one, two = (find(subs, lab, key_path=tmp_path / key, sources=sources) for key in ("one.json", "two.json"))
    assert one == two


def test_the_key_file_is_for_its_owner_alone(tmp_path, found):
    found(lay(tmp_path / "subs", {"ann/lab01.py": source("a")}))
    assert stat.S_IMODE((tmp_path / "key.json").stat().st_mode) == 0o600
    assert json.loads((tmp_path / "key.json").read_text())["students"]["s001"]["submission"] == "ann"


def test_a_key_file_that_is_none_is_not_overwritten(tmp_path, found):
    (tmp_path / "key.json").write_text("{}]")
    with pytest.raises(UsageError, match=r"key\.json is not a key file"):
        found(lay(tmp_path / "subs", {"ann/lab01.py": source("a")}))
    assert (tmp_path / "key.json").read_text() == "{}]"


# Which file counts


@pytest.mark.parametrize(
    ("files", "filename", "says"),
    [
        ({"Lab01.py": source("a")}, "Lab01.py", "Lab01.py was taken as lab01.py."),
        ({"my lab01 (2).py": source("a")}, "my lab01 (2).py", "my lab01 (2).py was taken as lab01.py."),
        ({"homework.py": source("a"), "plot.py": b"x = 1\n"}, "homework.py", "homework.py was taken as lab01.py."),
        ({"other.py": b"x = 1\n"}, "other.py", "other.py was taken as lab01.py."),
        ({"lab01.py.txt": source("a")}, "lab01.py.txt", "lab01.py.txt was taken as lab01.py."),
        ({"a/b/lab01.py": source("a")}, "lab01.py", ""),
        (
            {"lab01.py": source("a"), "old/lab01.py": source("b")},
            "lab01.py",
            "There is another file that could be meant (lab01.py); lab01.py counts.",
        ),
        (
            {"lab01.py": source("a"), "lab01 copy.py": source("b"), "old_lab01.py": source("c"), "plot.py": b"x = 1\n"},
            "lab01.py",
            "There are 2 other files that could be meant (lab01 copy.py, old_lab01.py); lab01.py counts.",
        ),
        ({"lab01.py": source("a"), "lab01 copy.py": source("a")}, "lab01.py", ""),
        ({"a/lab01.py": source("a"), "b/lab01.py": source("a")}, "lab01.py", ""),
        ({"work.zip": packed({"lab01.py": source("a"), "__MACOSX/._lab01.py": b"\0"})}, "lab01.py", ""),
    ],
    ids=[
        "case",
        "version",
        "defines a task",
        "the only one",
        "an extension that Windows hides",
        "deep",
        "outermost",
        "by name, beside others",
        "by name, beside a copy",
        "equal",
        "zip",
    ],
)
def test_the_file_that_is_meant_is_found_and_said(tmp_path, found, files, filename, says):
    subs = lay(tmp_path / "subs", {f"ann/{name}": content for name, content in files.items()})
    entry = found(lay(subs, {"bob/lab01.py": source("z")})).entries
    entry = next(e for e in entry if e.submission == "ann")
    assert (entry.filename, entry.problem, " ".join(entry.notes)) == (filename, None, says)
    assert entry.source == source_digest(b"x = 1\n" if filename == "other.py" else source("a"))


@pytest.mark.parametrize(
    ("files", "kind", "says"),
    [
        ({"notes.txt": b"hello"}, "missing", "no lab01.py was handed in, but notes.txt. Hand in lab01.py itself."),
        (
            {"lab01.ipynb": b"{}"},
            "notebook",
            "lab01.ipynb is a notebook, which is not graded. Save it as a Python file",
        ),
        (
            {"lab01.ipynb": b"{}", "utils.py": b"x = 1\n"},
            "notebook",
            "lab01.ipynb is a notebook, which is not graded. Save it as a Python file, lab01.py.",
        ),
        ({"lab01.py": b'{"cells": [], "nbformat": 4}'}, "notebook", "lab01.py is a notebook"),
        ({"lab01.rar": b"Rar!"}, "bad_archive", "lab01.rar is an archive of a kind that is not read"),
        ({"lab01.7z": b"7z"}, "bad_archive", "lab01.7z is an archive of a kind that is not read"),
        ({"lab01.tar.gz": b"\x1f\x8b"}, "bad_archive", "lab01.tar.gz cannot be unpacked"),
        ({"lab01.py": "x = 1\n".encode("utf-16")}, "not_text", "lab01.py is UTF-16, not UTF-8. Save it as UTF-8."),
        (
            {"a/lab01.py": source("a"), "b/lab01.py": source("b")},
            "several",
            "several files could be the submission: a/lab01.py, b/lab01.py. Keep one, named lab01.py.",
        ),
        ({"lab01.py": b"def scale(:\n"}, "syntax_error", "SyntaxError"),
        ({"lab01.py": b"# \xff\n"}, "not_text", "not UTF-8: a wrong byte on line 1"),
        ({"lab01.py": b"#" * (1 << 21)}, "too_large", "larger than 1 MiB"),
        ({"lab01.zip": b"no zip"}, "bad_archive", "lab01.zip is not a zip file; hand in the Python file itself."),
        ({"lab01.zip": packed({"b.zip": packed({"lab01.py": b""})})}, "bad_archive", "b.zip is an archive within"),
        (
            {"lab01.zip": packed({"../lab01.py": source("a")})},
            "unsafe_archive",
            "../lab01.py leads out of its archive.",
        ),
        ({"lab01.zip": packed({"/etc/lab01.py": source("a")})}, "unsafe_archive", "leads out of its archive."),
        ({"lab01.zip": packed({"lab01.py": b"#" * (1 << 24)})}, "unsafe_archive", "would unpack to 16 MiB of padding."),
        (
            {"lab01.zip": packed({f"{n}.txt": b"" for n in range(2001)})},
            "unsafe_archive",
            "holds more than 2000 files.",
        ),
        ({"lab01.zip": packed({f"{n:04}" * 1000: b"" for n in range(300)})}, "unsafe_archive", "lists far more files"),
        ({"lab01.zip": packed({"lab01.py": source("a")})[:-40]}, "bad_archive", "lab01.zip"),
        ({"lab01.zip": os.urandom((16 << 20) + 1)}, "too_large", "lab01.zip is larger than 16 MiB."),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_cannot_be_graded_is_an_entry_with_a_sentence_and_stops_nobody(tmp_path, found, files, kind, says):
    subs = lay(tmp_path / "subs", {f"ann/{name}": content for name, content in files.items()})
    entries = by_name(found(lay(subs, {"bob/lab01.py": source("b")})))
    ann = entries["ann"]
    assert ann.source is None and ann.problem.kind == kind and says in ann.problem.message
    assert entries["bob"].source == kept("b")


def test_a_declared_encoding_is_read_as_python_reads_it(tmp_path, found):
    declared = b"# -*- coding: latin-1 -*-\n# \xe9\n" + source("a")
    subs = lay(tmp_path / "subs", {"ann/lab01.py": declared, "bob/lab01.py": source("b")})
    ann = by_name(found(subs))["ann"]
    assert ann.problem is None and ann.source == source_digest(declared)


def test_an_archive_that_would_unpack_to_too_much(tmp_path, found, monkeypatch):
    monkeypatch.setattr(archives, "MAX_INNER_UNPACKED", 3 << 20)
    files = {"lab01.py": source("a")} | {f"{n}.txt": os.urandom(1 << 20) for n in range(4)}
    subs = lay(tmp_path / "subs", {"ann/lab01.zip": packed(files), "bob/lab01.py": source("b")})
    assert "would unpack to more than 3 MiB" in by_name(found(subs))["ann"].problem.message


def test_junk_is_no_submission(tmp_path, found):
    subs = lay(tmp_path / "subs", {"ann/__pycache__/lab01.py": source("a"), "ann/.DS_Store": b"x"})
    entries = by_name(found(lay(subs, {"bob/lab01.py": source("b"), "bob/.venv/lab01.py": source("c")})))
    assert entries["ann"].problem.message == "no lab01.py was handed in."
    assert entries["bob"].source == kept("b") and entries["bob"].notes == []


def test_beside_folders_a_file_that_is_no_code_is_the_instructors(tmp_path, found):
    subs = lay(tmp_path / "subs", {"ann/lab01.py": source("a"), "roster.csv": b"x", "bob.py": source("b")})
    result = found(subs)
    assert by_name(result).keys() == {"ann", "bob.py"} and result.ignored == ["roster.csv"]
    flat = found(lay(tmp_path / "flat", {"ann.py": source("a"), "bob.pdf": b"%PDF"}))
    assert by_name(flat)["bob.pdf"].problem.kind == "missing" and flat.ignored == []


def test_a_class_of_a_thousand_is_in_order(tmp_path, found):
    entries = found(lay(tmp_path / "subs", {f"s{n}/lab01.py": source("same") for n in (998, 999, 1000)})).entries
    assert [entry.student for entry in entries] == ["s998", "s999", "s1000"]
    assert entries[0].notes == ["The same file, byte for byte, as s999, s1000."]


def test_an_empty_folder_is_a_student_without_a_file(tmp_path, found):
    subs = lay(tmp_path / "subs", {"bob/lab01.py": source("b")})
    (subs / "ann").mkdir()
    assert by_name(found(subs))["ann"].problem.message == "no lab01.py was handed in."


def test_links_are_not_followed(tmp_path, found):
    subs = lay(tmp_path / "subs", {"bob/lab01.py": source("b"), "ann/readme": b""})
    (subs / "ann" / "lab01.py").symlink_to(subs / "bob" / "lab01.py")
    (subs / "eve").symlink_to(subs / "bob")
    entries = by_name(found(subs))
    for name in ("ann", "eve"):
        assert entries[name].source is None and entries[name].problem.kind == "symlink"


def test_links_passwords_and_ways_out_of_the_instructors_own_archive(tmp_path, found):
    link = zipfile.ZipInfo("ann/lab01.py")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "subs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "../bob/lab01.py")
        for name in ("bob/lab01.py", "../evil/lab01.py", "/abs/lab01.py", "C:\\win\\lab01.py", "carl\\lab01.py"):
            archive.writestr(name, source(name))
        archive.writestr("dora/lab01.py", source("d"))
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02")  # dora's line of the table of contents: say that she is encrypted
    path.write_bytes(data[: at + 8] + b"\x01" + data[at + 9 :])
    result = found(path)
    entries = by_name(result)
    assert {name: e.problem and e.problem.kind for name, e in entries.items()} == {
        "ann": "symlink",
        "bob": None,
        "carl": None,
        "dora": "bad_archive",
    }
    assert entries["dora"].problem.message == "dora/lab01.py is encrypted; hand it in without a password."
    assert [line.split()[0] for line in result.ignored] == ["../evil/lab01.py", "/abs/lab01.py", "C:/win/lab01.py"]


def test_what_is_damaged_inside_the_instructors_archive_is_one_students_problem(tmp_path, found):
    path = tmp_path / "subs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ann/lab01.py", source("a"))
        archive.writestr("bob/lab01.py", source("b"))
    path.write_bytes(path.read_bytes().replace(b"# a", b"# A"))
    entries = by_name(found(path))
    assert entries["ann"].problem.kind == "bad_archive" and "CRC" in entries["ann"].problem.message
    assert entries["bob"].source == kept("b")


@pytest.mark.parametrize("code", ["utf-8", "cp437"])
def test_names_in_an_archive_that_does_not_say_how_they_are_written(tmp_path, found, key, code):
    name = "Müller Zoë_7_assignsubmission_file_/lab01.py".encode(code)
    path = tmp_path / "subs.zip"
    path.write_bytes(packed({"x" * len(name): source("m")}).replace(b"x" * len(name), name))
    result = found(path)
    assert result.layout == "moodle" and key()["s001"].people[0].name == "Müller Zoë"


def test_names_that_no_screen_should_see_are_cleaned(tmp_path, found):
    subs = lay(tmp_path / "subs", {"a\x1b[2Jnn/lab01.py": source("a")})
    path = os.fsencode(subs) + b"/b\xffb"
    os.mkdir(path)  # noqa: PTH102
    assert by_name(found(subs)).keys() == {"a\\x1b[2Jnn", "b\\xffb"}


@pytest.mark.parametrize("content", [None, b"no zip"], ids=["nothing there", "another file"])
def test_what_is_neither_folder_nor_archive(tmp_path, found, content):
    path = tmp_path / "subs.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"subs\.zip"):
        found(path)


def test_twins_and_untouched_starters_are_said(tmp_path, found, lab):
    starter = lab.starter.replace("\n", "\r\n").encode()
    subs = lay(tmp_path / "subs", {f"{n}/lab01.py": source("same") for n in ("s001", "s002", "s003")})
    lay(subs, {"s004/lab01.py": starter, "s005/lab01.py": starter, "s006/lab01.py": source("own")})
    notes = {entry.student: entry.notes for entry in found(subs).entries}
    assert notes["s002"] == ["The same file, byte for byte, as s001, s003."]
    assert notes["s004"] == notes["s005"] == ["It is the lab's starter, unchanged."] and notes["s006"] == []


# Canvas


def test_canvas(tmp_path, found, key):
    path = tmp_path / "submissions.zip"
    path.write_bytes(
        packed(
            {
                "smithbob_340934_208490284_lab01.py": source("bob"),
                "doejane_LATE_340935_208490285_lab01-2.py": source("jane 2"),
                "doejane_LATE_340935_208490286_notes.txt": b"",
                "leeann_340936_208490287_lab01.py": source("ann old"),
                "leeann_340936_208490288_lab01-1.py": source("ann new"),
                "kimzoe_340937_208490289_my_lab01_file.py": source("zoe"),
                "quxpat_340938_208490290_work.zip": packed({"lab01.py": source("pat")}),
                "strange.py": source("strange"),
            }
        )
    )
    result = found(path)
    entries = by_name(result)
    assert result.layout == "canvas"
    assert {name: entry.source for name, entry in entries.items()} == {
        "340934_208490284_lab01.py": kept("bob"),
        "340935_208490285_lab01-2.py": kept("jane 2"),
        "340936_208490288_lab01-1.py": kept("ann new"),
        "340937_208490289_my_lab01_file.py": kept("zoe"),
        "340938_208490290_work.zip": kept("pat"),
        "strange.py": kept("strange"),
    }
    jane, ann = entries["340935_208490285_lab01-2.py"], entries["340936_208490288_lab01-1.py"]
    assert jane.late and jane.attempts == 3 and jane.filename == "lab01.py"
    assert not ann.late and ann.attempts == 2
    assert "There is another file that could be meant (lab01.py); lab01.py counts." in ann.notes
    assert entries["strange.py"].notes[0] == "Its name is not one that Canvas gives."
    who = key()[jane.student]
    assert who.submission == "doejane_LATE_340935_208490285_lab01-2.py"
    assert (who.people[0].name, who.people[0].lms) == ("doejane", "canvas:340935")
    assert not any(name in result.model_dump_json() for name in ("smith", "doejane", "leeann"))


def test_canvas_anonymous(tmp_path, found, key):
    subs = lay(
        tmp_path / "subs", {"anon_x7Kq2_208490284_lab01.py": source("a"), "anon_LATE_b81Zz_9_lab01.py": source("b")}
    )
    entries = by_name(found(subs))
    assert entries["b81Zz_9_lab01.py"].late and key()["s001"].people[0].name == ""


# Moodle


@pytest.mark.parametrize("flat", [False, True])
def test_moodle(tmp_path, found, key, flat):
    between = "" if flat else "/"
    files = {
        f"Ricky Dindial_657721_assignsubmission_file_{between}lab01.py": source("r"),
        f"Zoë O'Neil_657722_assignsubmission_file_{between}Lab01.py": source("z"),
        f"Zoë O'Neil_657722_assignsubmission_onlinetext_{between}onlinetext.html": b"<p>hi</p>",
    }
    path = tmp_path / "moodle.zip"
    path.write_bytes(packed(files))
    result = found(path)
    entries = by_name(result)
    assert result.layout == "moodle"
    assert entries.keys() == {"657721_assignsubmission_file_", "657722_assignsubmission_file_"}
    zoe = entries["657722_assignsubmission_file_"]
    assert zoe.source == kept("z") and zoe.filename == "Lab01.py"
    assert result.ignored == ["657722_assignsubmission_onlinetext: text typed into Moodle is not graded"]
    assert key()[zoe.student].submission == "Zoë O'Neil_657722_assignsubmission_file_"
    assert "Dindial" not in result.model_dump_json()


def test_moodle_blind(tmp_path, found, key):
    subs = lay(tmp_path / "subs", {"Teilnehmer_657721_assignsubmission_file_/lab01.py": source("a")})
    assert found(subs).layout == "moodle" and key()["s001"].people[0].name == ""


# Gradescope

METADATA = """\
---
submission_123:
  :submitters:
  - :name: Ann Lee
    :sid: '00123'
    :email: ann@uni.edu
  - :name: Bob Smith
    :sid: '00124'
    :email: bob@uni.edu
  :created_at: 2026-11-22 21:00:00.123000000 Z
  :score: 3.0
  :results: !ruby/hash:ActiveSupport::HashWithIndifferentAccess
    tests: []
  :history:
  - :id: 100
    :created_at: 2026-11-20 21:00:00.000000000 Z
submission_124:
  :submitters:
  - :name: Cy Young
    :sid:
    :email: cy@uni.edu
  :created_at: 2026-11-23 00:00:00.000000000 +01:00
submission_125:
  :submitters:
  - :name: Di Ray
    :email: di@uni.edu
  :created_at: 2026-11-22 20:00:00 Z
"""


def test_gradescope_with_a_group_a_late_one_and_one_without_a_folder(tmp_path, found, key):
    export = {
        "assignment_9100_export/submission_metadata.yml": METADATA.encode(),
        "assignment_9100_export/submission_123/lab01.py": source("group"),
        "assignment_9100_export/submission_124/lab01.py": source("cy"),
    }
    path = tmp_path / "export.zip"
    path.write_bytes(packed(export))
    result = found(path, deadline=DEADLINE)
    entries = by_name(result)
    assert result.layout == "gradescope" and entries.keys() == {"submission_123", "submission_124", "submission_125"}
    group = entries["submission_123"]
    assert group.source == kept("group") and group.attempts == 2 and not group.late and group.due == DEADLINE
    assert group.submitted_at == datetime(2026, 11, 22, 21, 0, 0, 123000, tzinfo=UTC)
    assert group.notes == ["Attempt 2; earlier ones are not in the export."]
    assert [(p.name, p.sid, p.email) for p in key()[group.student].people] == [
        ("Ann Lee", "00123", "ann@uni.edu"),
        ("Bob Smith", "00124", "bob@uni.edu"),
    ]
    cy = entries["submission_124"]
    assert cy.late and cy.submitted_at == datetime(2026, 11, 22, 23, 0, tzinfo=UTC)
    assert entries["submission_125"].problem.kind == "missing"
    assert "Ann" not in result.model_dump_json()


@pytest.mark.parametrize(
    "text",
    ["- a list", "a: &x [*x", "!!python/object/apply:os.system ['true']", "\x00"],
    ids=["list", "bad", "object", "nul"],
)
def test_gradescopes_metadata_is_data(tmp_path, found, text):
    subs = lay(tmp_path / "subs", {"submission_metadata.yml": text.encode(), "submission_1/lab01.py": source("a")})
    with pytest.raises(UsageError, match=r"submission_metadata\.yml"):
        found(subs)


# Brightspace


def test_brightspace_counts_the_last_attempt_before_the_deadline(tmp_path, found, key):
    subs = lay(
        tmp_path / "subs",
        {
            "12345-678 - Jane Doe - Nov 20, 2026 604 PM/lab01.py": source("first"),
            "12345-678 - Jane Doe - Nov 22, 2026 1159 PM/lab01.py": source("second"),
            "12345-678 - Jane Doe - Nov 23, 2026 1205 AM/lab01.py": source("late"),
            "12346-678 - Rob Roe - Nov 23, 2026 1205 AM/lab01.py": source("rob"),
            "index.html": b"",
        },
    )
    berlin = datetime.fromisoformat("2026-11-22T23:59:00+01:00")
    result = found(subs, deadline=berlin)
    jane, rob = sorted(result.entries, key=lambda e: e.attempts, reverse=True)
    assert result.layout == "brightspace" and result.ignored == ["index.html"]
    assert jane.source == kept("second") and jane.attempts == 3 and not jane.late
    assert jane.submitted_at == datetime(2026, 11, 22, 22, 59, tzinfo=UTC)
    assert jane.notes == ["3 attempts; the last before the deadline counts: 2026-11-22T22:59+00:00."]
    assert rob.late and "Jane" not in result.model_dump_json() and key()[jane.student].people[0].name == "Jane Doe"
    # Without a deadline there is no zone, so no moment; the order still says which is last.
    jane = next(e for e in found(subs).entries if e.attempts == 3)
    assert jane.source == kept("late") and jane.submitted_at is None and not jane.late


# Repositories


def repository(folder, commits):
    def git(*words):
        identity = {
            "GIT_AUTHOR_NAME": "x",
            "GIT_AUTHOR_EMAIL": "x@y",
            "GIT_COMMITTER_NAME": "x",
            "GIT_COMMITTER_EMAIL": "x@y",
        }
        clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | identity
        done = subprocess.run(["git", *words], cwd=folder, env=clean, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    folder.mkdir(parents=True, exist_ok=True)
    git("init", "-q")
    for files, tag in commits:
        lay(folder, files)
        git("add", "-A")
        git("commit", "-q", "-m", "x")
        if tag:
            git("tag", tag.format(commit=git("rev-parse", "HEAD")[:12]))
    return git


def test_clones_with_submit_tags(tmp_path, found):
    subs = tmp_path / "subs"
    repository(
        subs / "ann",
        [
            ({"lab01.py": source("in time")}, "submit/20261122T200000Z-{commit}"),
            ({"lab01.py": source("too late")}, "submit/2026-11-23T02-00-00Z-{commit}"),
            ({"lab01.py": source("forged")}, "submit/20261122T210000Z-0123456789ab"),
        ],
    )
    repository(subs / "bob", [({"lab01.py": source("head"), "sub/x.py": b""}, None)])
    (subs / "bob" / "lab01.py").write_bytes(source("not committed"))
    (subs / "cat" / ".git").mkdir(parents=True)
    (subs / "dan").mkdir()
    (subs / "dan" / "lab01.py").symlink_to("other.py")
    repository(subs / "dan", [({"other.txt": b""}, None)])
    result = found(subs, deadline=DEADLINE, trust_tags=True)
    entries = by_name(result)
    assert result.layout == "git"
    assert entries["ann"].source == kept("in time") and entries["ann"].attempts == 2 and not entries["ann"].late
    assert entries["ann"].submitted_at == datetime(2026, 11, 22, 20, tzinfo=UTC)
    assert any("submit/20261122T210000Z-0123456789ab does not name" in note for note in entries["ann"].notes)
    assert entries["bob"].source == kept("head") and entries["bob"].submitted_at is None
    assert entries["bob"].notes == ["Its last commit was taken; when that was pushed is not known."]
    assert entries["cat"].problem.kind == "missing" and entries["dan"].problem.kind == "symlink"


def test_a_clones_own_configuration_runs_nothing(tmp_path, found):
    subs, marker = tmp_path / "subs", tmp_path / "ran"
    git = repository(subs / "eve", [({"lab01.py": source("eve")}, None)])
    repository(subs / "bob", [({"lab01.py": source("bob")}, None)])
    for name in ("core.fsmonitor", "core.sshCommand", "core.pager", "remote.origin.uploadpack"):
        git("config", name, f"touch {marker};")
    git("config", "remote.origin.url", str(subs / "bob"))
    git("config", "remote.origin.promisor", "true")
    git("config", "extensions.partialClone", "origin")
    blob = git("rev-parse", "HEAD:lab01.py")
    (subs / "eve" / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    entries = by_name(found(subs))
    assert not marker.exists()
    assert entries["eve"].source is None and entries["bob"].source == kept("bob")


def test_classroom_folders_lose_the_labs_prefix_in_the_key(tmp_path, found, key):
    subs = lay(
        tmp_path / "dl" / "lab01-submissions",
        {"lab01-ann-lee/lab01.py": source("a"), "lab01-bob/lab01.py": source("b")},
    )
    result = found(subs.parent)
    assert result.layout == "classroom" and by_name(result).keys() == {"lab01-ann-lee", "lab01-bob"}
    assert {line.people[0].login for line in key().values()} == {"ann-lee", "bob"}


# All of them


def test_a_layout_can_be_forced_and_an_unknown_one_is_refused(tmp_path, found):
    subs = lay(tmp_path / "subs", {"lab01-ann/lab01.py": source("a"), "lab01-bob/lab01.py": source("b")})
    assert found(subs, layout="folders").layout == "folders"
    with pytest.raises(UsageError, match="no layout 'blackboard'"):
        found(subs, layout="blackboard")


def test_a_deadline_without_a_time_zone_is_refused(tmp_path, found):
    with pytest.raises(UsageError, match="no time zone"):
        found(lay(tmp_path / "subs", {"ann/lab01.py": b""}), deadline=datetime(2026, 11, 22))


def test_the_mapping_is_a_table_with_every_problem_in_words(tmp_path, found):
    roster = tmp_path / "roster.csv"
    roster.write_text("login\ns001\ns002\nzed\n")
    subs = lay(tmp_path / "subs", {"s001/lab01.py": source("a"), "s002/notes.txt": b""})
    assert mapping(found(subs, roster=roster)) == [
        ("s001", "s001", "lab01.py", "-", ""),
        ("s002", "s002", "-", "-", "no lab01.py was handed in, but notes.txt. Hand in lab01.py itself."),
        ("s003", "-", "-", "-", "On the roster, but nothing was handed in."),
    ]
