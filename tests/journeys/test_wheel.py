"""The wheel of the whole course: what is in it, that it works far from any checkout, that an attack gets nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.toy import ROOT

from .conftest import SECRET, SECRETS, Edition

pytestmark = pytest.mark.wheel
linux = pytest.mark.skipif(sys.platform != "linux", reason="fork, bwrap and Landlock are Linux's")

HUNT = Path(__file__).parents[1] / "attacks" / "from_a_wheel" / "hunt.py"
NOBODY = 65534


def test_the_wheel_holds_engine_and_course_and_nothing_else(full: Edition, checkout: Path) -> None:
    names = set(zipfile.ZipFile(full.wheel).namelist())
    (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
    assert {name.split("/")[0] for name in names} == {"grader", info}
    assert {name.split("/")[2] for name in names if name.startswith("grader/_course/")} == {
        "exercises",
        "fixtures",
        "reference",
        "templates",
    }
    assert f"{info}/licenses/LICENSE" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc") or "tests/" in name]
    for kind in ("grader", "exercises", "fixtures", "reference", "templates"):
        where = "grader" if kind == "grader" else f"grader/_course/{kind}"
        wanted = {path.relative_to(checkout / kind) for path in (checkout / kind).rglob("*") if path.is_file()}
        found = {Path(name).relative_to(where) for name in names if name.startswith(f"{where}/")}
        found = {path for path in found if path.parts[0] != "_course"}
        assert found == {path for path in wanted if path.parent.name != "__pycache__"}


def test_it_lists_starts_and_grades_where_no_checkout_is(full: Edition, ground: Path) -> None:
    desk = ground / "desk"
    desk.mkdir()
    listed = full.grade(desk, "list")
    assert listed.returncode == 0, listed.stderr
    assert "lab01" in listed.stdout
    started = full.grade(desk, "start", "lab01")
    assert started.returncode == 0, started.stderr
    stub = full.grade(desk, "lab01", "--json", "-")
    assert stub.returncode == 1, stub.stderr
    assert json.loads(stub.stdout)["score"]["earned"] == 0
    shutil.copyfile(full.course / "reference" / "lab01_forward_noise.py", desk / "lab01.py")
    right = full.grade(desk, "lab01", "--json", "-")
    assert right.returncode == 0, right.stderr
    score = json.loads(right.stdout)["score"]
    assert score["earned"] == score["possible"] > 0
    page = (desk / ".grade" / "lab01" / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    where = full.run(desk, "-c", "import grader, torch; print(grader.__file__, torch.__file__)").stdout
    assert str(full.site) in where
    assert where.count(str(full.site)) == 1  # torch is another environment's


def test_it_grades_for_other_programs_where_no_checkout_is(full: Edition, ground: Path) -> None:
    handed_in = ground / "handed-in" / "jane"
    handed_in.mkdir(parents=True)
    shutil.copy(ROOT / "fixtures" / "submissions" / "one_known_mistake" / "lab01.py", handed_in)
    done = full.grade(ground, "ci", "handed-in", "--min-points", "50%", "-o", "graded")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lab01  jane/lab01.py  36.36 of 41 points  (11 passed, 1 partly)")
    assert "alpha_not_alpha_bar" in (ground / "graded" / "junit.xml").read_text(encoding="utf-8")


# An attack from the wheel


def attack(full: Edition, **targets: Any) -> str:
    """Return the hostile submission, which knows all that a student can know of this installation."""
    known = {
        "sites": [str(full.site)],
        "reference": "lab01_forward_noise.py",
        "secrets": SECRETS,
        "pids": None,
        "roots": ["/"],
        **targets,
    }
    return f"TARGETS = {known!r}\n{HUNT.read_text(encoding='utf-8')}"


def command(full: Edition) -> list[str]:
    return [str(full.python.with_name("grade")), "lab01"]


def attacked(full: Edition, desk: Path, source: str, *words: str, **options: Any) -> dict[str, Any]:
    """Grade the attack and return the record."""
    desk.mkdir()
    desk.chmod(0o777)
    (desk / "lab01.py").write_text(source, encoding="utf-8")
    done = full.run(desk, *words, "--task", "add_noise", "--json", "-", **options)
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads(done.stdout))


def hunted(record: dict[str, Any]) -> dict[str, list[str]]:
    """Return what the hunt reported. It ran in one visible check, when the reference's worker was running too."""
    (report,) = [
        line.removeprefix("HUNTED ")
        for check in record["checks"]
        for line in check["output"].splitlines()
        if line.startswith("HUNTED ")
    ]
    return dict(json.loads(report))


