"""Trials on the toy course: one worker for many sources, and what is asked of a bench that trusts them."""

import contextlib
import json
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from grader.authoring import hollow
from grader.authoring.pool import Pool, _read, _Shares
from grader.authoring.trials import Runner, Spec, Trial, start_method
from grader.errors import CourseError
from grader.sandbox.launcher import Sandbox
from tests import toy

WRONG = toy.REFERENCE.replace("x * factor", "x + factor")
ENDS = toy.REFERENCE.replace("return x * factor", "import os; os._exit(3)")


@contextlib.contextmanager
def toy_runner(course):
    lab = course.lab("lab01")
    with Sandbox(lab.manifest.libraries, start_method=start_method()) as sandbox:
        one = Runner(course, lab, sandbox)
        yield one
        one.close()


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    course = toy.make(tmp_path_factory.mktemp("course"))
    with toy_runner(course) as one:
        yield one


def spec(kind, source, task="scale", ids=("one",), seed="7"):
    return Spec(kind, source, seed, task, tuple(ids), (task,))


def test_a_mutant_runs_in_the_worker_of_the_one_before(runner):
    assert runner.run(spec("mutant", toy.REFERENCE)).rejected_by == []
    worker = runner._benches[True]._processes.own
    wrong = runner.run(spec("mutant", WRONG))
    assert wrong.rejected_by == ["lab01/scale.plain", "lab01/scale.secret"]
    assert wrong.distance > 5
    assert runner._benches[True]._processes.own is worker
    assert runner.run(spec("mutant", toy.REFERENCE)).rejected_by == []


def test_what_the_reference_answers_is_asked_once_for_every_kind_of_trial(tmp_path):
    with toy_runner(toy.make(tmp_path)) as one:
        one.run(spec("reference", toy.REFERENCE))
        known = dict(one._oracle.answers)
        for kind in ("mutant", "equivalent"):
            one.run(spec(kind, toy.REFERENCE))
        assert known and all(one._oracle.answers[key] is answer for key, answer in known.items())
        assert one._oracle.answers.keys() == known.keys()
        one.run(spec("mutant", toy.REFERENCE, seed="8"))
        assert {key for key in known if key in one._oracle.answers} < known.keys()  # hidden checks ask others
        again = one.run(spec("reference", toy.REFERENCE))
        assert again.rejected_by == []


def test_a_process_stays_at_its_task_and_helps_where_nobody_else_is_needed():
    a, b, c = ([spec("mutant", f"{task} {n}", task=task) for n in range(3)] for task in "abc")
    shares = _Shares([*a, *b, *c])
    assert [shares.next(process) for process in (1, 2, 1, 2)] == [a[0], b[0], a[1], b[1]]
    assert [shares.next(1) for _ in range(2)] == [a[2], c[0]]  # c, for 2 is at b
    assert [shares.next(2) for _ in range(2)] == [b[2], c[1]]
    assert shares.next(3) == c[2]
    assert [shares.next(process) for process in (1, 2, 3)] == [None] * 3


def test_a_process_helps_where_the_most_is_left():
    a, b = [spec("mutant", "a", task="a")] * 2, [spec("mutant", "b", task="b")] * 9
    shares = _Shares([*a, *b])
    assert [shares.next(process) for process in (1, 2, 3, 3, 1, 1)] == [a[0], *b[:3], a[1], b[0]]


def test_another_seed_is_another_share():
    here, there = [spec("seed", "x", task=None)] * 2, [spec("seed", "x", task=None, seed="8")] * 2
    shares = _Shares([*here, *there])
    assert [shares.next(process) for process in (1, 2, 1)] == [here[0], there[0], here[1]]


def test_trials_that_end_at_the_same_time_are_all_kept():
    class Instant:
        def submit(self, run, lab, one):
            future = Future()
            future.set_result(one.source)
            return future

    pool = Pool(toy.ROOT, 2)
    pool._processes = [Instant(), Instant()]
    specs = [spec("mutant", str(n), task=str(n % 3)) for n in range(9)]
    lab = SimpleNamespace(id="lab01")
    assert sorted(pool.run(lab, specs), key=lambda pair: pair[1]) == [(one, one.source) for one in specs]


