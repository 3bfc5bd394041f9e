"""The pictures of a class's pages: drawn after all verdicts, kept, and never at a verdict's cost."""

import json

import pytest

from grader.cli.instructor import read_cohort
from grader.cohort.publish import FILES
from grader.cohort.run import Cohort, canonical_cohort
from grader.digests import drawing_digest
from grader.errors import InternalError
from grader.executors import Done
from grader.results import Drawn, Picture, Problem, Series
from grader.store import Store
from tests import toy
from tests.cohort.made import SOURCES as KEPT
from tests.cohort.made import Told, entry, found, result

FIGURES = """
from grader.kit import Chart, figure, ones


@figure("scale")
def curve(play):
    yours, _ = play.call("scale", ones(2), 3.0)
    points = [(0.0, 0.0), (1.0, float(yours.array[0]) if yours is not None else 0.0)]
    return Chart(title="A curve", caption="c", alt="a", x_label="x", y_label="y", series=[("yours", "yours", points)])
"""
BROKEN = FIGURES.replace("return Chart", "open('/nowhere/weights')\n    return Chart")
PICTURE = Picture(
    task="scale", title="A curve", caption="c", alt="a", series=[Series(label="y", role="yours", points=[(0.0, 1.0)])]
)


def course_with(folder, figures, **files):
    course = toy.make(folder, **files)
    if figures is not None:
        (folder / "exercises" / "lab01_toy" / "figures.py").write_text(figures)
    return course


class Drawing(Told):
    """Draws one picture of everybody, or does what it is told instead."""

    def __init__(self, answers=None):
        super().__init__()
        self.instead = answers or {}

    def run(self, works):
        for work in works:
            if work.result is None:
                yield from super().run([work])
                continue
            self.asked.append(work)
            answer = self.instead.get(work.source, Drawn(pictures=[PICTURE]))
            if isinstance(answer, Exception):
                raise answer
            done = {"drawn": answer} if isinstance(answer, Drawn) else {"fault": answer}
            yield Done(id=work.id, **done)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return course_with(tmp_path_factory.mktemp("course") / "toy", FIGURES)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "results.sqlite") as opened:
        yield opened


def cohort_of(course, store, *entries, answers=None):
    cohort = Cohort(course, course.lab("lab01"), found(*entries), KEPT, store)
    cohort.grade(cohort.work(), Told(answers), lambda _: None)
    return cohort


def test_what_is_drawn_stays_and_only_what_is_missing_is_drawn(course, store):
    entries = [entry(1, b"a"), entry(2, b"bbb"), entry(3, b"a")]
    cohort, executor, heard = cohort_of(course, store, *entries), Drawing(), []
    assert [cohort.drawn(one) for one in entries] == [None] * 3
    assert cohort.draw(cohort.undrawn(), executor, heard.append) is None
    assert [work.source for work in executor.asked] == [b"bbb", b"a"]
    assert [(one.students, one.says) for one in heard] == [(["s002"], "1 picture"), (["s001", "s003"], "1 picture")]
    assert [cohort.drawn(one).pictures for one in entries] == [[PICTURE]] * 3
    again = cohort_of(course, store, *entries, entry(4, b"cc"))
    assert [KEPT.read(file) for file in again.undrawn()] == [b"cc"]


def test_what_cannot_be_drawn_is_said_and_tried_again(course, store):
    entries = [entry(1, b"a"), entry(2, b"b"), entry(3, b"c")]
    cohort = cohort_of(course, store, *entries)
    half = Drawn(pictures=[PICTURE], faults=["the second broke off"])
    cohort.draw(cohort.undrawn(), Drawing({b"a": half, b"b": "3 judges ended"}), lambda _: None)
    assert [cohort.drawn(one) for one in entries] == [
        half,
        Drawn(faults=["3 judges ended"]),
        Drawn(pictures=[PICTURE]),
    ]
    assert sorted(KEPT.read(file) for file in cohort.undrawn()) == [b"a", b"b"]


def test_a_drawer_that_gives_up_costs_nobody_a_result(course, store):
    entries = [entry(1, b"aaa"), entry(2, b"b")]
    cohort = cohort_of(course, store, *entries)
    stopped = cohort.draw(cohort.undrawn(), Drawing({b"b": InternalError("It stops.")}), lambda _: None)
    assert stopped == "It stops."
    assert [cohort.drawn(one) is not None for one in entries] == [True, False]
    assert [cohort.row(one).score.earned for one in entries] == [7, 7]


def test_what_did_not_load_or_failed_on_our_side_is_not_drawn(course, store):
    crashed = result(problem=Problem(kind="import_crashed", message="It ended."))
    missing = entry(3, None, Problem(kind="missing", message="No file."))
    entries = [entry(1, b"a"), entry(2, b"b"), missing]
    cohort = cohort_of(course, store, *entries, answers={b"a": crashed, b"b": "3 judges ended"})
    assert cohort.undrawn() == [] and cohort.drawn(missing) is None


def test_a_lab_without_figures_has_nothing_to_draw(store, tmp_path):
    assert cohort_of(course_with(tmp_path / "toy", None), store, entry(1)).undrawn() == []


