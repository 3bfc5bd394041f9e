import base64
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from grader.cli.instructor import read_cohort
from grader.cohort.diff import differences
from grader.cohort.records import CohortResult
from grader.cohort.run import Cohort, canonical_cohort
from grader.executors import Setup
from grader.executors.local import JUDGE
from grader.results import Problem
from grader.store import Store
from tests import toy
from tests.cohort.made import SOURCES as KEPT
from tests.cohort.made import Told, entry, found, result

ROOT = Path(__file__).parents[2]
LAB = toy.LAB.replace("cpu_s = 10", "cpu_s = 2")
SOURCES = {
    "right": toy.REFERENCE,
    "right_too": toy.REFERENCE,
    "adds": toy.REFERENCE.replace("x * factor", "x + factor"),
    "scaled": toy.REFERENCE.replace("x * factor", "x * factor * 1.5"),
    "starter": toy.STARTER,
    "ends": "import os\nos._exit(3)\n" + toy.REFERENCE,
    "broken": "def scale(:\n",
}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course") / "toy", lab=LAB)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "results.sqlite") as opened:
        yield opened


def graded(course, store, executor, *entries, regrade=False):
    cohort = Cohort(course, course.lab("lab01"), found(*entries), KEPT, store)
    heard = []
    cohort.grade(cohort.work(regrade), executor, heard.append)
    return [cohort.row(one) for one in entries], heard


def hand_in(folder, sources):
    for name, source in sources.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "lab01.py").write_text(source, encoding="utf-8")
    return folder


# -- what is run, and what is not


def test_equal_files_are_run_once_and_largest_first(course, store):
    executor = Told()
    rows, heard = graded(course, store, executor, entry(1, b"a"), entry(2, b"bbb"), entry(3, b"a"))
    assert [work.source for work in executor.asked] == [b"bbb", b"a"]
    assert [one.students for one in heard] == [["s002"], ["s001", "s003"]]
    assert [row.student for row in rows] == ["s001", "s002", "s003"]


def test_what_has_a_result_is_not_run_again_unless_asked(course, store):
    executor = Told()
    graded(course, store, executor, entry(1))
    graded(course, store, executor, entry(1), entry(2, b"new"))
    assert [work.source for work in executor.asked] == [b"x = 1\n", b"new"]
    graded(course, store, executor, entry(1), regrade=True)
    assert len(executor.asked) == 3


def test_a_changed_check_runs_its_own_task_only(course, store, tmp_path):
    executor = Told({b"x = 1\n": result({"draws": "failed"})})
    graded(course, store, executor, entry(1))
    changed = toy.make(tmp_path / "changed", lab=LAB, checks=toy.CHECKS.replace("5), -0.5", "6), -0.5"))
    executor.answers[b"x = 1\n"] = result({"plain": "failed", "draws": "crashed"})
    [row], _ = graded(changed, store, executor, entry(1))
    assert [work.tasks for work in executor.asked] == [("scale", "jitter"), ("scale",)]
    assert {check.id: check.outcome for check in row.checks} == {
        "lab01/scale.plain": "failed",
        "lab01/scale.secret": "passed",
        "lab01/jitter.draws": "failed",  # as it was
    }
    assert (row.score.earned, row.score.possible) == (2.0, 7.0)


def test_a_file_that_loads_now_and_did_not_before_is_judged_as_one(course, store, tmp_path):
    executor = Told({b"x = 1\n": result(problem=Problem(kind="import_timed_out", message="Too long."))})
    graded(course, store, executor, entry(1))
    changed = toy.make(tmp_path / "changed", lab=LAB, checks=toy.CHECKS.replace("5), -0.5", "6), -0.5"))
    executor.answers[b"x = 1\n"] = result()
    [row], _ = graded(changed, store, executor, entry(1))
    assert [work.tasks for work in executor.asked] == [("scale", "jitter"), ("scale",), ("scale", "jitter")]
    assert row.problem is None and row.score.earned == 7.0


