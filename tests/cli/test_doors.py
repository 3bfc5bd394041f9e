"""The judge's own doors: what a folder that somebody has handed in may decide about the grading of it."""

import os
import shutil
import subprocess

import pytest

from grader.course import load
from grader.results import LabResult
from tests import toy
from tests.toy import ROOT

RIGHT = ROOT / "fixtures" / "submissions" / "right" / "lab01.py"


def grade_here(cwd, *words, **environment):
    """Run `grade` where nobody has named a course."""
    clean = {name: value for name, value in os.environ.items() if name not in ("GRADE_COURSE", "CI")}
    return subprocess.run(
        [str(toy.GRADE), *words],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=200,
    )


# Which course judges


@pytest.fixture
def handed_in(tmp_path):
    """A folder with a right lab01.py and a course whose checks, run by the judge, leave a mark."""
    checks = f"open({str(tmp_path / 'mark')!r}, 'w')\n" + toy.CHECKS
    folder = toy.make(tmp_path / "ann", checks=checks).root
    shutil.copyfile(RIGHT, folder / "lab01.py")
    return folder


@pytest.mark.parametrize("words", [(), ("--require-sandbox",)], ids=["plain", "required"])
def test_a_handed_in_course_judges_nothing(tmp_path, handed_in, words):
    done = grade_here(handed_in, "lab01", "--task", "add_noise", *words)
    assert not (tmp_path / "mark").exists()
    own = load(ROOT).mark
    assert done.returncode == 0 and "7 of 7 points" not in done.stdout and own in done.stdout
    assert f"note: the course in {handed_in} is not used; --course or GRADE_COURSE names it." in done.stderr


def test_every_output_names_the_course_that_judged(tmp_path):
    root = toy.make(tmp_path / "course").root
    (tmp_path / "lab01.py").write_text(toy.REFERENCE)
    mark = load(root).mark
    done = grade_here(tmp_path, "lab01", "--course", "course", "--json", "out.json", "--html", "out.html")
    assert done.returncode == 0 and mark in done.stdout and "note:" not in done.stderr
    assert LabResult.model_validate_json((tmp_path / "out.json").read_bytes()).course == mark
    assert mark in (tmp_path / "out.html").read_text()
    (tmp_path / "lab01.py").write_text("def scale(:\n")
    assert mark in grade_here(tmp_path, "lab01", "--course", "course").stdout
    assert f"Course: {mark}, in {root}" in grade_here(tmp_path, "doctor", GRADE_COURSE="course").stdout


# What is written


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The toy course, read-only."""
    return toy.make(tmp_path_factory.mktemp("course") / "toy").root


@pytest.fixture
def outside(tmp_path):
    """A folder of the user's beside the one that was handed in, with a file that nobody may touch."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "authorized_keys").write_text("mine")
    return folder


@pytest.fixture
def folder(tmp_path):
    """A folder that was handed in, with a wrong file that prints a key."""
    folder = tmp_path / "ann"
    folder.mkdir()
    (folder / "lab01.py").write_text("print('ssh-ed25519 AAAA')\n" + toy.REFERENCE)
    return folder


def untouched(outside):
    return {path.name: path.read_text() for path in outside.iterdir()} == {"authorized_keys": "mine"}


@pytest.mark.parametrize(
    "link",
    [
        ".grade",
        ".grade/lab01",
        ".grade/pages",
        ".grade/.gitignore",
        ".grade/lab01/result.json",
        ".grade/lab01/result.json.part",
        ".grade/lab01/report.html",
        ".grade/lab01/report.html.part",
    ],
)
def test_no_link_on_the_desk_leads_out(folder, outside, course, link):
    place = folder / link
    place.parent.mkdir(parents=True, exist_ok=True)
    to_folder = link in (".grade", ".grade/lab01", ".grade/pages")
    place.symlink_to(outside if to_folder else outside / "authorized_keys")
    done = toy.grade(folder, "lab01", course=course)
    assert untouched(outside)
    assert done.returncode == 0 and "7 of 7 points" in done.stdout and "Traceback" not in done.stderr
    if to_folder:
        name = place.name
        assert f"could not be kept in .grade/ ({name} is a symbolic link, which is not followed)" in done.stderr
    else:  # the file takes the link's place
        assert done.stderr == "report: .grade/lab01/report.html\n"


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize("link", ["out", "out.part", "sub"])
def test_no_link_leads_what_was_asked_for_out(folder, outside, course, option, link):
    target = "sub/authorized_keys" if link == "sub" else "out"
    (folder / link).symlink_to(outside if link == "sub" else outside / "authorized_keys")
    done = toy.grade(folder, "lab01", option, target, course=course)
    assert untouched(outside)
    if link == "sub":
        assert done.returncode == 2 and "cannot be written: sub is a symbolic link, which is not foll" in done.stderr
    else:
        assert done.returncode == 0 and "print" not in (folder / "out").read_text()[:5]
        assert not (folder / "out").is_symlink()


