"""The record of clean audits, and the labs of this course: each is recorded as it is now, or audited here."""

import pytest

from grader.authoring import recorded
from grader.authoring.audit import LabAudit, TaskAudit, audit
from grader.authoring.pool import Pool
from grader.authoring.written import written_faults
from grader.course import load
from grader.errors import CourseError
from tests import toy

COURSE = load(toy.ROOT)


@pytest.mark.parametrize("lab", COURSE.labs, ids=lambda lab: lab.id)
def test_every_lab_is_recorded_clean_or_audited_now(lab):
    if recorded.holds(COURSE, lab) is None:
        with Pool(COURSE.root, 1) as pool:
            assert audit(COURSE, lab, quick=True, pool=pool, progress=lambda says: None).faults == []
    # What no record speaks for, since no verdict hangs on the page.
    assert list(written_faults(lab)) == []


def found(*, quick=False, faults=(), lab="lab01"):
    counts = {"checks": 3, "misconceptions": 1, "equivalents": 0, "mutants": 9, "waived": 2, "hollow": 8}
    shares = {"named": 1, "passed": 0, "killed": 7, "hollow_share": 0.0, "memorised_share": 0.0}
    rest = {"nearest_equivalent": None, "nearest_mistake": None, "seconds": 0.1}
    return LabAudit(
        lab=lab,
        title="Toys",
        quick=quick,
        seeds=2 if quick else 20,
        tasks=[TaskAudit(task=task, **counts, **shares, **rest) for task in ("scale", "jitter")],
        pairs=None,
        survivors=[],
        notes=[],
        faults=list(faults),
        trials=[],
        ran=0,
    )


@pytest.fixture
def course(tmp_path):
    return toy.make(tmp_path / "toy")


def record(course, *audits):
    for one in audits:
        recorded.record(course, course.lab("lab01"), one)
    return recorded.holds(course, course.lab("lab01"))


def test_a_clean_audit_is_one_line_that_holds(course):
    known = record(course, found())
    assert known is not None and not known.quick and (known.seeds, known.tasks) == (20, 2)
    assert known.counts["mutants"] == 18 and known.counts["waived"] == 4
    (line,) = (course.root / "audits.jsonl").read_text().splitlines()
    assert f'"date":"{known.date}"' in line


@pytest.mark.parametrize(
    ("audits", "quick"),
    [
        ([found(quick=True)], True),
        ([found(quick=True), found()], False),
        ([found(), found(quick=True)], False),
        ([found(), found(faults=["no check rejects it"])], None),
        ([found(faults=["no check rejects it"])], None),
    ],
    ids=["a quick one", "then a whole one", "then a quick one", "then a fault", "a fault"],
)
def test_which_of_two_audits_is_recorded(course, audits, quick):
    known = record(course, *audits)
    assert (known and known.quick) == quick


def test_a_changed_lab_and_another_seed_are_not_recorded(course, monkeypatch, tmp_path):
    record(course, found())
    (tmp_path / "seed").write_text("abcdef")
    monkeypatch.setenv("GRADE_SEED_FILE", str(tmp_path / "seed"))
    other = load(course.root)
    assert recorded.holds(other, other.lab("lab01")) is None
    monkeypatch.delenv("GRADE_SEED_FILE")
    again = load(course.root)
    assert recorded.holds(again, again.lab("lab01")) is not None
    (course.lab("lab01").folder / "checks.py").write_text(toy.CHECKS + "\nLIMIT = 1\n")
    assert recorded.holds(again, again.lab("lab01")) is None
    # A quick audit takes the place of a whole one that holds no longer.
    known = record(again, found(quick=True))
    assert known is not None and known.quick


def test_a_line_that_is_no_record_is_said(course):
    (course.root / "audits.jsonl").write_text("<<<<<<< HEAD\n")
    with pytest.raises(CourseError, match=r"audits.jsonl holds a line that is no record of an audit; delete it"):
        recorded.read(course)


def test_other_labs_keep_their_lines(course):
    path = course.root / "audits.jsonl"
    record(course, found())
    other = path.read_text().replace('"lab":"lab01"', '"lab":"lab09"')
    path.write_text(other)
    record(course, found())
    assert [line.split('"')[3] for line in path.read_text().splitlines()] == ["lab01", "lab09"]
    record(course, found(faults=["no check rejects it"]))
    assert path.read_text() == other
