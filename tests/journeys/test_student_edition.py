"""The student edition, released by an installed course and installed in turn: what it can do, and what it hides."""

from __future__ import annotations

import ast
import gzip
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.visible_checks import NAMED, REJECTED, count
from grader.course import Course, Lab, apply_edits, load
from grader.sandbox.launcher import Sandbox

from .conftest import SECRET, SEED, Edition, Release, build, environment, lend_libraries

EVERY = 3  # of so many labs one is drawn: it takes the whole course's networks long

pytestmark = pytest.mark.wheel


@pytest.fixture(scope="session")
def course(checkout: Path) -> Course:
    """The whole course, to know what the edition must not hold."""
    return load(checkout)


def sources(lab: Lab) -> dict[str, str]:
    """Return what is graded in both editions: right code, and two known mistakes."""
    found = {"right": lab.reference}
    for edit in lab.misconceptions[:: (len(lab.misconceptions) + 1) // 2]:
        edited = apply_edits(lab.reference, [edit])
        assert edited is not None
        found[f"{edit.task}/{edit.id}"] = edited
    return found


@pytest.fixture(scope="session")
def told(course: Course, student: Edition, full: Edition, weights: Path, ground: Path) -> dict[str, dict[str, Any]]:
    """What both editions say of the same sources."""
    asked = {lab.id: sources(lab) for lab in course.labs}
    drawn = [lab.id for lab in course.labs[::EVERY]]
    return {
        "student": student.told(ground, asked, weights, drawn=drawn),
        "full": full.told(ground, asked, drawn=drawn),
    }


def test_it_is_small_in_every_form_and_told_how_far_it_was(course: Course, released: Release) -> None:
    def size(path: Path) -> int:
        return sum(one.stat().st_size for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file())

    for form in (released.folder, released.wheel, released.repository):
        assert size(form) < 3_000_000, form
    assert size(released.weights) > 10_000_000
    for number, lab in enumerate(course.labs, 1):
        assert f"[{number}/{len(course.labs)}] {lab.id}\n" in released.says


def test_right_code_earns_all_visible_marks_in_every_lab(course: Course, told: dict[str, Any]) -> None:
    for lab in course.labs:
        mine, whole = told["student"][lab.id]["right"], told["full"][lab.id]["right"]
        assert mine["earned"] == mine["possible"] == whole["possible"], lab.id
        assert set(mine["visible"].values()) == {"passed"}
        assert mine["visible"] == whole["visible"]
        assert mine["checks"] == len(mine["visible"]) < whole["checks"]


def test_known_mistakes_are_named_there_too(course: Course, told: dict[str, Any]) -> None:
    exact = 0
    for lab in course.labs:
        for name in sources(lab).keys() - {"right"}:
            task, mistake = name.split("/")
            mine, whole = told["student"][lab.id][name], told["full"][lab.id][name]
            assert mine["visible"] == whole["visible"], name
            assert mine["named"] == whole["named"], name
            if set(mine["visible"].values()) != {"passed"}:
                assert [mistake] in mine["named"][task], name
                exact += mine["named"][task] == [[mistake]]
    assert exact >= len(course.labs)


def test_the_visible_checks_alone_reject_and_name_most_known_mistakes(course: Course, released: Release) -> None:
    """A sample of two labs; `python benchmarks/visible_checks.py` counts all of all labs."""
    edition = load(released.folder)
    with Sandbox("torch") as sandbox:
        counts = [count(course.lab(name), edition.lab(name), sandbox, every=8) for name in ("lab01", "lab04")]
    known = sum(one.known for one in counts)
    assert known > 25
    assert sum(one.rejected for one in counts) >= REJECTED * known, [one.passed for one in counts]
    assert sum(one.named for one in counts) >= NAMED * known


def test_pictures_are_drawn_from_recorded_answers(course: Course, told: dict[str, Any]) -> None:
    for lab in course.labs[::EVERY]:
        mine = told["student"][lab.id]["right"]["pictures"]
        assert mine
        assert [one["title"] for one in mine if one["missing"] or "Yours is left out" in one["caption"]] == []
        assert mine == told["full"][lab.id]["right"]["pictures"]


def test_a_student_works_through_a_lab(student: Edition, course: Course, weights: Path, ground: Path) -> None:
    desk = ground / "student-desk"
    desk.mkdir()

    def grade(*words: str, code: int = 0) -> str:
        done = student.grade(desk, *words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    lab = course.lab("lab01")
    listed = grade("list")
    assert all(one.id in listed for one in course.labs)
    assert "Wrote lab01.py" in grade("start", "lab01")
    stub = json.loads(grade("lab01", "--json", "-", code=1))
    assert {check["outcome"] for check in stub["checks"]} == {"skipped"}
    mistake = next(edit for edit in lab.misconceptions if edit.id == "alpha_not_alpha_bar")
    wrong = apply_edits(lab.reference, [mistake])
    assert wrong is not None
    (desk / "lab01.py").write_text(wrong, encoding="utf-8")
    assert " ".join(mistake.says.split()[:4]) in " ".join(grade("lab01", code=1).split())
    assert "add_noise" in grade("read", "lab01")
    assert "Hint 1" in grade("hint", "lab01", "add_noise")
    said = student.grade(desk, "lab01").stderr
    assert "pictures were not drawn, for want of the wheel alphabar-weights: pip install the one that came" in said
    grade("report", "lab01")
    page = (desk / ".grade/lab01/report.html").read_text(encoding="utf-8")
    assert "Not drawn, for want of the wheel alphabar-weights" in page
    assert '<svg class="chart"' in page  # what needs no weights is drawn
    env = {"PYTHONPATH": str(weights)}
    assert "not drawn" not in student.grade(desk, "lab01", env=env).stderr
    assert "data:image/png;base64," in (desk / ".grade/lab01/report.html").read_text(encoding="utf-8")

    grade("repro", "lab01", "one_timestep")
    ran = student.run(desk, "repro_lab01_one_timestep.py")
    assert ran.returncode == 0, ran.stderr
    assert "tensor(" in ran.stdout

    for words in (["audit", "lab01"], ["release", "-o", "again"], ["cohort", "lab01", "."]):
        said = grade(*words, code=4)
        assert "student edition" in said
        assert len(said.strip().splitlines()) == 1
    assert not (desk / "again").exists()
    assert "  audit" not in grade("--help")

    (desk / "lab01.py").write_text(lab.reference, encoding="utf-8")
    right = json.loads(student.grade(desk, "lab01", "--json", "-").stdout)
    assert right["score"]["earned"] == right["score"]["possible"] > 0


def test_the_notebooks_one_cell_installs_the_wheel_beside_a_torch_and_grades(released: Release, ground: Path) -> None:
    notebook = json.loads((released.folder / "start.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], [cell["cell_type"] for cell in notebook["cells"]]) == (4, ["code"])
    python, site = environment(ground / "hosted")
    lend_libraries(site)
    desk = ground / "hosted-desk"
    desk.mkdir()
    (desk / "cell.py").write_text("".join(notebook["cells"][0]["source"]), encoding="utf-8")
    hosted = Edition(released.wheel, python, site)
    alone = hosted.run(desk, "cell.py")
    assert alone.returncode == 1
    assert "There is no alphabar-….whl beside this notebook" in alone.stderr
    shutil.copy(released.wheel, desk)
    for _ in range(2):  # as often as one likes
        done = hosted.run(desk, "cell.py", env={"PIP_NO_INDEX": "1"})
        assert done.returncode == 0, done.stderr
        assert "lab01.py" in done.stdout
    assert (desk / "lab01.py").is_file()
    where = hosted.run(desk, "-c", "import grader, torch; print(grader.__file__, torch.__file__)").stdout
    assert where.count(str(site)) == 1  # torch stays the host's


def test_the_development_container_is_described_whole(released: Release) -> None:
    folder = released.folder / ".devcontainer"
    described = json.loads((folder / "devcontainer.json").read_text(encoding="utf-8"))
    built = (folder / described["build"]["dockerfile"]).read_text(encoding="utf-8")
    assert "bubblewrap" in built and all(f"ARG {name}=" in built for name in described["build"]["args"])
    assert f"USER {described['remoteUser']}" in built
    assert described["postCreateCommand"] == "pip install --user . && grade doctor"


def test_the_wheel_holds_the_edition_and_nothing_else(student: Edition, released: Release, ground: Path) -> None:
    names = zipfile.ZipFile(student.wheel).namelist()
    assert "+student" in student.wheel.name
    kinds = {name.split("/")[2] for name in names if name.startswith("grader/_course/")}
    assert kinds == {"exercises", "fixtures", "templates"}
    allowed = {"answers.bin", "checks.py", "figures.py", "hints.toml", "lab.toml", "misconceptions.toml.gz"}
    allowed |= {"page.md", "scenarios.py", "starter.py"}
    for folder in (released.folder / "exercises").glob("lab*"):
        assert {path.name for path in folder.iterdir()} <= allowed
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".safetensors"))]
    # What pip makes of the folder is the same, file by file, as far as both say it.
    other = zipfile.ZipFile(build(released.folder, ground / "from-the-folder"))
    own = zipfile.ZipFile(student.wheel)
    assert sorted(other.namelist()) == sorted(names)
    described = (".dist-info/METADATA", ".dist-info/WHEEL", ".dist-info/RECORD")
    assert [name for name in names if not name.endswith(described) and own.read(name) != other.read(name)] == []


def texts(folder: Path) -> dict[Path, str]:
    """Return all files as text, packed ones unpacked; bytes that are no text as they are."""
    found = {}
    shipped = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    for path in sorted(shipped):
        body = path.read_bytes()
        body = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        found[path.relative_to(folder)] = body.decode("latin-1" if path.suffix in (".bin", ".safetensors") else "utf-8")
    return found


def telling(lab: Lab) -> set[str]:
    """Return the lines of code that nobody may find: of the reference, of hidden checks, of edits."""
    lines: list[str] = []
    secret = [lab.reference]
    checks = lab.checks_path.read_text(encoding="utf-8")
    for node in ast.parse(checks).body:
        marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", [])]
        if any("check(" in mark and "visible=True" not in mark for mark in marks):
            secret.append(ast.get_source_segment(checks, node) or "")
    for text in secret:
        documented = {
            number
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            for number in range(node.lineno, (node.end_lineno or 0) + 1)
        }
        lines += [line for number, line in enumerate(text.splitlines(), 1) if number not in documented]
    lines += [line for edit in lab.misconceptions for piece in edit.replacements for line in piece.put.splitlines()]
    return {line.strip() for line in lines if len(line.strip()) > 30 and not line.startswith(("from ", "import "))}


def is_value(line: str) -> bool:
    try:
        ast.literal_eval(f"({line})")
    except (SyntaxError, ValueError):
        return False
    return True


def test_nothing_is_given_away(course: Course, released: Release, weights: Path) -> None:
    shown = texts(released.folder) | {Path("weights") / path: text for path, text in texts(weights).items()}
    for path, text in shown.items():
        assert SECRET not in text, path
        assert str(SEED) not in text, path
    told = {path: text for path, text in shown.items() if path.parts[0] in ("exercises", "fixtures", "weights")}
    assert len(told) > 40
    public = "".join(text for path, text in told.items() if path.name in ("starter.py", "checks.py"))
    found = 0
    for lab in course.labs:
        lines = {line for line in telling(lab) if line not in public}
        assert len(lines) > 20
        for path, text in told.items():
            given = [line for line in lines if line in text]
            if path.suffix == ".bin":  # what a wrong prediction answers is recorded, and is no code
                given = [line for line in given if not is_value(line)]
            assert not given, (path, given)
            found += sum(line in text for line in lab.starter.splitlines() if len(line) > 30)
    assert found  # such lines can be found


def test_answers_are_recorded_to_visible_calls_only(
    course: Course, released: Release, weights: Path, told: dict[str, Any]
) -> None:
    def recorded(path: Path) -> list[tuple[tuple[str, ...], str]]:
        index = json.loads(gzip.decompress(path.read_bytes()).partition(b"\n")[0])
        return [(tuple(index["edits"][edits]), index["calls"][call]) for edits, call, *_ in index["entries"]]

    for lab in course.labs:
        entries = recorded(released.folder / "exercises" / lab.folder.name / "answers.bin")
        drawn = recorded(weights / "alphabar_weights" / "answers" / f"{lab.id}.bin")
        right = told["full"][lab.id]["right"]
        calls = {call for _, call in [*entries, *drawn]}
        assert {edits for edits, _ in drawn} <= {()}
        assert calls >= set(right["visible calls"])
        assert len(right["hidden calls"]) > 3
        assert not calls & set(right["hidden calls"])
        tasks = {name.split("/")[1].split(".")[0] for name in right["visible"]}
        known = [spelling for edit in lab.misconceptions if edit.task in tasks for spelling in edit.spellings]
        mistakes = {(spelling.key,) for spelling in known}
        assert {edits for edits, _ in entries} == {(), *mistakes}
