"""What a kept result or audit holds for: which changes of a course and of the engine touch it."""

import shutil

import pytest

from grader import digests
from grader.digests import source_digest, task_digests
from grader.root import PACKAGE
from tests import toy


def test_a_submission_is_known_by_its_whole_digest():
    # sha256("abc"), FIPS 180-2, B.1
    assert source_digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


HELPER = "\n\nFACTOR = 3.0\n"
CHANGES = {
    "a comment": ({"checks": toy.CHECKS.replace("    compare.jitter", "    # why\n    compare.jitter")}, set()),
    "one check": ({"checks": toy.CHECKS.replace("draw.normal(5), -0.5", "draw.normal(5), -0.25")}, {"scale"}),
    "one docstring": ({"checks": toy.CHECKS.replace("comes from the generator", "is the generator's")}, {"jitter"}),
    "a helper": ({"checks": toy.CHECKS + HELPER}, {"scale", "jitter"}),
    "a known mistake": ({"misconceptions": toy.MISCONCEPTIONS.replace("adds", "sums")}, {"scale"}),
    "the reference": ({"reference": toy.REFERENCE.replace("x * factor", "factor * x")}, {"scale", "jitter"}),
    "the reference's blank lines": ({"reference": toy.REFERENCE + "\n\n# the end\n"}, set()),
    "scenarios": ({"scenarios": "def play():\n    return 1\n"}, {"scale", "jitter"}),
    "a signature": ({"starter": toy.STARTER.replace("scale(x, factor)", "scale(x, by)")}, {"scale"}),
    "points": ({"lab": toy.LAB.replace("points = 3", "points = 5")}, {"jitter"}),
    "limits": ({"lab": toy.LAB.replace("memory_mib = 512", "memory_mib = 600")}, {"scale", "jitter"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_change_of_the_course_touches(tmp_path, change):
    files, touched = CHANGES[change]
    before = task_digests(toy.make(tmp_path / "before").lab("lab01"))
    after = task_digests(toy.make(tmp_path / "after", **files).lab("lab01"))
    assert {task for task in before if before[task] != after[task]} == touched


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A copy of the package, and how its digest is asked for anew."""
    package = tmp_path / "grader"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digests, "PACKAGE", package)

    def asked(*above):
        digests.engine.cache_clear()
        return digests.engine(*above)

    yield package, asked
    digests.engine.cache_clear()


@pytest.mark.parametrize(
    "module",
    ["course.py", "manifest.py", "kit.py", "grading.py", "root.py", "checking/compare.py", "sandbox/worker/serve.py"],
)
def test_an_engine_that_judges_otherwise_is_another(engine, module):
    package, asked = engine
    before = asked()
    path = package / module
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n# a comment\n", encoding="utf-8")
    assert asked() == before
    path.write_text(text + "\nLIMIT = 1\n", encoding="utf-8")
    assert asked() != before


@pytest.mark.parametrize("module", ["reports/html.py", "cohort/run.py", "cli/student.py", "store.py", "digests.py"])
def test_an_engine_that_tells_or_keeps_otherwise_is_the_same(engine, module):
    package, asked = engine
    before, told = asked(), asked("reports")
    (package / module).write_text("LIMIT = 1\n", encoding="utf-8")
    assert asked() == before
    assert (asked("reports") != told) == module.startswith("reports")


def test_the_prose_of_the_engine_does_not_count(engine):
    package, asked = engine
    before = asked()
    path = package / "scoring.py"
    first, rest = path.read_text(encoding="utf-8").split("\n", 1)
    assert first.startswith('"""')
    path.write_text('"""Another sentence."""\n' + rest, encoding="utf-8")
    assert asked() == before


@pytest.mark.parametrize(
    ("name", "counts"),
    [("checks.py", True), ("lab.toml", True), ("misconceptions.toml", True), ("equivalents.toml", True),
     ("starter.py", True), ("scenarios.py", True), ("hints.toml", True), ("waivers.toml", True),
     ("page.md", False), ("figures.py", False)],
)  # fmt: skip
def test_what_an_audit_of_a_lab_rests_on(tmp_path, name, counts):
    lab = toy.make(tmp_path, scenarios="").lab("lab01")
    before = digests.lab_digest(lab)
    with (lab.folder / name).open("a", encoding="utf-8") as file:
        file.write("\n# a line\n" if not name.endswith(".py") else "\nLIMIT = 1\n")
    assert (digests.lab_digest(lab) != before) == counts


def test_an_audit_rests_on_the_reference(tmp_path):
    lab = toy.make(tmp_path / "one").lab("lab01")
    other = toy.make(tmp_path / "two", reference=toy.REFERENCE.replace("x * factor", "factor * x")).lab("lab01")
    assert digests.lab_digest(lab) != digests.lab_digest(other)
