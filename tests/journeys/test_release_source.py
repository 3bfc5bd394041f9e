"""The student edition of toy courses: what of checks.py is shown, and when a release is refused."""

from __future__ import annotations

import gzip
import subprocess
import textwrap
import tomllib
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from grader.authoring import template
from grader.authoring.leaks import Leaks
from grader.authoring.parts import STUDENTS, engine_files
from grader.authoring.release import Released, release, visible_checks
from grader.cli import COMMANDS
from grader.course import Course, load
from grader.errors import CourseError, UsageError
from grader.root import PACKAGE, edition
from tests import toy


def shown(source: str) -> str:
    return visible_checks(textwrap.dedent(source))


def test_hidden_checks_and_what_only_they_use_are_dropped() -> None:
    found = shown('''
        """All checks."""
        from __future__ import annotations

        import math
        import numpy as np
        from grader.kit import check, randn, tensor as numbers

        SIZE = 3
        HIDDEN_SIZE = 7  # nobody may know

        def width(seed):
            return SIZE + seed

        def secret_width(seed):
            return math.sqrt(HIDDEN_SIZE) + width(seed)

        @check("double", visible=True)
        def test_shown(compare, draw):
            """It doubles."""
            seed = draw.seed()
            # why it is so
            compare.double(randn(seed, width(seed), 2))

        @check("double")
        def test_hidden(compare, draw):
            """It doubles more."""
            seed = draw.seed()
            compare.double(numbers([secret_width(seed), np.pi]))

        @check("double", visible=False)
        def test_hidden_too(compare):
            """It doubles most."""
            compare.double(1)
    ''')
    assert found == textwrap.dedent('''\
        from __future__ import annotations
        from grader.kit import check, randn


        SIZE = 3


        def width(seed):
            return SIZE + seed


        @check("double", visible=True)
        def test_shown(compare, draw):
            """It doubles."""
            seed = draw.seed()
            # why it is so
            compare.double(randn(seed, width(seed), 2))
    ''')


def test_parametrisation_decorators_and_constants_stay() -> None:
    found = shown('''
        import pytest
        from grader import kit
        from grader.kit import Recipe, randn

        SHAPES = [(1, 2), (3, 4)]
        LARGE = {"a": [size * 2 for size, _ in SHAPES]}
        first, second = SHAPES
        HIDDEN = [(5, 6)]

        def halve(value: Recipe) -> Recipe:
            return value

        class Reader:
            default = first

        @pytest.mark.parametrize("shape", SHAPES, ids=str)
        @kit.check("double", weight=2, visible=True)
        def test_shown(compare, draw, shape, reader=Reader):
            """It doubles."""
            def inner(HIDDEN):
                return HIDDEN
            compare.play("twice", view=lambda value: halve(value), x=inner(shape))

        @pytest.mark.parametrize("shape", HIDDEN)
        @kit.check("double", weight=2)
        def test_hidden(compare, draw, shape):
            """It doubles."""
            seed = draw.seed()
            compare.double(randn(seed, *shape), LARGE)
    ''')
    kept = (
        "import pytest",
        "from grader import kit",
        "Recipe",
        "SHAPES = ",
        "first, second =",
        "halve",
        "class Reader",
    )
    for piece in (
        *kept,
        '@pytest.mark.parametrize("shape", SHAPES, ids=str)\n@kit.check("double", weight=2, visible=True)',
    ):
        assert piece in found
    # A parameter that happens to be called HIDDEN is not the constant of that name.
    for piece in ("HIDDEN =", "LARGE", "randn", "test_hidden"):
        assert piece not in found


def test_names_bound_in_conditions_stay_when_they_are_used() -> None:
    found = shown('''
        from grader.kit import check
        try:
            from fractions import Fraction
        except ImportError:
            Fraction = None
        if Fraction:
            def half(): return Fraction(1, 2)
        else:
            unrelated = 1
        for unused in range(3):
            pass

        @check("double", visible=True)
        def test_shown(compare):
            """It doubles."""
            compare.double(float(half()))
    ''')
    assert "from fractions import Fraction" in found
    assert "def half()" in found
    assert "unused" not in found