def test_what_failed_on_our_side_costs_nothing_is_said_and_tried_again(course, store):
    executor = Told({b"a": "3 judges ended", b"b": result({"plain": "grader_error"})})
    rows, heard = graded(course, store, executor, entry(1, b"a"), entry(2, b"b"), entry(3, b"c"))
    assert [(row.score.earned, row.score.possible) for row in rows] == [(0, 0), (5, 5), (7, 7)]
    assert rows[0].problem == Problem(kind="grader_error", message="3 judges ended")
    assert {task.state for task in rows[0].tasks} == {"ungraded"}
    assert sorted(one.says for one in heard) == ["7/7 0.2 s", "our error 0.0 s", "our error 0.2 s"]
    executor.answers.clear()
    rows, _ = graded(course, store, executor, entry(1, b"a"), entry(2, b"b"), entry(3, b"c"))
    assert [row.score.earned for row in rows] == [7, 7, 7]
    assert sorted(work.source for work in executor.asked[3:]) == [b"a", b"b"]


def test_what_cannot_be_read_is_a_row_and_no_work(course, store):
    executor = Told()
    said = Problem(kind="missing", message="no lab01.py was handed in.")
    rows, _ = graded(course, store, executor, entry(1, None, said), entry(2))
    assert rows[0].problem == said and rows[0].score.possible == 7 and rows[0].final == 0
    assert len(executor.asked) == 1


# -- what holds their code


def test_a_result_of_a_weaker_sandbox_does_not_count_where_a_full_one_is_required(course, store):
    executor = Told({b"a": result(isolation="partial")})
    graded(course, store, executor, entry(1, b"a"), entry(2, b"b"))
    known = (course, course.lab("lab01"), found(entry(1, b"a"), entry(2, b"b")), KEPT, store)
    assert Cohort(*known).work() == {}
    strict = Cohort(*known, require_sandbox=True)
    assert [KEPT.read(file) for file in strict.work()] == [b"a"] and strict.setup.require_sandbox


@pytest.mark.parametrize("executor", ["local", "dask"])
def test_a_layer_that_is_required_and_missing_stops_before_anything_runs(course, tmp_path, executor):
    if executor == "dask":
        pytest.importorskip("distributed", reason="needs Dask: pip install 'alphabar[cluster]'")
    hand_in(tmp_path / "in", {"right": toy.REFERENCE})
    words = ["cohort", "lab01", "in", "-o", "out", "--jobs", "1", "--executor", executor, "--require-sandbox"]
    (tmp_path / "no programs").mkdir()
    done = toy.grade(tmp_path, *words, course=course.root, PATH=str(tmp_path / "no programs"))
    assert done.returncode == 5 and done.stdout == ""
    assert "The sandbox is required and not complete here. bwrap: bwrap is not installed" in done.stderr
    assert "[1/" not in done.stderr and not (tmp_path / "out" / "cohort.json").exists()


def test_missing_layers_are_said_where_they_are_not_required(course, tmp_path):
    hand_in(tmp_path / "in", {"right": toy.REFERENCE, "broken": SOURCES["broken"]})
    words = ["cohort", "lab01", "in", "-o", "out", "--jobs", "1"]
    (tmp_path / "no programs").mkdir()
    done = toy.grade(tmp_path, *words, course=course.root, PATH=str(tmp_path / "no programs"))
    assert done.returncode == 0
    says = "Ran without full isolation (off: bwrap); the student's page says why"
    assert f"! {says}  " in done.stderr
    cohort = read_cohort(tmp_path / "out")
    assert cohort.environment.isolation == {"partial": 1}  # the other one never ran
    [said] = [one for one in cohort.statistics.attention if one.kind == "isolation"]
    assert said.says == says and [row.submission for row in cohort.rows if row.student in said.students] == ["right"]
    assert "Partly isolated" in (tmp_path / "out" / "cohort.html").read_text()