CHANGES = {
    "a comment": ({}, "# why\n" + FIGURES, None, False),
    "the figure": ({}, FIGURES.replace("3.0", "4.0"), None, True),
    "a check": ({"checks": toy.CHECKS.replace("-0.5", "-0.25")}, FIGURES, None, False),
    "the reference": ({"reference": toy.REFERENCE.replace("x * factor", "factor * x")}, FIGURES, None, True),
    "a model's weights": ({}, FIGURES, b"weights", True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_change_of_the_course_draws_again(course, tmp_path, change):
    files, figures, weights, again = CHANGES[change]
    changed = course_with(tmp_path / "toy", figures, **files)
    if weights is not None:
        (changed.root / "fixtures").mkdir()
        (changed.root / "fixtures" / "model.safetensors").write_bytes(weights)
    assert (drawing_digest(changed.lab("lab01")) != drawing_digest(course.lab("lab01"))) == again


# -- the real thing


def grade(folder, course, *words):
    return toy.grade(folder, "cohort", "lab01", "in", "-o", "out", "--jobs", "1", *words, course=course.root)


def pages(folder):
    return {row.submission: (folder / "out/students" / f"{row.student}.html").read_text() for row in read(folder).rows}


def read(folder):
    return read_cohort(folder / "out")


SOURCES = {
    "right": toy.REFERENCE,
    "triples": toy.REFERENCE.replace("x * factor", "x * 3"),
    "hangs": toy.REFERENCE.replace("return x * factor", "while True: pass"),
    "broken": "def scale(:\n",
}


def test_pictures_come_with_a_later_run_and_change_no_verdict(course, tmp_path):
    limited = course_with(tmp_path / "toy", FIGURES, lab=toy.LAB.replace("cpu_s = 10", "cpu_s = 1"))
    for name, source in SOURCES.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "lab01.py").write_text(source)
    assert grade(tmp_path, limited).returncode == 0
    plain = canonical_cohort(read(tmp_path))
    assert not any("A curve" in page for page in pages(tmp_path).values())
    done = grade(tmp_path, limited, "--pictures")
    assert done.returncode == 0 and "3 files have their result already" in done.stderr
    assert [line.split(" ", 1)[0] for line in done.stderr.splitlines() if line.endswith("1 picture")] == [
        "[1/3]",
        "[2/3]",
        "[3/3]",
    ]
    drawn = pages(tmp_path)
    assert {name for name, page in drawn.items() if "A curve" in page} == {"right", "triples", "hangs"}
    assert canonical_cohort(read(tmp_path)) == plain
    assert not any(row.pictures for row in read(tmp_path).rows)
    again = grade(tmp_path, limited)  # and they stay when nobody asks
    assert "[1/" not in again.stderr and pages(tmp_path) == drawn


def test_a_broken_figure_costs_no_result_and_a_note_says_so(tmp_path):
    broken = course_with(tmp_path / "toy", BROKEN)
    (tmp_path / "in" / "right").mkdir(parents=True)
    (tmp_path / "in" / "right" / "lab01.py").write_text(toy.REFERENCE)
    done = grade(tmp_path, broken, "--pictures")
    assert done.returncode == 70 and "could not be drawn (FileNotFoundError" in done.stderr
    [row] = read(tmp_path).rows
    assert row.score.earned == 7
    page = pages(tmp_path)["right"]
    assert "Not all pictures of this page could be drawn" in page and "/nowhere" not in page
    assert "/nowhere" in (tmp_path / "out" / "cohort.html").read_text()
    (broken.root / "exercises" / "lab01_toy" / "figures.py").write_text(FIGURES)
    mended = grade(tmp_path, broken, "--pictures")
    assert "1 file has its result already" in mended.stderr and "A curve" in pages(tmp_path)["right"]
    assert mended.returncode == 0


LARGEST = """
import torch


def scale(x, factor):
    signs = torch.ones(x.numel(), dtype=torch.float64)
    signs[::2] = -1.0
    return (signs * 1.7e308).reshape(x.shape)


def jitter(x, generator):
    return torch.full(x.shape, -1.7e308, dtype=torch.float64)
"""
BOTH_ENDS = FIGURES.replace(
    "points = [(0.0, 0.0), (1.0, float(yours.array[0]) if yours is not None else 0.0)]",
    "points = [(float(i), float(y)) for i, y in enumerate(yours.array if yours is not None else [0.0])]",
)


def test_answers_at_the_ends_of_float64_cost_their_own_points_and_nothing_else(tmp_path):
    course = course_with(tmp_path / "toy", BOTH_ENDS)
    for name, source in {"right": toy.REFERENCE, "largest": LARGEST}.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "lab01.py").write_text(source)
    alone = toy.grade(tmp_path / "in" / "largest", "lab01", course=course.root)
    report = tmp_path / "in" / "largest" / ".grade" / "lab01" / "report.html"
    assert alone.returncode == 1 and "Warning" not in alone.stderr, alone.stderr
    assert (
        "A curve" in report.read_text()
        and json.loads(report.with_name("result.json").read_text())["score"]["earned"] == 0
    )
    for words in (["--pictures"], []):
        done = grade(tmp_path, course, *words)
        assert done.returncode == 0 and "bug of ours" not in done.stderr, done.stderr
        assert {row.submission: row.final for row in read(tmp_path).rows} == {"right": 7, "largest": 0}
        assert all((tmp_path / "out" / name).exists() for name in FILES) and len(pages(tmp_path)) == 2
    assert all("A curve" in page and "NaN" not in page for page in pages(tmp_path).values())
