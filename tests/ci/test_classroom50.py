"""Classroom 50's autograder.py, as its runner starts it: in a student's checkout, with the runner's variables."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests import toy
from tests.ci.acting import git
from tests.reports.test_formats import RUNNER, classroom50_is_valid
from tests.toy import GRADE, ROOT

FILE = ROOT / "templates" / "ci" / "classroom50" / "autograder.py"
WRONG = toy.REFERENCE.replace("x * factor", "x + factor")


@pytest.fixture
def autograder(monkeypatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("autograder", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for variable, value in RUNNER.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("SUBMITTED_AT")
    return module


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A student's repository, with files that Python and pip would take for theirs."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "lab01.py").write_text(WRONG)
    for name in ("venv", "pip", "json", "subprocess", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'hit')!r}, 'w')\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-11-22T19:59:00+0200")
    subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q", "-m", "work"],
        cwd=folder, check=True,
    )  # fmt: skip
    monkeypatch.chdir(folder)
    return folder


def test_it_leaves_a_valid_result_and_the_releases_text(tmp_path, autograder, checkout, monkeypatch):
    monkeypatch.setenv("GRADE_COURSE", str(toy.make(tmp_path / "course").root))
    monkeypatch.setattr(autograder, "install", lambda folder: GRADE)
    (checkout / "result.json").symlink_to(tmp_path / "elsewhere")
    assert autograder.main() == 0
    found = json.loads((checkout / "result.json").read_text(encoding="utf-8"))
    classroom50_is_valid(found)
    assert found["datetime"] == "2026-11-22T17:59:00Z", "the commit's time, not that of grading"
    assert (found["score"], found["max-score"], found["owner"]) == (3, 7, "ada")
    assert [(one["passed"], one.get("behaves-like")) for one in found["tests"]] == [(False, "adds"), (True, None)]
    body = (checkout / "release-body.md").read_text(encoding="utf-8")
    assert "| adds |" in body and "`lab01.py`" in body and len(body) < 2_000
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "hit").exists()


def test_a_file_that_is_missing_is_a_result_and_a_broken_course_is_not(tmp_path, autograder, checkout, monkeypatch):
    course = toy.make(tmp_path / "course").root
    monkeypatch.setenv("GRADE_COURSE", str(course))
    monkeypatch.setattr(autograder, "install", lambda folder: GRADE)
    (checkout / "lab01.py").unlink()
    assert autograder.main() == 0
    found = json.loads((checkout / "result.json").read_text(encoding="utf-8"))
    classroom50_is_valid(found)
    assert (found["score"], found["max-score"], len(found["tests"])) == (0, 7, 1)
    (course / "exercises" / "course.toml").write_text("labs = [")
    assert autograder.main() == 4
    monkeypatch.setenv("ASSIGNMENT", "noise")
    assert autograder.main() == 2


def test_it_installs_away_from_what_was_handed_in(tmp_path, autograder, monkeypatch):
    bundle, asked = tmp_path / "bundle", []
    bundle.mkdir()
    wheels = ["alphabar-0.1.0+student-py3-none-any.whl", "alphabar_weights-1-py3-none-any.whl"]
    for name in (*wheels, "isolation.sh", "constraints.txt"):
        (bundle / name).write_text("")
    monkeypatch.setattr(autograder, "HERE", bundle)
    monkeypatch.setattr(autograder, "TORCH_WHEELS", "PAGE")

    def record(command, **options):
        asked.append((command, options))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(autograder.subprocess, "run", record)
    assert autograder.install(tmp_path / "away") == tmp_path / "away" / "venv" / "bin" / "grade"
    assert all(options["cwd"] == tmp_path / "away" for _, options in asked)
    python = [command for command, _ in asked if command[0] != "sh"]
    assert len(python) == 3 and all(command[1] == "-I" for command in python), "else the checkout's pip.py is pip"
    assert python[0][:4] == [sys.executable, "-I", "-m", "venv"]
    assert all(str(bundle / "constraints.txt") in command for command in python[1:])
    assert python[1][-3:] == ["--find-links", "PAGE", "torch"]
    assert [Path(word).name for word in python[2][-2:]] == wheels
    (bundle / "alphabar-0.2.0-py3-none-any.whl").write_text("")
    with pytest.raises(SystemExit, match=r"one wheel of alphabar was expected beside .*, and 2 are there"):
        autograder.install(tmp_path / "away")


def test_the_runtime_is_what_classroom_50_reads():
    runtime = json.loads((FILE.parent / "runtime.json").read_text(encoding="utf-8"))
    assert runtime.keys() <= {"runs-on", "python", "node", "java", "go", "rust", "apt", "container"}
    assert all(isinstance(name, str) for name in runtime["apt"])
