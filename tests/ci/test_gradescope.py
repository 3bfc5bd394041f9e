"""Gradescope's autograder, from the zip that a course uploads: built in a clean folder, then run for a submission."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests import toy
from tests.reports.test_formats import gradescope_is_valid
from tests.toy import GRADE, ROOT

TEMPLATES = ROOT / "templates" / "ci"
WHEEL = "alphabar-0.1.0-py3-none-any.whl"

# Stands for apt-get, python3 and what setup.sh makes with it: no network, and a line for each call.
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case "$*" in
"-m venv "*) mkdir -p "$3/bin"; ln -s "$STUB" "$3/bin/python"; ln -s "$GRADE" "$3/bin/grade" ;;
esac
"""
DOCTOR = """#!/bin/sh
echo "  --  bwrap: not here"; echo "  --  landlock: not here"; echo "  ok  rlimits"
"""


@pytest.fixture
def machine(tmp_path) -> Path:
    wheel = tmp_path / WHEEL
    wheel.touch()
    return unpacked(tmp_path, TEMPLATES, wheel)


def unpacked(folder: Path, templates: Path, wheel: Path) -> Path:
    """Return what Gradescope makes of an uploaded zip: /autograder, here in a clean folder."""
    with zipfile.ZipFile(folder / "autograder.zip", "w") as archive:
        for path in (*(templates / "gradescope").iterdir(), templates / "isolation.sh", wheel):
            archive.write(path, path.name)
    root = folder / "autograder"
    for name in ("source", "submission", "results"):
        (root / name).mkdir(parents=True)
    with zipfile.ZipFile(folder / "autograder.zip") as archive:
        assert {"setup.sh", "run_autograder"} <= set(archive.namelist())
        archive.extractall(root / "source")
    shutil.copy(root / "source" / "run_autograder", root / "run_autograder")
    return root


def run(root: Path, script: Path, grade: Path = GRADE, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one of the zip's scripts; `grade` stands for the command that the wheel brings."""
    stubs = root.parent / "stubs"
    stubs.mkdir(exist_ok=True)
    for name in ("apt-get", "python3"):
        (stubs / name).write_text(STUB)
        (stubs / name).chmod(0o755)
    own = {"AUTOGRADER": str(root), "PATH": f"{stubs}:{os.environ['PATH']}", "LOG": str(root.parent / "log")}
    own |= {"STUB": str(stubs / "python3"), "GRADE": str(grade)}
    return subprocess.run(["sh", str(script)], env=os.environ | own | more, capture_output=True, text=True, cwd="/")


def test_the_zip_is_built_and_grades_a_submission(tmp_path, machine):
    done = run(machine, machine / "source" / "setup.sh")
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "log").read_text().splitlines()
    assert [line for line in log if " -m " in line] == [
        f"python3 -m venv {machine / 'venv'}",
        "python -m pip install --quiet torch",
        f"python -m pip install --quiet ./{WHEEL}",
    ]
    (machine / "submission" / "lab01.py").write_text(toy.REFERENCE.replace("x * factor", "x + factor"))
    (machine / "submission" / "more").mkdir()
    (machine / "submission" / "more" / "lab01.py").write_text(toy.REFERENCE)  # a second one counts for nothing
    (machine / "submission" / "conftest.py").write_text("raise SystemExit\n")
    done = run(machine, machine / "run_autograder", GRADE_COURSE=str(toy.make(tmp_path / "course").root))
    assert done.returncode == 0, done.stderr
    results = json.loads((machine / "results" / "results.json").read_text(encoding="utf-8"))
    gradescope_is_valid(results)
    assert results["score"] == 3 and results["extra_data"]["labs"][0]["tasks"][0]["behaves_like"] == "adds"
    assert [test["output"] == "" for test in results["tests"]] == [False, True, True]  # visible, hidden, right


def test_what_is_no_python_gets_a_result_too(tmp_path, machine):
    run(machine, machine / "source" / "setup.sh")
    (machine / "submission" / "lab01.py").write_text("def scale(:\n")
    done = run(machine, machine / "run_autograder", GRADE_COURSE=str(toy.make(tmp_path / "course").root))
    assert done.returncode == 0, done.stderr
    results = json.loads((machine / "results" / "results.json").read_text(encoding="utf-8"))
    assert results["score"] == 0 and results["output"].startswith("SyntaxError")


def test_without_isolation_nothing_is_graded(tmp_path, machine):
    run(machine, machine / "source" / "setup.sh")
    grade = machine / "venv" / "bin" / "grade"
    grade.unlink()
    grade.write_text(DOCTOR)
    grade.chmod(0o755)
    done = run(machine, machine / "run_autograder")
    assert done.returncode == 5 and "Nothing was graded" in done.stdout
    assert not (machine / "results" / "results.json").exists()


def test_a_fault_of_the_course_is_no_nought(tmp_path, machine):
    run(machine, machine / "source" / "setup.sh")
    (machine / "submission" / "lab01.py").write_text(toy.REFERENCE)
    course = toy.make(tmp_path / "course").root
    (course / "exercises" / "lab01_toy" / "checks.py").write_text("import nosuchthing\n")
    done = run(machine, machine / "run_autograder", GRADE_COURSE=str(course))
    assert done.returncode == 4 and not (machine / "results" / "results.json").exists()
