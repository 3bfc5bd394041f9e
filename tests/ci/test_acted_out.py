"""Pull requests, acted out: one that also edits the checks and plants files is worth what its honest part is worth."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from grader.reports import ci
from grader.results import canonical
from grader.sandbox.launcher import probe
from tests import toy
from tests.ci.acting import Runner, git, plant
from tests.toy import ROOT

TEMPLATES = ROOT / "templates" / "ci"
WRONG = toy.REFERENCE.replace("x * factor", "x + factor")  # 3 of 7 points
PASSES = toy.CHECKS.replace("compare.scale(draw.normal(2, 3), 2.0)", "pass").replace(
    "compare.scale(draw.normal(5), -0.5)", "pass"
)
# A machine without every layer runs them, too, with what it has.
REQUIRE = "true" if all(state is True for state in probe().values()) else "false"


def commit(work: Path, says: str) -> str:
    git(work, "add", "-A", "--force")
    git(work, "commit", "-q", "-m", says)
    return git(work, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A course's repository on this disk with three pull requests: honest, hostile, and one that touches no lab."""
    root = tmp_path_factory.mktemp("repository")
    work, hit = root / "work", root / "hit"
    toy.make(work)
    (work / "templates").unlink()
    shutil.copytree(ROOT / "templates", work / "templates")
    shutil.copy(ROOT / "action.yml", work / "action.yml")
    git(work, "init", "-q", "-b", "main")
    base = commit(work, "the course")
    for number, kind in enumerate(("honest", "hostile", "none"), 1):
        git(work, "checkout", "-q", "-b", kind, base)
        if kind != "none":
            (work / "submissions" / "eve").mkdir(parents=True)
            (work / "submissions" / "eve" / "lab01.py").write_text(WRONG)
        if kind == "hostile":
            plant(work, hit)
            plant(work / "submissions" / "eve", hit)
            (work / "exercises" / "lab01_toy" / "checks.py").write_text(PASSES)
            (work / "exercises" / "lab01_toy" / "misconceptions.toml").write_text("")
            (work / "reference" / "lab01_toy.py").write_text(WRONG)
            (work / "exercises" / "course.toml").write_text(toy.COURSE.replace("seed = 7", "seed = 8"))
            (work / "action.yml").write_text((work / "action.yml").read_text().replace('grade" ci', 'true" ci'))
            (work / "templates" / "ci" / "isolation.sh").write_text(f"touch {hit}\n")
            (work / ".github" / "workflows").mkdir(parents=True)
            (work / ".github" / "workflows" / "grade.yml").write_text("on: pull_request_target\n")
            (work / "grade").write_text(f"#!/bin/sh\ntouch {hit}\n")
            (work / "grade").chmod(0o755)
        if kind == "none":
            (work / "README.md").write_text("A better text.\n")
        head = commit(work, kind)
        git(work, "checkout", "-q", "--detach", base)
        git(work, "merge", "-q", "--no-ff", "-m", "merge", head)
        git(work, "update-ref", f"refs/pull/{number}/merge", "HEAD")
        git(work, "update-ref", f"refs/pull/{number}/head", head)
        git(work, "checkout", "-q", "main")
    git(root, "clone", "-q", "--mirror", str(work), "bare.git")
    return root / "bare.git"


def runner(tmp_path: Path, bare: Path, number: int) -> Runner:
    """A runner to which pull request `number` is the first."""
    mine = tmp_path / "server" / "bare.git"
    shutil.copytree(bare, mine)
    for kind in ("merge", "head"):
        git(mine, "update-ref", f"refs/pull/1/{kind}", git(mine, "rev-parse", f"refs/pull/{number}/{kind}"))
    facts = {
        "github.event.pull_request.base.sha": git(mine, "rev-parse", "main"),
        "github.event.pull_request.number": "1",
        "github.server_url": f"file://{mine.parent}",
        "github.repository": mine.name,
        "github.token": "a-token",
    }
    return Runner(tmp_path / "runner", mine, facts)


@pytest.fixture(scope="module")
def honest(tmp_path_factory, bare) -> ci.Run:
    """What the honest pull request gets, on GitHub."""
    one = runner(tmp_path_factory.mktemp("honest"), bare, 1)
    done = one.job(TEMPLATES / "github" / "grade.yml", course="course", **{"require-sandbox": REQUIRE})
    assert done.returncode == 1, done.stdout + done.stderr
    return ci.read(one.temp / "alphabar")


def same(run: ci.Run, honest: ci.Run) -> None:
    (mine,), (theirs,) = run.files, honest.files
    assert mine.path == theirs.path == "submissions/eve/lab01.py"
    assert mine.result.score.earned == 3 and mine.result.course == theirs.result.course
    assert canonical(mine.result) == canonical(theirs.result)


def test_on_github_a_hostile_pull_request_gets_what_its_honest_part_deserves(tmp_path, bare, honest):
    one = runner(tmp_path, bare, 2)
    done = one.job(TEMPLATES / "github" / "grade.yml", course="course", **{"require-sandbox": REQUIRE})
    assert done.returncode == 1, done.stdout + done.stderr
    assert "lab01  submissions/eve/lab01.py  3 of 7 points, below what is needed" in done.stdout
    same(ci.read(one.temp / "alphabar"), honest)
    assert "3 of 7 points" in (one.temp / "summary.md").read_text(encoding="utf-8")
    assert not (bare.parent / "hit").exists()