def test_two_processes_run_all_there_is(tmp_path):
    course = toy.make(tmp_path)
    lab = course.lab("lab01")
    specs = [spec("mutant", toy.REFERENCE, task=task) for task in ("scale", "jitter")] + [spec("starter", lab.starter)]
    with Pool(course.root, 2) as pool:
        ran = dict(pool.run(lab, specs))
        assert ran.keys() == set(specs) and all(ran[one].kind == one.kind for one in specs)
        (other,) = pool.run(lab, [spec("mutant", WRONG)])
        assert other[1].rejected_by


def test_a_mutant_that_ends_the_process_harms_no_other(runner):
    ended = runner.run(spec("mutant", ENDS))
    assert set(ended.outcomes.values()) == {"crashed"}
    assert ended.distance is None
    assert runner.run(spec("mutant", toy.REFERENCE)).rejected_by == []


def test_a_mutant_runs_each_check_once(runner):
    before = runner.run(spec("mutant", WRONG))
    assert before.unstable == []
    assert before.named == []  # and is not diagnosed


def test_a_misconception_is_named(runner):
    assert runner.run(spec("misconception", WRONG, ids=["adds"])).named == [["adds"]]


def test_hard_coded_answers_pass_visible_checks_only(runner):
    found = runner.run(spec("hollow", toy.REFERENCE, ids=[f"hollow: {hollow.HARD_CODED}"]))
    assert found.outcomes == {"lab01/scale.plain": "passed", "lab01/scale.secret": "failed"}


def test_a_hollow_answer_that_changes_nothing_does_not_apply(runner):
    assert runner.run(spec("hollow", toy.REFERENCE)).applies is False
    source = hollow.hollow(runner.lab, "scale", "zeros")
    assert runner.run(spec("hollow", source)).applies is True


def test_another_seed_reaches_the_hidden_checks(runner):
    seeds = []
    for seed in ("7", "8"):
        runner.run(spec("seed", toy.REFERENCE, seed=seed))
        bench = runner._benches[True]
        seeds.append((bench.seed("lab01/scale.plain", True), bench.seed("lab01/scale.secret", False)))
    assert seeds[0][0] == seeds[1][0]
    assert seeds[0][1] != seeds[1][1]


def test_a_survivor_is_searched_with_the_calls_of_its_checks(runner):
    source = toy.REFERENCE.replace("x * factor", "x * (factor if factor < 1.9999 or factor > 2.5 else 2.0)")
    found = runner.run(spec("search", source))
    assert found.separates is None
    assert found.searched > 20
    source = toy.REFERENCE.replace("x * factor", "x * (factor if factor < 3 else 3.0)")
    assert "4.0: " in runner.run(spec("search", source)).separates.replace(")", "")


def test_a_fault_of_the_grader_is_never_a_verdict(tmp_path):
    broken = toy.CHECKS.replace("compare.scale(draw.normal(5), -0.5)", "undefined_name")
    course = toy.make(tmp_path, checks=broken)
    with toy_runner(course) as one, pytest.raises(CourseError, match="undefined_name"):
        one.run(spec("mutant", toy.REFERENCE))


def test_a_spec_is_known_by_all_that_can_change_its_outcome():
    base = spec("mutant", "x")
    others = [spec("pair", "x"), spec("mutant", "y"), spec("mutant", "x", task="jitter"), spec("mutant", "x", seed="8")]
    assert len({one.digest for one in [base, *others]}) == 5
    assert base.digest == spec("mutant", "x").digest


def test_a_damaged_journal_gives_what_can_be_read(tmp_path):
    kept = Trial(kind="mutant", seed="1", earned=0, possible=1, outcomes={"a": "failed"}, distances={"a": None})
    line = json.dumps({"world": "w", "spec": "s", "trial": kept.model_dump(exclude_defaults=True)})
    other = line.replace('"w"', '"another"').replace('"s"', '"t"')
    path = tmp_path / "journal.jsonl"
    path.write_text("\n".join([line, other, "[]", "null", '{"world": "w"}', line[:30]]), encoding="utf-8")
    assert _read(path, "w") == {"s": kept}
    path.write_bytes(b"\xff\xfe")
    assert _read(path, "w") == {}
    assert _read(tmp_path / "none", "w") == {}
