import re
import shutil
import subprocess
import sys

import pytest

from grader.authoring.new import new
from grader.course import load
from grader.errors import CourseError, UsageError
from tests import toy


def files(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_relative_to(toy.ROOT)}


def test_the_lab_is_the_courses_last_and_is_named_after_its_title(tmp_path):
    written = new(toy.make(tmp_path), "lab11", "Guidance, in one call!")
    lab = load(tmp_path).labs[-1]
    assert (lab.id, lab.manifest.title) == ("lab11", "Guidance, in one call!")
    assert lab.folder.name == "lab11_guidance_in_one_call"
    assert all(path.is_file() for path in written)
    assert "{title}" not in "".join(path.read_text(encoding="utf-8") for path in written)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('labs = ["lab01_toy"]', 'labs = ["lab01_toy", "lab11_a_new_lab"]'),
        ('labs = [\n  "lab01_toy",\n]', 'labs = [\n  "lab01_toy",\n  "lab11_a_new_lab",\n]'),
        ('labs = [\n  "lab01_toy"\n]  # all', 'labs = [\n  "lab01_toy",\n  "lab11_a_new_lab",\n]  # all'),
    ],
    ids=["line", "lines", "no last comma"],
)
def test_course_toml_keeps_its_form(tmp_path, before, after):
    course = toy.COURSE.replace('labs = ["lab01_toy"]', before) + "# an end\n"
    new(toy.make(tmp_path, course=course), "lab11", None)
    assert (tmp_path / "exercises" / "course.toml").read_text() == course.replace(before, after)


@pytest.mark.parametrize("lab_id", ["11", "lab1", "lab111", "../lab11", "Lab11"])
def test_an_id_that_is_none_is_refused(tmp_path, lab_id):
    with pytest.raises(UsageError, match="`lab` and two digits"):
        new(toy.make(tmp_path), lab_id, None)


def test_a_lab_that_is_there_stays_as_it_is(tmp_path):
    course = toy.make(tmp_path)
    before = files(tmp_path)
    with pytest.raises(UsageError, match="there is a lab01 already: lab01_toy"):
        new(course, "lab01", "Toys again")
    assert files(tmp_path) == before


def test_nothing_is_written_where_a_file_is_in_the_way(tmp_path):
    course = toy.make(tmp_path)
    (tmp_path / "reference" / "lab11_a_new_lab.py").write_text("mine")
    before = files(tmp_path)
    with pytest.raises(UsageError, match=r"reference/lab11_a_new_lab.py is there already; nothing was written"):
        new(course, "lab11", None)
    assert files(tmp_path) == before


def test_a_course_without_a_list_of_labs_is_refused_before_anything_is_written(tmp_path):
    course = toy.make(tmp_path)
    manifest = tmp_path / "exercises" / "course.toml"
    manifest.write_text(manifest.read_text().replace("labs =", '"labs" ='))
    before = files(tmp_path)
    with pytest.raises(CourseError, match="no list `labs`"):
        new(course, "lab11", None)
    assert files(tmp_path) == before


def test_a_new_lab_of_this_checkout_needs_nothing_by_hand(tmp_path):
    """Its row, its witness and its tests are there, and hold what tests/test_docs.py and tests/labs ask of a lab."""
    root = tmp_path / "checkout"
    ignore = shutil.ignore_patterns(".git", ".venv", ".grade", "__pycache__", "docs")
    shutil.copytree(toy.ROOT, root, ignore=ignore)
    before = (root / "README.md").read_text(encoding="utf-8")
    written = {str(path.relative_to(root)) for path in new(load(root), "lab99", "Unit range")}
    assert written >= {"README.md", "fixtures/golden/lab99.safetensors", "tests/labs/test_lab99_oracle.py"}
    after = (root / "README.md").read_text(encoding="utf-8")
    assert "| lab99 | Unit range | 1 | 3 |\n" in after
    (labs, tasks), (more_labs, more_tasks) = (re.findall(r"(\d+) labs with (\d+) tasks", t)[0] for t in (before, after))
    assert (int(more_labs), int(more_tasks)) == (int(labs) + 1, int(tasks) + 1)
    words = ["-q", "-p", "no:cacheprovider", "tests/labs/test_lab99_oracle.py", "tests/labs/test_golden.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "-k", "lab99"], cwd=root, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout
    style = [sys.executable, "-m", "ruff"]
    for check in (["check", "-q"], ["format", "-q", "--check"]):
        assert subprocess.run([*style, *check, "."], cwd=root, timeout=600, check=False).returncode == 0, check