# A whole toy course

TELLING = """
import torch


def scale(x, factor):
    return x * factor + 0.0 * x.abs().sum()


def jitter(x, generator):
    return x + torch.rand(x.shape, generator=generator)
"""


def check(body: str, mark: str = "visible=True") -> str:
    return toy.CHECKS + textwrap.dedent(f'''
        from grader.kit import array

        @check("scale", {mark})
        def test_more(compare, student, reference, draw):
            """More."""
            seed = draw.seed()
            {body}
    ''')


def released(course: Course, target: Path) -> Path:
    release(course, target, lambda done, total, text: None)
    return target


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Course, Released]:
    """A toy course with a page, a handbook and trained weights, and all that a release of it writes."""
    ground = tmp_path_factory.mktemp("whole")
    course = toy.make(ground / "course")
    trained = course.root / "fixtures" / "minisd"
    trained.mkdir(parents=True)
    (trained / "unet.safetensors").write_bytes(b"\0weights\1" * 100)
    (trained / "__init__.py").write_text('"""Toy weights."""\n', encoding="utf-8")
    told: list[tuple[int, int, str]] = []
    found = release(
        course,
        ground / "edition",
        lambda *step: told.append(step),
        wheels=ground / "wheels",
        repository=ground / "git" / "edition.git",
    )
    assert told[0] == (0, 1, "lab01: the visible checks")
    assert told[-1] == (1, 1, "")
    return course, found


def test_a_toy_edition_has_what_it_needs_and_sentences_survive(tmp_path: Path) -> None:
    says = 'You "added" it:\\n\\\\o/'
    edited = toy.MISCONCEPTIONS.replace("You added the factor instead of multiplying by it.", says.replace('"', '\\"'))
    titled = toy.COURSE.replace("A toy course", 'A \\"toy\\" course')
    course = toy.make(tmp_path / "course", course=titled, misconceptions=edited)
    handbook = course.root / "exercises" / "handbook"
    handbook.mkdir()
    (handbook / "overview.md").write_text("# Overview\n", encoding="utf-8")

    target = released(course, tmp_path / "new" / "edition")

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["edition"]
    read = load(target)
    (lab,) = read.labs
    assert read.manifest.title == course.manifest.title == 'A "toy" course'
    assert read.seed != course.seed
    assert [(edit.id, edit.says, edit.find, edit.recorded) for edit in lab.misconceptions] == [
        ("adds", 'You "added" it:\n\\o/', None, True)
    ]
    assert lab.source == course.labs[0].source
    assert (target / "exercises/handbook/overview.md").read_text(encoding="utf-8") == "# Overview\n"
    assert "MIT" in (target / "LICENSE").read_text(encoding="utf-8")
    project = tomllib.loads((target / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["description"] == 'A "toy" course: the student edition'
    signed = edition(target)
    assert signed is not None
    assert signed.labs == {"lab01": course.labs[0].source}
    assert project["version"].endswith(f"+student.{signed.digest}")
    assert any(need.startswith("torch") for need in project["dependencies"])
    assert not any(need.startswith("ruff") for need in project["dependencies"])
    with pytest.raises(CourseError, match="student edition already"):
        released(read, tmp_path / "again")


def test_the_wheels_hold_the_edition_and_the_weights_apart(whole: tuple[Course, Released]) -> None:
    course, found = whole
    own, weights = found.wheels
    assert own.name.startswith("alphabar-") and weights.name.startswith("alphabar_weights-")
    inside = zipfile.ZipFile(own).namelist()
    assert "grader/_course/exercises/lab01_toy/answers.bin" in inside
    assert not [name for name in inside if name.endswith(".safetensors")]
    assert "alphabar_weights/minisd/unet.safetensors" in zipfile.ZipFile(weights).namelist()
    trained = (course.root / "fixtures" / "minisd" / "unet.safetensors").read_bytes()
    assert zipfile.ZipFile(weights).read("alphabar_weights/minisd/unet.safetensors") == trained
    assert not list(found.folder.rglob("*.safetensors"))


def test_the_repository_can_be_cloned_and_holds_the_folder_in_one_commit(
    whole: tuple[Course, Released], tmp_path: Path
) -> None:
    _, found = whole
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(found.repository), str(clone)], check=True)
    mine = {path.relative_to(clone): path.read_bytes() for path in clone.rglob("*") if path.is_file()}
    mine = {path: data for path, data in mine.items() if path.parts[0] != ".git"}
    theirs = {path.relative_to(found.folder): path.read_bytes() for path in found.folder.rglob("*") if path.is_file()}
    assert mine == theirs
    log = subprocess.run(["git", "-C", str(clone), "log", "--format=%an %ae %s"], capture_output=True, text=True)
    (line,) = log.stdout.splitlines()
    assert line.startswith("alphabar alphabar@example.invalid A toy course 1, student edition e")


