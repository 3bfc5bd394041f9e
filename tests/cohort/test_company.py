"""Honest submissions among hostile ones: `benchmarks/cohort.py attacks` does this with all of them."""

from pathlib import Path

from grader.cli.instructor import read_cohort
from tests import toy

ATTACKS = Path(__file__).parents[1] / "attacks"
WORST = [
    "forks",
    "takes_all_memory",
    "kills_everyone",
    "fills_the_disk",
    "floods_output",
    "ignores_signals_and_sleeps",
]
HONEST = {
    "right": toy.REFERENCE,
    "adds": toy.REFERENCE.replace("x * factor", "x + factor"),
    "forgets": toy.REFERENCE.replace("generator=generator", ""),
}
CALLS = "\n\ndef scale(x, factor):\n    return step(x)\n"


def graded(folder, course, out, sources):
    for name, source in sources.items():
        (folder / "in" / name).mkdir(parents=True)
        (folder / "in" / name / "lab01.py").write_text(source, encoding="utf-8")
    done = toy.grade(folder, "cohort", "lab01", "in", "-o", out, "--jobs", "2", course=course.root)
    assert done.returncode == 0, done.stderr
    return {row.submission: row for row in read_cohort(folder / out).rows}


def verdicts(row):
    return row.score, [(check.id, check.outcome, check.message, check.unstable) for check in row.checks]


def test_an_honest_submission_gets_the_same_in_hostile_company(tmp_path):
    course = toy.make(tmp_path / "toy", lab=toy.LAB.replace("cpu_s = 10", "cpu_s = 1"))
    alone = graded(tmp_path, course, "alone", HONEST)
    hostile = {name: (ATTACKS / f"{name}.py").read_text() + CALLS for name in WORST}
    together = graded(tmp_path, course, "together", hostile)
    assert {row.submission: row.score.earned for row in alone.values()} == {"right": 7, "adds": 3, "forgets": 4}
    assert {name: verdicts(together[name]) for name in HONEST} == {name: verdicts(alone[name]) for name in HONEST}
    for name in WORST:
        row = together[name]
        assert row.score.earned == 0 and row.score.possible == 7, name
        seen = {check.id: check for check in row.checks}["lab01/scale.plain"]
        assert seen.outcome in ("crashed", "timed_out") and "LEAK" not in f"{seen.message}{seen.output}", name
