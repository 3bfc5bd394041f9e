"""The job that writes a comment, acted out: a script plays `gh`, answers as GitHub would and keeps the calls."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from grader.reports import ci
from tests.cli.test_ci import left
from tests.reports.samples import half_right
from tests.toy import GRADE, ROOT

WORKFLOW = ROOT / "templates" / "ci" / "github" / "grade-comment.yml"
GH = """#!/bin/sh
printf '%s\\n' "$*" >> "$CALLS"
case "$*" in
"run download"*) [ -d "$ARTIFACT" ] && cp -r "$ARTIFACT" out ;;
*"--method GET"*) [ -z "$NUMBER" ] || echo "$NUMBER" ;;
*--paginate*) [ -z "$MINE" ] || echo "$MINE" ;;
esac
"""
BRANCH = '$(touch hit)`touch hit`"; touch hit #'  # a branch may be called so, nearly


@pytest.fixture
def step() -> dict:
    (job,) = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    return job["steps"][-1]


def act(tmp_path: Path, step: dict, *, number: str = "7", mine: str = "", artifact: bool = True) -> list[str]:
    """Run the step; return what gh was asked to write."""
    bin_, here = tmp_path / "bin", tmp_path / "here"
    bin_.mkdir()
    here.mkdir()
    (bin_ / "gh").write_text(GH)
    (bin_ / "gh").chmod(0o755)
    if artifact:
        left(tmp_path / "artifact", half_right())
    known = {"GITHUB_REPOSITORY": "org/course", "GH_TOKEN": "x", "RUN": "1", "SHA": "a1b2", "HEAD": f"eve:{BRANCH}"}
    assert step["env"].keys() <= known.keys()
    own = {"CALLS": str(tmp_path / "calls"), "ARTIFACT": str(tmp_path / "artifact"), "NUMBER": number, "MINE": mine}
    path = f"{bin_}:{GRADE.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
        cwd=here, env=os.environ | known | own | {"PATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (here / "hit").exists()
    calls = (tmp_path / "calls").read_text().splitlines()
    assert all("eve:$(touch hit)" in call for call in calls if "--method GET" in call)
    return [call for call in calls if "PATCH" in call or "POST" in call]


def test_the_first_comment_is_made(tmp_path, step):
    assert act(tmp_path, step) == ["api --silent --method POST repos/org/course/issues/7/comments -F body=@body.md"]
    body = (tmp_path / "here" / "body.md").read_text(encoding="utf-8")
    assert body.startswith(ci.MARK) and body.startswith("<!-- alphabar"), "by which the next one finds it"
    assert "points" not in body


def test_the_next_takes_its_place(tmp_path, step):
    assert act(tmp_path, step, mine="99") == [
        "api --silent --method PATCH repos/org/course/issues/comments/99 -F body=@body.md"
    ]


@pytest.mark.parametrize("more", [{"number": ""}, {"artifact": False}], ids=["pull request closed", "no artifact"])
def test_without_a_pull_request_or_a_result_nothing_is_written(tmp_path, step, more):
    assert act(tmp_path, step, **more) == []


def test_it_needs_little(tmp_path):
    """`grade comment` runs where neither torch nor numpy is installed, as the job has it."""
    left(tmp_path / "out", half_right())
    blocked = "import sys; sys.modules.update(dict.fromkeys({}));".format(
        ["torch", "numpy", "pytest", "diffusers", "ml_dtypes", "PIL", "jinja2", "rich", "yaml", "markdown_it"]
    )
    run = f"{blocked} sys.argv = ['grade', 'comment', 'out']; from grader.cli import main; main()"
    done = subprocess.run([str(GRADE.with_name("python")), "-c", run], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(ci.MARK)