def test_a_repository_may_be_named_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("files").mkdir()
    Path("files/README.md").write_text("# Read me\n", encoding="utf-8")
    template.write(Path("files"), Path("made.git"), "It begins", datetime(2026, 11, 28, tzinfo=UTC))
    subprocess.run(["git", "clone", "--quiet", "made.git", "clone"], check=True)
    assert Path("clone/README.md").read_text(encoding="utf-8") == "# Read me\n"
    assert [path.name for path in Path("files").iterdir()] == ["README.md"]


def test_the_same_course_gives_the_same_edition_whenever_it_is_released(
    whole: tuple[Course, Released], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course, found = whole
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    again = [
        release(course, tmp_path / name, lambda *step: None, wheels=tmp_path / f"{name}-wheels") for name in ("a", "b")
    ]
    one, other = ([path.read_bytes() for path in each.wheels] for each in again)
    assert one == other
    first, later = edition(again[0].folder), edition(found.folder)
    assert first is not None and later is not None
    assert first.digest == later.digest
    assert first.released.isoformat() == "2026-09-21T14:13:20+00:00"


def test_no_command_is_forgotten_and_what_students_type_needs_nothing_that_is_left_out(
    whole: tuple[Course, Released],
) -> None:
    _, found = whole
    teaching = {"author", "instructor", "export", "term"}
    assert {module for module, _ in COMMANDS.values()} == teaching | set(STUDENTS)
    kept = {path.relative_to(PACKAGE) for path in engine_files()}
    assert kept == {path.relative_to(found.folder / "grader") for path in (found.folder / "grader").rglob("*.py")}
    assert not {path.parts[0] for path in kept} & {"authoring", "executors"}
    assert not {Path("cohort/run.py"), Path("cohort/find.py")} & kept
    # Each of them imports in a process that has only those.
    modules = [
        ".".join(("grader", *path.with_suffix("").parts)) for path in kept if path.parts[:2] != ("sandbox", "worker")
    ]
    code = f"import importlib; [importlib.import_module(name.removesuffix('.__init__')) for name in {modules!r}]"
    done = subprocess.run([toy.GRADE.with_name("python"), "-c", code], cwd=found.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    with pytest.raises(UsageError, match="already there"):
        released(toy.make(tmp_path / "course"), target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        "student.jitter(array(compare.scale(randn(seed, 4), 2.0).array), draw.generator())",
        "reference.scale(array(student.scale(randn(seed, 4), 2.0).array), 2.0)",
    ],
)
def test_a_check_that_asks_for_what_a_student_answered_is_refused(tmp_path: Path, body: str) -> None:
    course = toy.make(tmp_path / "course", checks=check(body))
    with pytest.raises(CourseError, match="from the student's own answer"):
        release(course, tmp_path / "edition", lambda *step: None, wheels=tmp_path / "dist")
    assert [path.name for path in tmp_path.iterdir()] == ["course"]  # no empty folder for wheels either


def test_a_check_that_builds_on_the_reference_is_recorded(tmp_path: Path) -> None:
    body = 'compare.scale(array(reference.scale(randn(seed, 4).to("bfloat16"), 2.0).array), 3.0)'
    target = released(toy.make(tmp_path / "course", checks=check(body)), tmp_path / "edition")
    assert (target / "exercises/lab01_toy/answers.bin").is_file()


def test_visible_checks_that_the_text_hides_are_refused(tmp_path: Path) -> None:
    checks = check("compare.scale(randn(seed, 5), 2.0)", mark="visible=bool(1)")
    with pytest.raises(CourseError, match=r"scale\.more cannot be told from its text"):
        released(toy.make(tmp_path / "course", checks=checks), tmp_path / "edition")


def test_a_visible_check_that_needs_a_hidden_one_is_refused(tmp_path: Path) -> None:
    course = toy.make(tmp_path / "course", checks=check("test_secret(compare, draw)"))
    with pytest.raises(CourseError, match=r"does not pass lab01/scale\.more .*test_secret"):
        released(course, tmp_path / "edition")


@pytest.mark.parametrize(
    "quoted",
    [
        "return x * factor + 0.0 * x.abs().sum()",
        "return x*factor + 0.0*x\n    .abs().sum()",
        "compare.scale(randn(seed, 11, 13, 17), 2.0)",
        "(x + factor).clone().detach()",
    ],
    ids=["reference", "reflowed", "hidden check", "edit"],
)
def test_a_page_that_quotes_what_is_to_be_found_out_is_refused(tmp_path: Path, quoted: str) -> None:
    course = toy.make(
        tmp_path / "course",
        reference=TELLING,
        checks=check("compare.scale(randn(seed, 11, 13, 17), 2.0)", mark="visible=False"),
        misconceptions=toy.MISCONCEPTIONS.replace('"x + factor"', '"(x + factor).clone().detach()"'),
    )
    page = course.labs[0].page_path
    page.write_text(f"# Toys\n\nWrite:\n\n```\n{quoted}\n```\n", encoding="utf-8")
    with pytest.raises(CourseError, match=r"lab01_toy/page\.md would give away this line"):
        released(course, tmp_path / "edition")


@pytest.mark.parametrize(
    "name", ["grader/kit.py", "fixtures/shapes.py", "templates/page.html", "a.bin", "b.toml.gz", "c.safetensors"]
)
def test_a_line_is_found_in_every_kind_of_file_of_an_edition(tmp_path: Path, name: str) -> None:
    course = toy.make(tmp_path / "course", reference=TELLING)
    leaks = Leaks(course, tmp_path / "edition")
    told = b"    return  x * factor + 0.0 * x.abs().sum()\n"
    data = b"\0\1harmless\0 text and more of it, which is long enough\xff" + told + b"\0\xfe"
    data = told if name.endswith((".py", ".html")) else gzip.compress(data) if name.endswith((".bin", ".gz")) else data
    with pytest.raises(CourseError, match=f"edition's {name} would give away this line: return x \\*"):
        leaks.refuse(name, data)
    leaks.refuse(name, data.replace(b"factor", b"FACTOR") if data[:2] != b"\x1f\x8b" else gzip.compress(b"nothing"))


def test_a_line_is_found_in_a_wheel(tmp_path: Path) -> None:
    leaks = Leaks(toy.make(tmp_path / "course", reference=TELLING), tmp_path / "edition")
    with zipfile.ZipFile(tmp_path / "some.whl", "w") as archive:
        archive.writestr("alphabar_weights/answers/lab01.bin", gzip.compress(TELLING.encode()))
    with pytest.raises(CourseError, match=r"some\.whl: alphabar_weights/answers/lab01\.bin would give away this line"):
        leaks.refuse_wheel(tmp_path / "some.whl")
