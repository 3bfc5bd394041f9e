"""What a job lives through that grades what strangers push, with a clean clone of the course as its base."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from grader.reports import ci
from grader.results import canonical
from tests.ci.acting import plant
from tests.ci.test_gradescope import run, unpacked
from tests.reports.test_formats import gradescope_is_valid

from .conftest import Clone, Desk, build, cloned, install

ANNOTATION = "::warning file=submissions/ann/lab01.py,line="


@pytest.fixture
def job(clone: Clone, tmp_path: Path) -> Desk:
    """A runner, into whose folder `submission` a pull request will be checked out."""
    return clone.desk(tmp_path, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))


@pytest.fixture
def ann(clone: Clone, job: Desk) -> Desk:
    """Ann's clone, with a branch for her pull request."""
    desk = clone.desk(cloned(job.folder / "submission"))
    desk.types("git branch base")
    desk.types("git checkout -q -b work")
    return desk


def commit(desk: Desk, says: str) -> None:
    desk.types("git add --all --force")
    desk.types(f"git commit -q -m '{says}'")


def test_an_honest_pull_request_is_told_its_mistake_mended_and_green(job: Desk, ann: Desk, clone: Clone) -> None:
    mine = "submissions/ann/lab01.py"
    ann.writes(mine, clone.sample("one_known_mistake"))
    commit(ann, "lab 01")
    grading = "grade ci submission --base base -o graded"
    said = job.types(
        grading,
        f"lab01 {mine} 36.36 of 41 points, below what is needed (11 passed, 1 partly)",
        ANNOTATION,
        "lab01/add_noise 0.36/5 behaves like alpha_not_alpha_bar",
        code=1,
    )
    line = int(re.findall(f"{ANNOTATION}([0-9]+)", said)[0])
    assert ann.reads(mine).splitlines()[line - 1].startswith("def add_noise(")
    summary = job.reads("summary.md")
    assert r"| alpha\_not\_alpha\_bar |" in summary and "36.36 of 41 points" in summary
    junit = ElementTree.fromstring(job.reads("graded/junit.xml"))
    assert junit.attrib["failures"] == "11" and junit.attrib["errors"] == "0"
    comment = job.types("grade comment graded", r"alpha\_not\_alpha\_bar")
    assert "36.36" not in comment

    ann.writes(mine, clone.sample("right"))
    commit(ann, "mended")
    said = job.types(grading, f"lab01 {mine} 41 of 41 points (12 passed)")
    assert "::" not in said
    assert ElementTree.fromstring(job.reads("graded/junit.xml")).attrib["failures"] == "0"
    assert "41 of 41 points" in job.reads("summary.md") and (job.folder / "graded" / "lab01.html").is_file()

    ann.types("git branch -f base")
    ann.edits("README.md", "# alphabar\n", "# Alphabar\n")
    commit(ann, "a better text")
    job.types(grading, "note: no lab is touched, so nothing was graded.")


@pytest.mark.sweep
def test_a_hostile_pull_request_gets_what_its_honest_part_deserves(job: Desk, ann: Desk, clone: Clone) -> None:
    mine = "submissions/ann/lab01.py"
    ann.writes(mine, clone.sample("one_known_mistake"))
    commit(ann, "lab 01")
    job.types("grade ci submission --base base -o honest", "36.36 of 41 points", code=1)

    hit = job.folder / "hit"
    shutil.rmtree(ann.folder / "grader")  # in its place comes one that leaves a trace
    (ann.folder / "pyproject.toml").unlink()
    plant(ann.folder, hit)
    plant(ann.folder / "submissions" / "ann", hit)
    lab = "exercises/lab01_forward_noise"
    for name in ("misconceptions.toml", "checks.py"):
        ann.writes(f"{lab}/{name}", "")
    ann.writes("reference/lab01_forward_noise.py", clone.sample("one_known_mistake"))
    ann.edits("exercises/course.toml", "seed = 1234", "seed = 1")
    commit(ann, "lab 01, and more")
    job.types(
        "grade ci submission --base base -o hostile",
        "36.36 of 41 points, below what is needed",
        "more changed files, not used: nothing but the labs' own files is taken from what is graded.",
        code=1,
    )
    (honest,), (hostile,) = (ci.read(job.folder / name).files for name in ("honest", "hostile"))
    assert canonical(hostile.result) == canonical(honest.result) and hostile.path == honest.path == mine
    assert not hit.exists()

    # A course that lies in what is graded counts for nothing, asked for or not.
    job.types("grade ci submission --course submission", "whoever handed that in could have changed it", code=2)
    job.types("grade ci submission --base nowhere", "HEAD and this have no commit in common here.", code=2)
    assert not hit.exists()


@pytest.mark.wheel
@pytest.mark.sweep
def test_the_zip_for_gradescope_is_built_and_grades_what_is_handed_in(clone: Clone, tmp_path: Path) -> None:
    wheel = build(clone.folder, tmp_path / "dist")
    grade = install(wheel, tmp_path / "environment").python.with_name("grade")
    machine = unpacked(tmp_path, clone.folder / "templates" / "ci", wheel)
    done = run(machine, machine / "source" / "setup.sh", grade)
    assert done.returncode == 0, done.stderr
    assert f"python -m pip install --quiet ./{wheel.name}" in (tmp_path / "log").read_text()

    def handed_in(name: str) -> dict[str, object]:
        shutil.copy(clone.folder / "fixtures" / "submissions" / name / "lab01.py", machine / "submission")
        done = run(machine, machine / "run_autograder", grade)
        assert done.returncode == 0, done.stdout + done.stderr
        results = json.loads((machine / "results" / "results.json").read_text(encoding="utf-8"))
        gradescope_is_valid(results)
        return dict(results)

    (machine / "submission" / "conftest.py").write_text("raise SystemExit\n")
    first = handed_in("syntax_error")
    assert first["score"] == 0 and "SyntaxError: '(' was never closed" in str(first["output"])
    second = handed_in("one_known_mistake")
    assert second["score"] == 36.36 and "alpha_not_alpha_bar" in str(second["extra_data"])
    assert handed_in("right")["score"] == 41
