"""Acts out what a course copies: the workflows' own steps, on repositories on this disk, without a runner.

Checkouts are made as `actions/checkout` makes them; of the composite action the steps that install are left out, for
the `grade` of this environment takes their place.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.toy import COURSE, GRADE


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(["git", *who, *words], cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def plant(folder: Path, hit: Path) -> None:
    """Everything that Python, pytest or `grade` might pick up by chance; each leaves a trace when it is run."""
    trace = f"open({str(hit)!r}, 'a').write(__file__ + '\\n')\n"
    for name in (
        "conftest.py",
        "sitecustomize.py",
        "usercustomize.py",
        "torch.py",
        "pytest.py",
        "numpy.py",
        "click.py",
    ):
        (folder / name).write_text(trace)
    for name in ("grader", "yaml"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(trace)
    (folder / "evil.pth").write_text(f"import builtins; open({str(hit)!r}, 'a').write('pth')\n")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p conftest\n")
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-p conftest'\n")
    (folder / "course.toml").write_text(COURSE)
    (folder / ".grade").mkdir()
    (folder / ".grade" / "lab01").mkdir()
    (folder / ".grade" / "lab01" / "result.json").write_text('{"score": {"earned": 7, "possible": 7}}')


@dataclass
class Runner:
    """A machine for one job: a workspace, a folder for what is of no use later, and what the event says."""

    root: Path
    bare: Path
    facts: dict[str, str]

    def __post_init__(self) -> None:
        self.workspace, self.temp = self.root / "workspace", self.root / "temp"
        for folder in (self.workspace, self.temp / "alphabar-venv" / "bin"):
            folder.mkdir(parents=True)
        (self.temp / "alphabar-venv" / "bin" / "grade").symlink_to(GRADE)
        self.facts |= {"runner.temp": str(self.temp)}

    def fill(self, value: Any) -> str:
        """Put in what expressions stand for; an unknown one is an error."""
        return re.sub(r"\$\{\{\s*(.+?)\s*\}\}", lambda found: self.facts[found[1]], str(value))

    def checkout(self, given: dict[str, Any]) -> None:
        target = self.workspace / given["path"]
        target.mkdir()
        git(target, "init", "-q")
        wanted = self.fill(given["ref"]) if "ref" in given else "refs/pull/1/merge"
        depth = str(given.get("fetch-depth", 1))
        git(target, "fetch", "-q", "--depth", depth, f"file://{self.bare}", wanted)
        git(target, "checkout", "-q", "FETCH_HEAD")

    def shell(self, step: dict[str, Any], here: Path) -> subprocess.CompletedProcess[str]:
        assert "${{" not in step["run"]
        set_ = {key: self.fill(value) for key, value in step.get("env", {}).items()}
        own = {"GITHUB_WORKSPACE": str(self.workspace), "RUNNER_TEMP": str(self.temp), "GITHUB_ACTIONS": "true"}
        own |= {"GITHUB_STEP_SUMMARY": str(self.temp / "summary.md"), "PATH": f"{GRADE.parent}:{os.environ['PATH']}"}
        own |= {"HOME": str(self.root), "GITHUB_SERVER_URL": f"file://{self.bare.parent}", "GIT_CONFIG_NOSYSTEM": "1"}
        where = Path(self.fill(step["working-directory"])) if "working-directory" in step else here
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
            cwd=where, env=own | set_, capture_output=True, text=True,
        )  # fmt: skip

    def action(self, path: Path, given: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Run the composite action's step that grades, with its inputs' defaults."""
        action = yaml.safe_load((path / "action.yml").read_text(encoding="utf-8"))
        inputs = {name: one["default"] for name, one in action["inputs"].items()} | given
        self.facts |= {f"inputs.{name}": self.fill(value) for name, value in inputs.items()}
        (step,) = [step for step in action["runs"]["steps"] if step.get("id") == "grade"]
        return self.shell(step, self.workspace)

    def job(self, workflow: Path, **more: Any) -> subprocess.CompletedProcess[str]:
        """Act out a workflow's only job; `more` is given to the action beside what the file gives."""
        (job,) = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
        done = None
        for step in job["steps"]:
            uses = step.get("uses", "")
            if uses.startswith("actions/checkout@"):
                self.checkout(step["with"])
            elif uses.startswith("./"):
                done = self.action(self.workspace / uses, step["with"] | more)
            else:
                done = self.shell(step, self.workspace)
                if done.returncode:
                    break
        assert done is not None
        return done
