"""How each grader is run on submissions, and how its scores are read: the peers, then ours."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import Cost, measure
from submissions import FILE, ROOT

WHERE = Path(__file__).resolve().with_name("where.py")
GRADE = Path(sys.executable).with_name("grade")
# Seconds until a command is killed, whole and for each submission: only one that nothing stops gets there.
START_S, EACH_S = 60, 5

Scores = Mapping[str, int]


@dataclass(frozen=True)
class Place:
    """Where everything lies: `folder` is what `submissions.write` has filled."""

    folder: Path
    environments: Path
    core: int

    @property
    def submissions(self) -> Path:
        """One folder a submission."""
        return self.folder / "submissions"

    @property
    def lab(self) -> Path:
        """What the peers' checks are imported from."""
        return self.folder / "lab"

    @property
    def runners(self) -> Path:
        """What the peers are started with."""
        return self.folder / "runners"

    def tool(self, environment: str, name: str) -> Path:
        """Return a program of a peer's environment."""
        return self.environments / environment / "bin" / name

    def scratch(self, name: str) -> Path:
        """Return a new, empty folder."""
        folder = self.folder / "scratch" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def run(self, command: Sequence[str | Path], ids: Sequence[str], cwd: Path, **environment: object) -> Cost:
        """Run a command that grades `ids`, on one core."""
        words = {name: str(value) for name, value in environment.items()}
        limit_s = START_S + EACH_S * len(ids)
        return measure(command, cwd=cwd, environment=words, limit_s=limit_s, cores={self.core})


Grade = Callable[[Place, Sequence[str]], tuple[Cost, Scores]]


@dataclass(frozen=True)
class Grader:
    """One row of the table. `grade` takes one submission, or, where `at_once`, all of them in one process."""

    name: str
    grade: Grade
    at_once: bool = False
    slow: bool = False
    prepare: Callable[[Place, Sequence[str]], None] = lambda place, ids: None


def _bare(place: Place, ids: Sequence[str]) -> tuple[Cost, Scores]:
    command = [place.tool("bare", "python"), place.runners / "bare.py", place.submissions, *ids]
    cost = place.run(command, ids, place.scratch("bare"), PYTHONPATH=place.lab)
    return cost, _lines(cost.output)


def _pytest(place: Place, ids: Sequence[str]) -> tuple[Cost, Scores]:
    (one,) = ids
    options = ["-q", "-p", "no:cacheprovider", "--timeout", "5"]
    command = [place.tool("pytest", "python"), "-m", "pytest", *options, place.runners / "test_lab03.py"]
    cost = place.run(command, ids, place.scratch("pytest"), PYTHONPATH=_both(place, one))
    found = re.findall(r"(\d+) passed", cost.output)
    return cost, {one: int(found[-1]) if found else 0}


def _pytest_loop(place: Place, ids: Sequence[str]) -> tuple[Cost, Scores]:
    command = [place.tool("pytest", "python"), place.runners / "pytest_loop.py", place.submissions, *ids]
    cost = place.run(command, ids, place.scratch("pytest_loop"), PYTHONPATH=place.lab)
    return cost, _lines(cost.output)


def _gradescope(place: Place, ids: Sequence[str]) -> tuple[Cost, Scores]:
    (one,) = ids
    folder = place.scratch("gradescope")
    command = [place.tool("gradescope", "python"), place.runners / "gradescope.py", "results.json"]
    cost = place.run(command, ids, folder, PYTHONPATH=_both(place, one))
    return cost, {one: sum(round(test["score"]) for test in _json(folder / "results.json").get("tests", []))}


def _check50_prepare(place: Place, ids: Sequence[str]) -> None:
    command = [place.tool("check50", "python"), place.runners / "check50_write.py", place.folder / "check50"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(place.lab)})


def _check50(place: Place, ids: Sequence[str]) -> tuple[Cost, Scores]:
    (one,) = ids
    out = place.scratch("check50") / "results.json"
    command = [place.tool("check50", "check50"), "--dev", place.folder / "check50", "-o", "json", "--output-file", out]
    cost = place.run(command, ids, place.submissions / one, PYTHONPATH=place.lab, PATH=_path(place, "check50"))
    return cost, {one: sum(test["passed"] is True for test in _json(out).get("results", []))}


def _otter_prepare(place: Place, ids: Sequence[str]) -> None:
    command = [
        place.tool("otter", "otter"),
        "generate",
        "-t",
        place.runners / "otter_tests",
        "-o",
        place.folder / "otter.zip",
    ]
    environment = {**os.environ, "PYTHONPATH": str(place.lab), "PATH": _path(place, "otter")}
    options = ["--no-requirements", "--no-environment"]
    subprocess.run([*command, *options], check=True, env=environment, cwd=place.folder, capture_output=True)