@linux
def test_the_attack_finds_everything_where_nothing_holds_it(full: Edition, ground: Path) -> None:
    """The same search in one process that imports the engine, holds an answer, and has a child."""
    (ground / "hunt.py").write_text(attack(full, roots=[]), encoding="utf-8")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        control = (
            "import sys, json, types, torch; hunt = types.ModuleType('hunt'); "
            f"exec(open({str(ground / 'hunt.py')!r}).read(), hunt.__dict__); "
            f"hunt.SECONDS = 1; hunt.TARGETS['pids'] = [{child.pid}]; opened = open('/dev/null'); "
            f"mine, planted = torch.arange(6.0), {{'text': {SECRET!r}}}; answer = mine.clone(); "
            "print(json.dumps(hunt.hunt(mine)))"
        )
        done = full.run(ground, "-c", control, pass_fds=[0, 1, 2])
    finally:
        child.communicate(b"\n")
    assert done.returncode == 0, done.stderr
    found, stolen = json.loads(done.stdout)
    assert SECRET in stolen
    assert {"files", "imports", "proc", "debugger", "memory"} <= found.keys()
    assert {"the expected tensor", "planted text"} <= set(found["memory"])
    assert any(what.startswith(("attached", "read memory")) for what in found["debugger"])
    assert {"grader.authoring.release", "lab01_forward_noise"} <= set(found["imports"])


@linux
def test_the_attack_earns_full_marks_without_isolation(full: Edition, ground: Path) -> None:
    source = attack(full, roots=[], pids=[])
    record = attacked(full, ground / "open", source, *command(full), "--sandbox", "none")
    assert {"files", "imports"} <= hunted(record).keys()
    lost = [f"{check['id']}: {check['message']}" for check in record["checks"] if check["earned"] < check["possible"]]
    assert lost == []


def ordinary(full: Edition) -> dict[str, Any]:
    """Return how to run Python as an ordinary user who has no bwrap."""
    libraries = (full.site / "libraries.pth").read_text(encoding="utf-8").split()
    options: dict[str, Any] = {"env": {"PATH": "/nonexistent", "PYTHONPATH": ":".join([str(full.site), *libraries])}}
    if os.geteuid() != 0:
        return options
    options |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    # The interpreter of this environment may lie below a home that nobody else may enter.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (full.python, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            if full.run(full.site, "-c", "import grader.cli, numpy", python=python, **options).returncode == 0:
                return options | {"python": python}
        except OSError:
            continue
    pytest.skip(f"an ordinary user finds no {version} here that can read the libraries")


@linux
@pytest.mark.parametrize("way", ["root with bwrap", "ordinary user"])
def test_the_attack_finds_nothing_and_earns_nothing(full: Edition, ground: Path, way: str) -> None:
    if way == "ordinary user":
        words, options = ["-c", "from grader.cli import main; main()", "lab01"], ordinary(full)
    else:
        words, options = command(full), {}
    record = attacked(full, ground / way.replace(" ", "-"), attack(full), *words, **options)
    layers = record["environment"]["sandbox"]
    if way == "ordinary user" or shutil.which("bwrap") is None:
        assert "not installed" in layers.pop("bwrap")
    assert set(layers.values()) == {True}
    assert hunted(record) == {}
    assert record["score"]["earned"] == 0
    assert SECRET not in json.dumps(record)
