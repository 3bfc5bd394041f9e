"""Every workflow that a course copies is read, and refused where strangers' code could get at a token or a secret."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from tests.ci.workflows import complaints
from tests.toy import ROOT

FILES = sorted(
    path
    for folder in ("templates/ci", ".github", ".forgejo", ".ci")
    for path in (ROOT / folder).rglob("*.y*ml")
    if "gitlab" not in path.name
)
ACTION = ROOT / "action.yml"
SHELL = [*(ROOT / "templates" / "ci").rglob("*.sh"), ROOT / "templates/ci/gradescope/run_autograder"]
PULL = (ROOT / "templates/ci/github/grade.yml").read_text(encoding="utf-8")
COMMENT = (ROOT / "templates/ci/github/grade-comment.yml").read_text(encoding="utf-8")
OFFICIAL = (ROOT / "templates/ci/github/official.yml").read_text(encoding="utf-8")


def test_all_of_them_are_read():
    names = {path.relative_to(ROOT / "templates" / "ci").as_posix() for path in FILES}
    assert names == {"github/grade.yml", "github/grade-comment.yml", "github/official.yml", "forgejo/grade.yml"}


@pytest.mark.parametrize("path", [*FILES, ACTION], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_workflow_lets_strangers_near_a_token(path):
    assert complaints(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "was", "put", "says"),
    [
        (PULL, "  pull_request:\n", "  pull_request_target:\n", "pull_request_target runs with"),
        (PULL, "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7", "is not pinned to a commit"),
        (PULL, "3d3c42e5aac5ba805825da76410c181273ba90b1", "0" * 40, "is not the commit that was looked up"),
        (PULL, "permissions:\n  contents: read\n", "", "no permissions are set"),
        (PULL, "contents: read", "contents: write", "may write stands beside what was handed in"),
        (PULL, "          persist-credentials: false\n", "", "leaves its token behind"),
        (PULL, "      - uses: ./course\n", "      - run: echo ${{ github.head_ref }}\n      - uses: ./course\n",
         "stands within `run:`"),
        (PULL, "    timeout-minutes: 30\n", "    timeout-minutes: 30\n    env:\n      X: ${{ secrets.X }}\n",
         "a job that grades is given a token or a secret"),
        (PULL, "min-points: 100%", "min-points: ${{ secrets.X }}", "the step that grades is given"),
        (COMMENT, "path: course", "ref: ${{ github.event.workflow_run.head_sha }}",
         "workflow_run checks out what was handed in"),
        (COMMENT, "          grade comment out", "          gh pr checkout 1\n          grade comment out",
         "workflow_run checks out what was handed in"),
        (COMMENT, "          grade comment out -o body.md\n", "          grade ci out\n", "may write stands beside"),
        (COMMENT, '"$RUN"', '"${{ github.event.workflow_run.id }}"', "stands within `run:`"),
        (OFFICIAL, "          LAB: lab01\n", "          LAB: lab01\n          T: ${{ secrets.STUDENTS_TOKEN }}\n",
         "the step that grades is given"),
        (OFFICIAL, "contents: read", "contents: write", "may write stands beside"),
        (ACTION.read_text(encoding="utf-8"), '"$MINIMUM"', '"${{ inputs.min-points }}"', "stands within `run:`"),
        (ACTION.read_text(encoding="utf-8"), "        BASE: ", "        T: ${{ github.token }}\n        BASE: ",
         "handles a token or a secret"),
    ],
)  # fmt: skip
def test_each_rule_refuses_what_it_is_for(text, was, put, says):
    assert was in text
    assert any(says in one for one in complaints(text.replace(was, put, 1))), complaints(text.replace(was, put, 1))


def test_the_action_says_nothing_that_an_input_could_be():
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    (grades,) = [step for step in action["runs"]["steps"] if step.get("id") == "grade"]
    assert grades["working-directory"] == "${{ runner.temp }}"
    saves = [n for n, step in enumerate(action["runs"]["steps"]) if "cache/save" in step.get("uses", "")]
    assert saves and saves[0] < action["runs"]["steps"].index(grades), "the cache is written before anybody's code runs"
    given = yaml.safe_load(PULL)["jobs"]["grade"]["steps"][-1]["with"]
    assert given.keys() <= action["inputs"].keys()


def test_gitlab_gets_no_token_and_a_junit_file():
    job = yaml.safe_load((ROOT / "templates/ci/gitlab/grade.gitlab-ci.yml").read_text(encoding="utf-8"))["grade"]
    assert not re.search(r"TOKEN|secret", str(job), re.IGNORECASE)
    assert job["artifacts"]["reports"]["junit"] == "graded/junit.xml" and job["artifacts"]["when"] == "always"


def test_nothing_that_is_copied_names_a_registry():
    for path in [*(ROOT / "templates" / "ci").rglob("*"), ACTION]:
        if path.is_file():
            assert "://" not in re.sub(r"https://github\.com", "", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse(path):
    interpreter = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#!").split("/")[-1]
    assert subprocess.run([interpreter, "-n", str(path)], capture_output=True).stderr == b""
