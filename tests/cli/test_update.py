"""`grade update` on a toy edition: what it says of a newer one, what it refuses, and that it brings what it says."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grader import wheel
from grader.authoring.release import release
from grader.root import edition
from tests import toy


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return tmp_path_factory.mktemp("update")


@pytest.fixture(scope="module")
def mine(ground):
    """A toy edition, as a folder."""
    course = toy.make(ground / "course")
    (course.root / "fixtures").mkdir()
    os.environ["SOURCE_DATE_EPOCH"] = "1790000000"
    try:
        release(course, ground / "mine", lambda *step: None, updates=str(ground / "published"))
    finally:
        del os.environ["SOURCE_DATE_EPOCH"]
    return ground / "mine"


def changed(mine: Path, target: Path, *, days: int = 1, source: str = "other", **texts: tuple[str, str]) -> Path:
    """Write a copy of an edition with other texts, released so many days later. Of each file a piece is replaced."""
    shutil.copytree(mine, target)
    for name, (old, new) in texts.items():
        path = target / "exercises" / "lab01_toy" / name.replace("_", ".")
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
    manifest = target / "exercises" / "course.toml"
    known = edition(mine)
    digest = f"e{abs(hash(str(target))) % 10**10:010}"
    text = manifest.read_text(encoding="utf-8").replace(known.digest, digest)
    text = re.sub(r"released = 2026-09-(\d\d)", lambda m: f"released = 2026-09-{int(m[1]) + days:02}", text)
    manifest.write_text(text.replace(known.labs["lab01"], source), encoding="utf-8")
    project = target / "pyproject.toml"
    project.write_text(project.read_text(encoding="utf-8").replace(known.digest, digest), encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def installed(mine, ground):
    """The toy edition, installed by pip into an environment of its own, which finds the libraries where we do."""
    folder = ground / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "--disable-pip-version-check"]
    own = wheel.build(mine, ground)
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(own)], check=True)
    libraries = {entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")}
    (site / "libraries.pth").write_text("".join(f"{entry}\n" for entry in sorted(libraries)), encoding="utf-8")
    return folder / "bin" / "grade"


@pytest.fixture
def desk(tmp_path):
    (tmp_path / "lab01.py").write_text("# mine\n", encoding="utf-8")
    return tmp_path


def grade(command, desk, *words):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GRADE_", "PYTHON"))}
    return subprocess.run([str(command), *map(str, words)], cwd=desk, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"page_md": ("Scale", "Scale well")}, "lab01: the page\n"),
        ({"checks_py": ("normal(2, 3)", "normal(3, 3)")}, "lab01: visible checks of scale\n"),
        ({"checks_py": ("from grader", "SIZE = 3\nfrom grader")}, "lab01: visible checks of all tasks\n"),
        (
            {"lab_toml": ("points = 4", "points = 5")},
            "lab01: scale is worth 5 points, before 4; the lab's own settings\n",
        ),
        (
            {"starter_py": ("def jitter", "\ndef jitter")},
            "lab01: the starter (yours stays; `grade start` writes the new",
        ),
        ({"hints_toml": ("star", "asterisk"), "page_md": ("Toys", "Toy")}, "lab01: the page, hints\n"),
        ({}, "lab01: hidden checks or the reference, which only the official marks come from\n"),
    ],
    ids=["page", "check", "shared", "points", "starter", "two", "hidden"],
)
def test_it_says_what_a_newer_edition_changes_and_dry_changes_nothing(mine, installed, desk, tmp_path, texts, said):
    newer = changed(mine, tmp_path / "newer", **texts)
    done = grade(installed, desk, "update", newer, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert done.stdout.startswith(f"Would bring: edition {edition(newer).digest} of 22 September 2026")
    course = next(installed.parents[1].glob("lib/python*/site-packages/grader/_course"))
    assert edition(course).digest == edition(mine).digest
    assert (desk / "lab01.py").read_text(encoding="utf-8") == "# mine\n"


def test_new_labs_pages_and_another_grader_are_told(mine, installed, desk, tmp_path):
    newer = changed(mine, tmp_path / "newer")
    (newer / "exercises" / "handbook").mkdir()
    (newer / "exercises" / "handbook" / "extra.md").write_text("# Extra\n", encoding="utf-8")
    (newer / "grader" / "errors.py").write_text('"""Others."""\n', encoding="utf-8")
    second = newer / "exercises" / "lab02_toy"
    shutil.copytree(newer / "exercises" / "lab01_toy", second)
    manifest = (second / "lab.toml").read_text(encoding="utf-8").replace('id = "lab01"', 'id = "lab02"')
    (second / "lab.toml").write_text(manifest, encoding="utf-8")
    top = newer / "exercises" / "course.toml"
    text = top.read_text(encoding="utf-8").replace('labs = ["lab01_toy"]', 'labs = ["lab01_toy", "lab02_toy"]')
    top.write_text(text, encoding="utf-8")
    told = grade(installed, desk, "update", newer, "--dry-run").stdout
    for line in ("lab02: is new", "page extra: is new", "the grader itself"):
        assert f"  {line}\n" in told


def test_what_is_older_the_same_or_no_edition_is_refused(mine, installed, desk, tmp_path):
    (tmp_path / "text.whl").write_text("no wheel", encoding="utf-8")
    for source, code, says in (
        (mine, 0, "This is the edition that you have"),
        (changed(mine, tmp_path / "older", days=-1), 2, "is older"),
        (toy.ROOT, 2, "is no student edition"),
        (tmp_path / "text.whl", 2, "cannot be read as a wheel"),
        (tmp_path / "nothing", 2, "there is no"),
    ):
        done = grade(installed, desk, "update", source)
        assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    done = grade(installed, desk, "update")
    assert done.returncode == 2
    assert "give the newer edition" in done.stderr and "published" in done.stderr


def test_other_libraries_are_left_to_pip(mine, installed, desk, tmp_path):
    newer = changed(mine, tmp_path / "newer")
    project = (newer / "pyproject.toml").read_text(encoding="utf-8").replace('"click>=8.1"', '"click>=99"')
    (newer / "pyproject.toml").write_text(project, encoding="utf-8")
    done = grade(installed, desk, "update", newer)
    assert done.returncode == 2 and "needs other libraries than yours: pip install" in done.stderr


def test_the_whole_course_has_nothing_to_update(tmp_path):
    done = toy.grade(tmp_path, "update", str(tmp_path))
    assert done.returncode == 2 and "no student edition" in done.stderr


def test_a_newer_edition_where_the_course_publishes_it_is_told_and_brought(mine, installed, desk, ground, tmp_path):
    stale = "a newer edition, of 22 September 2026, lies in"
    assert stale not in grade(installed, desk, "list").stderr
    newer = changed(mine, ground / "published", page_md=("Scale", "Mended: scale"))
    try:
        assert stale in grade(installed, desk, "list").stderr
        done = grade(installed, desk, "update")
        assert done.returncode == 0, done.stderr
        assert "Now here: edition" in done.stdout and "lab01: the page" in done.stdout
        assert stale not in grade(installed, desk, "list").stderr
        assert "Mended" in grade(installed, desk, "read", "lab01").stdout
        assert (desk / "lab01.py").read_text(encoding="utf-8") == "# mine\n"
        known = f"ok  student edition {edition(newer).digest} of 22 September 2026, 14:13 UTC"
        assert known in grade(installed, desk, "doctor").stdout
    finally:
        shutil.rmtree(newer)


def test_in_a_clone_of_the_repository_a_newer_commit_is_told_and_its_own_is_not(mine, installed, tmp_path):
    course = next(installed.parents[1].glob("lib/python*/site-packages/grader/_course"))
    same = tmp_path / "same"
    shutil.copytree(course / "exercises", same / "exercises")
    assert "note:" not in grade(installed, same, "list").stderr
    later = changed(mine, tmp_path / "later", days=3)
    done = grade(installed, later, "list")
    assert "note: a newer edition, of 24 September 2026, lies in" in done.stderr


def test_uv_is_asked_where_there_is_no_pip(monkeypatch):
    from grader.cli import update
    from grader.errors import MachineError

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: "/somewhere/uv")
    assert update._installer()[:3] == ["uv", "pip", "install"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MachineError, match="neither pip nor uv"):
        update._installer()


def test_two_releases_are_told_apart_by_time_and_content():
    from datetime import UTC, datetime

    from grader.root import Edition

    one = Edition("e1", datetime(2026, 9, 1, tzinfo=UTC), {})
    later = dataclasses.replace(one, released=datetime(2026, 9, 2, tzinfo=UTC))
    assert not one.is_older_than(later)  # the same content, released again
    assert one.is_older_than(dataclasses.replace(later, digest="e2"))
    assert not dataclasses.replace(later, digest="e2").is_older_than(one)