def test_on_github_one_that_touches_no_lab_is_let_through(tmp_path, bare):
    one = runner(tmp_path, bare, 3)
    done = one.job(TEMPLATES / "github" / "grade.yml", course="course", **{"require-sandbox": REQUIRE})
    assert done.returncode == 0 and done.stdout == ""
    assert "no lab is touched" in done.stderr


def test_on_forgejo_it_is_the_same(tmp_path, bare, honest):
    one = runner(tmp_path, bare, 2)
    text = (TEMPLATES / "forgejo" / "grade.yml").read_text(encoding="utf-8").replace("/tmp", str(one.temp))
    (tmp_path / "grade.yml").write_text(text)
    course = tmp_path / "course"
    git(tmp_path, "clone", "-q", str(one.bare), "course")
    (job,) = yaml.safe_load(text)["jobs"].values()
    fetch, grade = job["steps"]
    assert one.shell(fetch, one.workspace).returncode == 0
    done = one.shell(grade | {"env": {"GRADE_COURSE": str(course)}}, one.workspace)
    assert done.returncode == 1, done.stdout + done.stderr
    same(ci.read(one.temp / "graded"), honest)
    assert "a-token" not in (one.temp / "submission" / ".git" / "config").read_text()
    assert not (bare.parent / "hit").exists()


def test_on_gitlab_it_is_the_same(tmp_path, bare, honest):
    one = runner(tmp_path, bare, 2)
    job = yaml.safe_load((TEMPLATES / "gitlab" / "grade.gitlab-ci.yml").read_text(encoding="utf-8"))["grade"]
    project, course = one.workspace / "project", tmp_path / "course"
    git(tmp_path, "clone", "-q", str(one.bare), "course")
    git(one.workspace, "clone", "-q", str(one.bare), "project")
    git(project, "fetch", "-q", "origin", "refs/pull/1/head")
    git(project, "checkout", "-q", "FETCH_HEAD")
    step = {
        "run": "\n".join(job["script"]),
        "env": {
            "CI_PROJECT_DIR": str(project),
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": one.facts["github.event.pull_request.base.sha"],
            "GRADE_COURSE": str(course),  # the image has it
            "GITHUB_ACTIONS": "",
            "GITHUB_STEP_SUMMARY": "",
        },
    }
    done = one.shell(step, project)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "::" not in done.stdout
    same(ci.read(project / "graded"), honest)
    assert (project / job["artifacts"]["reports"]["junit"]).is_file()
    assert not (bare.parent / "hit").exists()


def test_the_official_marks_come_from_clones(tmp_path, bare):
    """clone.sh and `grade cohort`, as official.yml runs them: whole work, from commits, with a seed from elsewhere."""
    server = tmp_path / "server" / "class"
    server.mkdir(parents=True)
    for name, source in (("ann", toy.REFERENCE), ("eve", WRONG)):
        work = tmp_path / name
        work.mkdir()
        (work / "lab01.py").write_text(source)
        if name == "eve":
            plant(work, tmp_path / "hit")
            (work / "evil").symlink_to("/etc/hostname")
        git(work, "init", "-q", "-b", "main")
        commit(work, "work")
        git(server, "clone", "-q", "--bare", str(work), f"lab-{name}")
    steps = yaml.safe_load((TEMPLATES / "github" / "official.yml").read_text(encoding="utf-8"))["jobs"]
    one = Runner(tmp_path / "runner", tmp_path / "server" / "bare.git", {})
    one.facts |= {"secrets.STUDENTS_TOKEN": "read-only-token", "secrets.COURSE_SEED": "5eed"}
    git(one.workspace, "clone", "-q", str(bare), "course")
    (one.workspace / "course" / "students.txt").write_text(
        "# the class\nclass/lab-ann ann\nclass/lab-eve\n\nclass/nobody\n"
        "--upload-pack=touch${IFS}x evil\n../x y\na/b ../../c\n"
    )
    (clone,) = [step for step in steps["fetch"]["steps"] if step.get("name") == "Clone"]
    done = one.shell(clone, one.workspace)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is no OWNER/NAME") == 3 and "not cloned: class/nobody" in done.stderr
    clones = one.workspace / "clones"
    assert sorted(path.name for path in clones.iterdir()) == ["ann", "lab-eve"]
    assert not [path for path in clones.rglob("*") if path.is_file() and b"read-only-token" in path.read_bytes()]
    assert [path.name for path in (clones / "ann").iterdir()] == [".git"]
    (grade,) = [step for step in steps["grade"]["steps"] if step.get("name") == "Grade"]
    command = grade["run"] if REQUIRE == "true" else grade["run"].replace(" --require-sandbox", "")
    grade = grade | {"run": command, "env": grade["env"] | {"GRADE_COURSE": str(one.workspace / "course")}}
    done = one.shell(grade, one.workspace)
    assert done.returncode == 0, done.stdout + done.stderr
    grades = (one.workspace / "out" / "grades.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[1:3] for line in grades[1:]] == [["ann", "7.0"], ["lab-eve", "3.0"]]
    assert not (tmp_path / "hit").exists()
