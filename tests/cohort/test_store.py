import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from grader.errors import MachineError, UsageError
from grader.results import Problem, canonical
from grader.store import Store, is_final, merge, split
from tests.cohort.made import result

ROOT = Path(__file__).parents[2]
DIGESTS = {"scale": "aa", "jitter": "bb"}
WHERE = ("7", "this machine")

# Keeps a result and is killed: at the given statement of SQLite, or after `keep` has returned.
KILLED = """
import os, signal, sys
from pathlib import Path
from grader.store import Store
from tests.cohort.made import result
store = Store(Path(sys.argv[1]))
def look(statement):
    if statement.lower().startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
store._db.set_trace_callback(look)
store.keep("one", {"scale": "aa", "jitter": "bb"}, "7", "this machine", result())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "results.sqlite") as opened:
        yield opened


def test_a_result_is_found_again_by_all_that_made_it(store, tmp_path):
    store.keep("one", DIGESTS, *WHERE, result({"plain": "failed"}))
    with Store(tmp_path / "results.sqlite") as again:
        parts = again.find("one", DIGESTS, *WHERE)
        assert canonical(merge(["scale", "jitter"], parts.values())) == canonical(result({"plain": "failed"}))
    assert store.find("two", DIGESTS, *WHERE) == {}
    assert store.find("one", DIGESTS, "8", "this machine") == {}
    assert store.find("one", DIGESTS, "7", "another machine") == {}


def test_a_changed_task_is_missing_and_the_others_stay(store):
    store.keep("one", DIGESTS, *WHERE, result())
    assert set(store.find("one", DIGESTS | {"scale": "cc"}, *WHERE)) == {"jitter"}


def test_a_later_result_takes_the_place_of_the_earlier(store):
    store.keep("one", DIGESTS, *WHERE, result())
    store.keep("one", DIGESTS, *WHERE, result({"draws": "failed"}, tasks=["jitter"]))
    parts = store.find("one", DIGESTS, *WHERE)
    assert [parts[task].score.earned for task in ("scale", "jitter")] == [4.0, 0.0]


@pytest.mark.parametrize(("point", "kept"), [("insert", set()), ("commit", set()), ("never", set(DIGESTS))])
def test_a_kill_leaves_a_result_whole_or_not_at_all(tmp_path, point, kept):
    path = tmp_path / "results.sqlite"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), point], env=environment)
    assert done.returncode == -signal.SIGKILL
    with Store(path) as store:
        assert set(store.find("one", DIGESTS, *WHERE)) == kept


def test_what_is_no_store_is_refused(tmp_path):
    (tmp_path / "a").write_text("no database, but long enough to be taken for one " * 40)
    with pytest.raises(UsageError, match="cannot be used to keep results"):
        Store(tmp_path / "a")
    with sqlite3.connect(tmp_path / "b") as other:
        other.execute("pragma user_version = 99")
    other.close()
    with pytest.raises(UsageError, match="format 99"):
        Store(tmp_path / "b")


def test_parts_that_disagree_on_loading_do_not_merge():
    broken = Problem(kind="import_crashed", message="It ended.")
    parts = split(result()) | split(result(tasks=["jitter"], problem=broken))
    assert merge(["scale", "jitter"], parts.values()) is None
    ours = split(result()) | split(result(tasks=["jitter"], problem=Problem(kind="grader_error", message="We.")))
    assert merge(["scale", "jitter"], ours.values()).problem.kind == "grader_error"


def test_what_held_one_part_the_least_held_the_submission():
    parts = split(result()) | split(result(tasks=["jitter"], isolation="partial"))
    merged = merge(["scale", "jitter"], parts.values())
    assert merged.environment.isolation == "partial" and merged.environment.sandbox["bwrap"] == "bwrap is not installed"
    assert set(merged.environment.durations) == {"task scale", "task jitter"}


def test_what_failed_on_our_side_is_not_final():
    assert is_final(result({"plain": "crashed"}))
    assert is_final(result(problem=Problem(kind="import_error", message="No.")))
    assert not is_final(result({"plain": "grader_error"}))
    assert not is_final(result(problem=Problem(kind="grader_error", message="We.")))
    assert not is_final(result(problem=Problem(kind="interrupted", message="Ctrl-C.")))


def test_a_full_disk_is_a_sentence_and_what_was_kept_stays(tmp_path):
    with Store(tmp_path / "r.sqlite") as store:
        digests = {"scale": "a", "jitter": "b"}
        store.keep("one", digests, "seed", "here", result())
        pages = store._db.execute("pragma page_count").fetchone()[0]
        store._db.execute(f"pragma max_page_count = {pages}")  # as a disk on which there is no room
        with pytest.raises(MachineError, match=r"Make room, and run the same line again; what was graded is kept\."):
            for number in range(50):
                store.keep(f"more {number}", digests, "seed", "here", result())
        assert store.find("one", digests, "seed", "here").keys() == digests.keys()
        store._db.execute("pragma max_page_count = 100000")
        store.keep("more", digests, "seed", "here", result())
