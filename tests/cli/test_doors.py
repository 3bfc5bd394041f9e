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