# -- killed, and taken up again

# Executor, point, at the how manieth time, and how many results are kept by then.
POINTS = [
    ("made", "store opened", 1, 0),
    ("made", "graded", 1, 0),
    ("made", "before keeping", 4, 3),
    ("made", "in the transaction", 2, 1),
    ("made", "after keeping", 3, 3),
    ("made", "after keeping", 9, 9),
    ("made", "before a row", 1, 9),
    ("made", "before a page", 1, 9),
    ("made", "after a page", 5, 9),
    ("made", "before a file takes its place", 11, 9),
    ("made", "before it is published", 1, 9),
    ("made", "after it is published", 1, 9),
    ("local", "graded", 4, 3),
    ("local", "before a row", 1, 9),
    ("dask", "graded", 4, 3),
    ("dask", "in the transaction", 6, 5),
    ("dask", "before a row", 1, 9),
]
JUDGES = [
    ("local", "judge asked to start", 1),
    ("local", "judge has a file", 1),
    ("local", "judge has graded", 5),
    ("local", "judge has answered", 3),
    ("dask", "judge has graded", 5),
]


def run_killed(course, submissions, out, executor, point, number, log):
    if executor == "dask":
        pytest.importorskip("distributed", reason="needs Dask: pip install 'alphabar[cluster]'")
    words = [course.root, submissions, out, executor, point, number, log]
    done = subprocess.run(
        [sys.executable, "-m", "tests.cohort.killed", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "STARTED_BY": str(log)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    end_of_all(f"STARTED_BY={log}")
    return done


def end_of_all(mark):
    """Wait until no process with this in its environment is left; a test that waits for ever is stopped."""
    while alive(mark.encode()):
        time.sleep(0.05)


def alive(mark):
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in environ.read_bytes().split(b"\0"):
                return True
    return False


@pytest.fixture(scope="module")
def class_of_nine(tmp_path_factory):
    sources = {f"folder{i}": f"x = {'1' * (i + 1)}\n" for i in random.Random(3).sample(range(9), 9)}
    return hand_in(tmp_path_factory.mktemp("class") / "in", sources)


@pytest.fixture(scope="module")
def undisturbed(course, class_of_nine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run_killed(course, class_of_nine, folder / "out", "made", "never", 1, folder / "log")
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.mark.parametrize(("executor", "point", "number", "kept"), POINTS)
def test_a_kill_loses_at_most_what_is_in_flight(
    course, class_of_nine, undisturbed, tmp_path, executor, point, number, kept
):
    out = tmp_path / "out"
    # Who is who is computed from the work, and is the same again; a key that is there already stays.
    out.mkdir()
    (out / "students.key.json").write_bytes((undisturbed / "students.key.json").read_bytes())
    killed = run_killed(course, class_of_nine, out, executor, point, number, tmp_path / "first")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if (out / "cohort.json").exists():
        read_cohort(out)
    done = run_killed(course, class_of_nine, out, "made", "never", 1, tmp_path / "second")
    assert done.returncode == 0, done.stderr
    said = "1 file has its" if kept == 1 else f"{kept} files have their"
    assert (f"{said} result already" in done.stderr) == (kept > 0)
    ran = (tmp_path / "second").read_text().split() if kept < 9 else []
    assert len(ran) == len(set(ran)) == 9 - kept
    assert canonical_cohort(read_cohort(out)) == canonical_cohort(read_cohort(undisturbed))


@pytest.mark.parametrize(("executor", "point", "number"), JUDGES)
def test_a_judge_that_is_killed_costs_nobody_anything(
    course, class_of_nine, undisturbed, tmp_path, executor, point, number
):
    out = tmp_path / "out"
    out.mkdir()
    (out / "students.key.json").write_bytes((undisturbed / "students.key.json").read_bytes())
    done = run_killed(course, class_of_nine, out, executor, point, number, tmp_path / "log")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"log.{number}").exists()  # it was killed
    ran = (tmp_path / "log").read_text().split()
    assert len(set(ran)) == 9 and len(ran) == 9 + (point == "judge has graded")
    assert canonical_cohort(read_cohort(out)) == canonical_cohort(read_cohort(undisturbed))


# -- the real thing


@pytest.fixture(scope="module")
def real(course, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    hand_in(folder / "in", SOURCES)
    done = toy.grade(folder, "cohort", "lab01", "in", "-o", "out", "--jobs", "2", course=course.root)
    assert done.returncode == 0, done.stderr
    return folder, done


def scores(folder):
    return {row.submission: row.score.earned for row in read_cohort(folder).rows}


def test_a_class_is_graded(real):
    folder, done = real
    assert scores(folder / "out") == {
        "right": 7,
        "right_too": 7,
        "adds": 3,
        "scaled": 3,
        "starter": 0,
        "ends": 0,
        "broken": 0,
    }
    cohort = read_cohort(folder / "out")
    assert cohort.environment.isolation == {"full": 5}  # neither the starter nor what is no Python ran
    kinds = {row.submission: row.problem and row.problem.kind for row in cohort.rows}
    assert kinds["ends"] == "import_crashed" and kinds["broken"] == "syntax_error" and kinds["right"] is None
    [named] = cohort.statistics.named
    adds = next(row.student for row in cohort.rows if row.submission == "adds")
    assert (named.misconceptions, named.students) == (["adds"], [adds])
    assert sorted(done.stdout.split()) == ["out/cohort.html", "out/cohort.json", "out/grades.csv", "out/items.csv"]
    assert sum(line.startswith("[") for line in done.stderr.splitlines()) == 5  # one line a file that was run
    for row in cohort.rows:
        assert (folder / "out" / "students" / f"{row.student}.html").stat().st_size > 1000
    head = json.loads((folder / "out" / "cohort.json").read_text())
    assert list(head)[:5] == ["format_version", "lab", "title", "course", "seed"]


def test_one_judge_and_an_interrupted_run_come_to_the_same(real, course, tmp_path):
    folder, _ = real
    out = tmp_path / "out"
    out.mkdir()
    (out / "students.key.json").write_bytes((folder / "out" / "students.key.json").read_bytes())
    words = [str(toy.GRADE), "cohort", "lab01", str(folder / "in"), "-o", str(out), "--jobs", "1"]
    environment = {**os.environ, "GRADE_COURSE": str(course.root), "STARTED_BY": str(out)}
    first = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in first.stderr:
        if line.startswith("[2/"):
            first.kill()
    assert first.wait() == -signal.SIGKILL
    first.stderr.close()
    end_of_all(f"STARTED_BY={out}")
    second = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert "have their result already" in second.stderr
    assert canonical_cohort(read_cohort(out)) == canonical_cohort(read_cohort(folder / "out"))


def test_a_judge_ends_in_the_middle_of_a_file_when_nobody_is_left_to_hear_it(course):
    judge = subprocess.Popen(JUDGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    setup = asdict(Setup.of(course, course.lab("lab01"))) | {"course": str(course.root)}
    never_ends = base64.b64encode(toy.REFERENCE.encode() + b"while True: pass")
    work = {"id": "0", "source": never_ends.decode(), "tasks": ["scale", "jitter"]}
    judge.stdin.write(json.dumps(setup).encode() + b"\n")
    judge.stdin.flush()
    assert json.loads(judge.stdout.readline()) == {"ready": True}
    answers, _ = judge.communicate(json.dumps(work).encode() + b"\n")
    assert (answers, judge.returncode) == (b"", 0)


def test_the_same_again_runs_nothing(real, course):
    folder, _ = real
    before = canonical_cohort(read_cohort(folder / "out"))
    done = toy.grade(folder, "cohort", "lab01", "in", "-o", "out", course=course.root)
    assert "5 files have their result already" in done.stderr and "[1/" not in done.stderr
    assert canonical_cohort(read_cohort(folder / "out")) == before


def test_a_dry_run_shows_who_is_who_and_leaves_no_trace(real, course):
    folder, _ = real
    done = toy.grade(folder, "cohort", "lab01", "in", "-o", "new", "--dry-run", course=course.root)
    assert done.returncode == 0 and not (folder / "new").exists()
    assert len(done.stdout.splitlines()) == 1 + len(SOURCES)
    assert "right_too" in done.stdout and "byte for byte" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lab01", "in"], "-o OUT"),
        (["lab01", "in", "-o", "in/right/lab01.py/out"], "cannot be made"),
        (["lab01", "nowhere", "-o", "out"], "nowhere"),
        (["lab01", "in", "-o", "out", "--deadline", "tomorrow"], "'tomorrow' is no time"),
        (["lab01", "in", "-o", "out", "--deadline", "2026-11-22T12:00"], "time zone"),
        (["lab09", "in", "-o", "out"], "there is no lab 'lab09'"),
    ],
)
def test_wrong_words_are_answered_with_a_sentence(real, course, words, says):
    done = toy.grade(real[0], "cohort", *words, course=course.root)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


# -- what moved


def cohort_of(course, store, answers, *entries, regrade=False):
    rows, _ = graded(course, store, Told(answers), *entries, regrade=regrade)
    base = {"layout": "folders", "submissions": len(rows), "unmatched": [], "ignored": []}
    empty = {"students": 0, "enough": False, "alpha": None}
    lists = {name: [] for name in ("tasks", "checks", "named", "clusters", "attention")}
    return CohortResult.model_validate(
        {"lab": "lab01", "title": "Toys", "seed": "7", "found": base, "rows": rows, "statistics": empty | lists}
    )


def test_a_diff_says_who_moves_and_by_which_check(course, store):
    old = cohort_of(course, store, {}, entry(1, b"a"), entry(2, b"b"), entry(3, b"c"), entry(4, b"d"))
    answers = {b"b": result({"plain": "failed"}), b"a": result({"draws": "crashed"})}
    new = cohort_of(course, store, answers, entry(1, b"a"), entry(2, b"b"), entry(3, b"c"), entry(5), regrade=True)
    shown = differences(old, new)
    assert [(move.student, move.before, move.after, move.checks) for move in shown.moves] == [
        ("s001", 7.0, 4.0, ["lab01/jitter.draws: passed 3/3 -> crashed 0/3"]),
        ("s002", 7.0, 5.0, ["lab01/scale.plain: passed 2/2 -> failed 0/2"]),
    ]
    assert (shown.gone, shown.new, shown.same) == (["folder 4"], ["folder 5"], 1)


def test_of_a_file_that_runs_on_one_side_only_a_diff_says_so_in_one_line(course, store):
    unusable = entry(1, problem=Problem(kind="syntax_error", message="SyntaxError"))
    sides = [
        cohort_of(course, store, {}, unusable),
        cohort_of(course, store, {b"a": result({"draws": "failed"})}, entry(1, b"a")),
    ]
    for pair, says in ((sides, "no check had run before; now: "), (sides[::-1], "no check ran any more; before: ")):
        (move,) = differences(*pair).moves
        assert move.checks[-1] == f"{says}2 passed, 1 failed"


def test_the_command_diff_reads_folders_and_refuses_other_files(real, course, tmp_path):
    folder, _ = real
    done = toy.grade(folder, "diff", "out", "out/cohort.json", course=course.root)
    assert done.returncode == 0 and "0 lose points, 0 gain, 0 move otherwise, 7 are unchanged." in done.stdout
    (tmp_path / "other.json").write_text('{"lab": 3}')
    assert "no cohort.json of this version" in toy.grade(tmp_path, "diff", "other.json", "other.json").stderr
    assert toy.grade(tmp_path, "diff", "a", "b").returncode == 2
