import os
import signal
import sys
import time
from pathlib import Path

import pytest

from grader.errors import CourseError, InternalError, MachineError
from grader.executors import Done, Setup, Work, doubt

pytest.importorskip("distributed", reason="needs Dask: pip install 'alphabar[cluster]'")

import dask
import distributed

from grader.executors.dask import DaskExecutor, _grade_there, _idle
from grader.executors.doubt import Doubt

ROOT = Path(__file__).parents[2]
SETUP = Setup(ROOT, "lab01", 7, {}, "here", "")


def command(manner):
    return (sys.executable, "-m", "tests.cohort.judge_stub", manner)


def local_cluster():
    return distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50
    )


@pytest.fixture(scope="module")
def pythonpath():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def cluster(pythonpath):
    """One scheduler with two workers, as an instructor would have it running."""
    with local_cluster() as running:
        yield running


@pytest.fixture
def executor(cluster):
    opened = []

    def make(manner="serves", reference=None):
        doubt = Doubt(reference, ())
        opened.append(DaskExecutor(SETUP, 2, 100.0, cluster.scheduler_address, command(manner), doubt))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def works(*sources):
    return [Work(str(number), f"{source} {number}".encode(), ("scale",)) for number, source in enumerate(sources)]


def told(done):
    return {one.id: (one.result.submission if one.result else None, one.fault) for one in done}


def test_everything_is_graded_once_and_under_its_own_name(executor):
    opened = executor()
    done = list(opened.run(works(*["serves"] * 20)))
    assert opened.jobs == 2 and len(done) == 20
    assert told(done) == {str(i): (str(i), None) for i in range(20)}
    assert list(opened.run([])) == []


def test_no_more_works_are_with_the_scheduler_than_it_needs(executor, monkeypatch):
    monkeypatch.setattr("grader.executors.dask.AHEAD", 5)
    taken, done = [], []
    for one in executor().run(work for work in works(*["serves"] * 30) if not taken.append(work.id)):
        done.append(one)
        assert len(taken) - len(done) <= 5
    assert told(done) == {str(i): (str(i), None) for i in range(30)}


def test_what_kills_three_judges_is_reported_and_no_worker_is_lost(executor, cluster):
    before = {worker.pid for worker in cluster.workers.values()}
    found = told(executor().run(works("serves", "kills", "serves")))
    assert found["0"] == ("0", None) and found["2"] == ("2", None)
    assert found["1"][0] is None and "3 judges ended" in found["1"][1]
    assert {worker.pid for worker in cluster.workers.values()} == before


def test_files_that_end_the_judges_of_workers_do_not_stop_the_honest_where_the_reference_is_right(
    executor, monkeypatch
):
    monkeypatch.setattr(doubt, "LUCKLESS", 3)
    seen = told(executor(reference=b"serves ours").run(works("serves", *["kills"] * 4, "serves")))
    assert {id for id, (graded, _) in seen.items() if graded} == {"0", "5"} and set(seen) == set("012345")


def test_a_grader_that_fails_on_the_reference_on_workers_too_stops(executor):
    with pytest.raises(InternalError, match="fails on the reference itself"):
        told(executor(reference=b"kills ours").run(works(*["kills"] * 3)))


def test_the_work_of_a_killed_worker_is_done_by_another(executor, cluster):
    victim = next(iter(cluster.workers.values())).pid
    done = []
    for one in executor().run(works(*["serves"] * 60)):
        if len(done) == 2:
            os.kill(victim, signal.SIGKILL)
        done.append(one)
    assert victim not in {worker.pid for worker in cluster.workers.values()}
    assert len(done) == 60 and told(done) == {str(i): (str(i), None) for i in range(60)}


def test_the_work_of_a_silent_worker_is_done_by_another(pythonpath):
    with dask.config.set({"distributed.scheduler.worker-ttl": "4s"}), local_cluster() as own:
        executor = DaskExecutor(SETUP, 2, 100.0, own.scheduler_address, command("serves"))
        done, silent = [], 0
        for one in executor.run(works(*["serves"] * 40)):
            if len(done) == 2:
                results = {}  # worker -> how many that nobody has fetched; whichever was quick has most of them
                while max(results.values(), default=0) < 3:
                    time.sleep(0.05)
                    results = {address: len(worker.has_what) for address, worker in own.scheduler.workers.items()}
                address = max(results, key=results.__getitem__)
                silent = next(nanny.pid for nanny in own.workers.values() if nanny.worker_address == address)
                os.kill(silent, signal.SIGSTOP)
                while address in own.scheduler.workers:
                    time.sleep(0.001)
            done.append(one)
        assert silent not in {worker.pid for worker in own.workers.values()}
        assert len(done) == 40 and told(done) == {str(i): (str(i), None) for i in range(40)}
        executor.close()


def test_closing_does_not_wait_for_a_worker_that_is_silent(pythonpath, monkeypatch):
    monkeypatch.setattr("grader.executors.dask.END_S", 0.5)
    with local_cluster() as own:
        executor = DaskExecutor(SETUP, 2, 100.0, own.scheduler_address, command("serves"))
        assert len(list(executor.run(works(*["serves"] * 4)))) == 4
        silent = own.workers[0].pid
        os.kill(silent, signal.SIGSTOP)
        executor.close()
        assert own.workers[0].pid == silent  # nobody had given it up
        os.kill(silent, signal.SIGCONT)


def test_a_judge_stays_for_the_next_file_and_ends_when_nobody_asks(pythonpath, monkeypatch):
    monkeypatch.setattr("grader.executors.dask.IDLE_S", 0.5)
    [work] = works("serves")
    graded = Done.model_validate_json(_grade_there(SETUP, 100.0, command("serves"), work))
    assert graded.id == "0" and graded.fault is None
    [judge] = _idle.values()
    [process] = [one.process for one in judge.executor._judges]
    _grade_there(SETUP, 100.0, command("serves"), work)
    [again] = _idle.values()
    assert again.executor is judge.executor and process.poll() is None
    again.leaves.join()
    assert _idle == {} and process.poll() is not None


def test_a_judge_that_refuses_stops_the_run_with_its_own_words(executor):
    with pytest.raises(CourseError, match="Another course lies here"):
        list(executor("refuses").run(works("serves")))


def test_a_scheduler_that_is_not_there_is_said_so(monkeypatch):
    monkeypatch.setattr("grader.executors.dask.CONNECT_S", 0.5)
    with pytest.raises(MachineError, match=r"tcp://127\.0\.0\.1:9"):
        DaskExecutor(SETUP, 1, 100.0, "tcp://127.0.0.1:9")


def test_a_cluster_that_does_not_start_is_the_machines(monkeypatch):
    def killed(**_):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "LocalCluster", killed)
    with pytest.raises(MachineError, match="Dask does not start here: Nanny failed to start"):
        DaskExecutor(SETUP, 1, 100.0, None)