def _otter(place: Place, ids: Sequence[str]) -> tuple[Cost, Scores]:
    (one,) = ids
    folder = place.scratch("otter")
    options = ["-a", place.folder / "otter.zip", "-o", folder, "--no-logo"]
    command = [place.tool("otter", "otter"), "run", *options, place.submissions / one / FILE]
    cost = place.run(command, ids, folder, PYTHONPATH=place.lab, PATH=_path(place, "otter"))
    tests = _json(folder / "results.json").get("tests", [])
    return cost, {one: round(sum(test.get("score") or 0 for test in tests))}


def _nbgrader_prepare(place: Place, ids: Sequence[str]) -> None:
    course = place.folder / "nbgrader"
    reference = place.lab / "lab03_reference.py"
    writer = [
        place.tool("nbgrader", "python"),
        place.runners / "nbgrader_write.py",
        reference,
        place.submissions,
        course,
    ]
    environment = {**os.environ, "PYTHONPATH": str(place.lab), "PATH": _path(place, "nbgrader")}
    for command in ([*writer, *ids], [place.tool("nbgrader", "nbgrader"), "generate_assignment", "lab03"]):
        cwd = course if course.exists() else place.folder
        subprocess.run(command, check=True, env=environment, cwd=cwd, capture_output=True)


def _nbgrader(place: Place, ids: Sequence[str]) -> tuple[Cost, Scores]:
    (one,) = ids
    course = place.folder / "nbgrader"
    command = [place.tool("nbgrader", "nbgrader"), "autograde", "lab03", "--student", one, "--force"]
    cost = place.run(command, ids, course, PYTHONPATH=place.lab, PATH=_path(place, "nbgrader"))
    if cost.killed or cost.code:
        return cost, {}  # what is kept is an earlier score
    reader = [place.tool("nbgrader", "python"), place.runners / "nbgrader_scores.py", course]
    scores = json.loads(subprocess.run(reader, check=True, capture_output=True, text=True).stdout)
    return cost, {one: round(scores.get(one, 0))}


def _cold(place: Place, ids: Sequence[str]) -> tuple[Cost, Scores]:
    (one,) = ids
    folder = place.scratch("cold")
    command = [GRADE, "lab03", place.submissions / one, "--json", "result.json"]
    cost = place.run(command, ids, folder, **_ours(place))
    return cost, {one: _passed(_json(folder / "result.json"))}


def _cohort(place: Place, ids: Sequence[str]) -> tuple[Cost, Scores]:
    return _class(place, ids, "plain")


def timed(place: Place, ids: Sequence[str]) -> tuple[Cost, Path]:
    """Run `grade cohort` with stopwatches; return what it took and the folder with their notes."""
    notes = place.scratch("notes")
    return _class(place, ids, "timed", notes)[0], notes


def _class(place: Place, ids: Sequence[str], *how: str | Path) -> tuple[Cost, Scores]:
    handed_in, out = place.scratch("handed_in"), place.scratch("cohort")
    for one in ids:
        shutil.copytree(place.submissions / one, handed_in / one)
    command = [sys.executable, WHERE, *how, "cohort", "lab03", handed_in, "-o", out, "--jobs", "1"]
    cost = place.run(command, ids, handed_in, **_ours(place))
    return cost, {row["submission"]: _passed(row) for row in _json(out / "cohort.json").get("rows", [])}


def _ours(place: Place) -> dict[str, object]:
    # The benchmark's course, and the `grader` of this checkout.
    return {"GRADE_COURSE": place.folder / "course", "PYTHONPATH": ROOT}


def _passed(result: Mapping[str, list[dict[str, str]]]) -> int:
    return sum(check["outcome"] == "passed" for check in result.get("checks", []))


def _lines(output: str) -> Scores:
    rows = [json.loads(line) for line in output.splitlines() if line.startswith('{"id"')]
    return {row["id"]: row["passed"] for row in rows}


def _json(file: Path) -> dict:
    """Return what a grader has written; nothing where it was killed before."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(file.read_text(encoding="utf-8"))
    return {}


def _both(place: Place, one: str) -> str:
    return f"{place.lab}{os.pathsep}{place.submissions / one}"


def _path(place: Place, environment: str) -> str:
    return f"{place.environments / environment / 'bin'}{os.pathsep}{os.environ['PATH']}"


# By environment, in the order of the table.
PEERS = {
    "bare": [Grader("bare script", _bare), Grader("bare script, all in one process (unsafe)", _bare, at_once=True)],
    "pytest": [
        Grader("pytest", _pytest),
        Grader("pytest.main in a loop, one process (unsafe)", _pytest_loop, at_once=True),
    ],
    "gradescope": [Grader("gradescope-utils", _gradescope)],
    "check50": [Grader("check50 --dev", _check50, prepare=_check50_prepare)],
    "otter": [Grader("otter run", _otter, slow=True, prepare=_otter_prepare)],
    "nbgrader": [Grader("nbgrader autograde", _nbgrader, slow=True, prepare=_nbgrader_prepare)],
}
COLD = Grader("**grade lab03**, a cold start each", _cold)
COHORT = Grader("**grade cohort**, one judge, start included", _cohort, at_once=True)