def test_no_link_leads_a_script_a_starter_or_a_hint_out(folder, outside, course):
    (folder / "repro_lab01_plain.py").symlink_to(outside / "authorized_keys")
    assert toy.grade(folder, "repro", "lab01", "plain", course=course).returncode == 0
    (folder / "new").symlink_to(outside)
    done = toy.grade(folder, "start", "lab01", "new", course=course)
    assert done.returncode == 2 and "cannot be written: new is a symbolic link" in done.stderr
    (folder / ".grade").symlink_to(outside)
    assert "Hint 1 of 2" in toy.grade(folder, "hint", "lab01", "scale", course=course).stdout
    assert untouched(outside)


def test_no_link_leads_the_files_of_a_class_out(folder, outside, course):
    out = folder / "out"
    out.symlink_to(outside)
    done = toy.grade(folder, "cohort", "lab01", ".", "-o", "out", course=course)
    assert done.returncode == 2 and "out cannot be made or written: out is a symbolic link" in done.stderr
    out.unlink()
    out.mkdir()
    (out / "students").symlink_to(outside)
    (out / ".current").symlink_to(outside)
    (out / ".published").symlink_to(outside)
    done = toy.grade(folder, "cohort", "lab01", ".", "-o", "out", course=course)
    assert done.returncode == 2 and "out cannot be made or written: .published is a symbolic link" in done.stderr
    (out / ".published").unlink()
    (out / "results.sqlite").symlink_to(outside / "new")
    done = toy.grade(folder, "cohort", "lab01", ".", "-o", "out", course=course)
    assert done.returncode == 2 and "out/results.sqlite is a symbolic link" in done.stderr
    (out / "results.sqlite").unlink()
    (out / "students.key.json").symlink_to(outside / "authorized_keys")
    done = toy.grade(folder, "cohort", "lab01", ".", "-o", "out", course=course)
    assert done.returncode == 2 and "out/students.key.json is a symbolic link" in done.stderr
    (out / "students.key.json").unlink()
    for name in ("cohort.json", "cohort.html", "grades.csv", "items.csv"):
        (out / name).symlink_to(outside / "authorized_keys")
    assert toy.grade(folder, "cohort", "lab01", ".", "-o", "out", course=course).returncode == 0
    assert untouched(outside) and {str((out / name).readlink()) for name in ("students", "grades.csv")} == {
        ".current/students",
        ".current/grades.csv",
    }


def test_what_lies_on_the_desk_is_read_as_a_plain_file(folder, course):
    (folder / ".grade" / "lab01").mkdir(parents=True)
    os.mkfifo(folder / ".grade" / "lab01" / "result.json")
    assert "not started" in toy.grade(folder, course=course).stdout
    assert toy.grade(folder, "lab01", course=course).returncode == 0
    assert (folder / ".grade" / "lab01" / "result.json").is_fifo()


def test_a_device_keeps_its_place(folder, course):
    os.mkfifo(folder / "pipe")
    done = toy.grade(folder, "lab01", "--json", "pipe", course=course)
    assert done.returncode == 2 and "pipe cannot be written: something that is no file is there" in done.stderr
    assert (folder / "pipe").is_fifo()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_desk_of_somebody_elses_is_left_alone(folder, course):
    (folder / ".grade").mkdir()
    os.chown(folder / ".grade", 65534, 65534)
    done = toy.grade(folder, "lab01", course=course)
    assert done.returncode == 0 and "in .grade/ (it belongs to another user, number 65534)" in done.stderr
    assert list((folder / ".grade").iterdir()) == []
