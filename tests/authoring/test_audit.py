"""The audit of the lab that `grade new` writes, whole and with planted faults, by the real command."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from grader.authoring import audit as auditing
from grader.authoring import recorded
from grader.authoring.new import new
from grader.authoring.pool import FOLDER, _Process
from grader.authoring.trials import Spec
from grader.course import load
from tests import toy
from tests.reports import lint


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("course")
    new(toy.make(root), "lab11", 'Unit "range" \\o/')
    return root


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("desk")


def run_audit(course: Path, desk: Path, *words: str):
    """Audit lab11; returns the exit code, the terminal's text and the record."""
    done = toy.grade(desk, "audit", "lab11", "--jobs", "1", "--json", "audit.json", *words, course=course)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, done.stdout, json.loads((desk / "audit.json").read_text())[0]


@pytest.fixture(scope="module")
def clean(course, desk):
    return run_audit(course, desk, "--quick", "--html", "matrix.html")


def test_a_process_keeps_its_sandbox_for_the_next_lab(course):
    here = _Process(course)
    sandboxes = []
    try:
        for lab in load(course).labs:
            assert here.run(lab.id, Spec("reference", lab.reference, "7")).rejected_by == []
            sandboxes.append(here._sandbox)
    finally:
        here.close()
    assert len(sandboxes) == 2 and sandboxes[0] is sandboxes[1]


def test_a_new_lab_audits_clean(clean):
    code, text, record = clean
    assert record["faults"] == []
    assert code == 0
    assert "clean" in text
    (task,) = record["tasks"]
    assert task["mutants"] == task["killed"] > 20
    assert task["misconceptions"] == task["named"] == 4
    assert task["equivalents"] == task["passed"] == 2
    assert task["hollow"] == 8
    assert task["nearest_equivalent"] < 0.5 < 5 < task["nearest_mistake"]
    assert record["seeds"] == 3
    assert record["pairs"] is None


def test_what_was_audited_clean_is_recorded_and_what_has_faults_is_not(clean, course, weak, weak_course):
    read = load(course)
    known = recorded.holds(read, read.lab("lab11"))
    assert known is not None and known.quick and known.counts["mutants"] == clean[2]["tasks"][0]["mutants"]
    assert recorded.read(load(weak_course)) == {}


def test_the_page_keeps_the_promises_of_all_pages(clean, desk):
    html = (desk / "matrix.html").read_text(encoding="utf-8")
    assert lint.faults(html) == []
    rows = re.findall(r'<tr class="[^"]*"><th scope="row">', html)
    kinds = [t["kind"] for t in clean[2]["trials"] if t.get("applies", True)]
    assert len(rows) == sum(kind in ("mutant", "hollow", "misconception") for kind in kinds)


def test_a_second_audit_runs_nothing_and_says_the_same(clean, course, desk):
    code, _, record = run_audit(course, desk, "--quick")
    assert code == 0
    assert record["ran"] == 0
    assert {**record, "ran": 0} == {**clean[2], "ran": 0}


def test_an_audit_that_was_killed_goes_on_where_it_was(clean, course, desk):
    journal = desk / FOLDER / "lab11.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-2]) + lines[-2][:40])  # killed while it wrote the last line but one
    _, _, record = run_audit(course, desk, "--quick")
    assert record["ran"] == 2
    assert {**record, "ran": 0} == {**clean[2], "ran": 0}
    assert sorted(journal.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_killed_audit_leaves_no_process_behind(course, tmp_path):
    command = [str(Path(sys.executable).with_name("grade")), "audit", "lab11", "--quick", "--jobs", "2"]
    audit = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "GRADE_COURSE": str(course)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while len(family := psutil.Process(audit.pid).children(recursive=True)) < 6:  # two of the pool, and their sandboxes
        assert audit.poll() is None
        time.sleep(0.05)
    audit.kill()
    audit.wait()
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family):
        time.sleep(0.05)


def test_an_audit_whose_process_is_killed_says_so_and_keeps_what_was_tried(course, tmp_path):
    command = [str(Path(sys.executable).with_name("grade")), "audit", "lab11", "--quick", "--jobs", "2"]
    audit = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "GRADE_COURSE": str(course)}, stderr=subprocess.PIPE, text=True
    )
    journal = tmp_path / FOLDER / "lab11.jsonl"
    while not (journal.is_file() and journal.stat().st_size):
        assert audit.poll() is None
        time.sleep(0.05)
    pool = [one for one in psutil.Process(audit.pid).children() if "spawn_main" in " ".join(one.cmdline())]
    pool[0].kill()
    _, said = audit.communicate()
    assert audit.returncode == 5
    assert "a process that tried out lab11 was killed" in said and "--jobs 1" in said and "bug" not in said
    assert journal.read_text().startswith('{"world"')


def planted(course: Path, root: Path, *changes: tuple[str, str, str]) -> Path:
    """A copy of the course with texts of lab11 replaced: (file, old, new)."""
    shutil.copytree(course, root, symlinks=True)
    folder = root / "exercises" / "lab11_unit_range_o"
    for name, old, put in changes:
        path = folder / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        assert old in text
        path.write_text(text.replace(old, put, 1) if old else text + put, encoding="utf-8")
    return root


# Zero is the lower end in the only call that is left, and x has one shape: the crooked twins are gone.
WEAK = [
    ("checks.py", '@check("scale_to_unit")\ndef test_any_range', "def any_range"),
    ("checks.py", '@check("scale_to_unit")\ndef test_one_call_after_another', "def one_call_after_another"),
    ("checks.py", '@check("scale_to_unit")\ndef test_gradients', "def gradients"),
]


def test_an_edit_that_is_no_python_is_named(course, tmp_path):
    edit = '\n[scale_to_unit.unfinished]\ncode = "def scale_to_unit(x, low, high:"\nwhy = "It is cut off."\n'
    broken = planted(course, tmp_path / "course", ("equivalents.toml", "", edit))
    done = toy.grade(tmp_path, "audit", "lab11", "--quick", "--jobs", "1", course=broken)
    assert done.returncode == 4, done.stderr
    assert "scale_to_unit unfinished is no Python: SyntaxError" in done.stderr


@pytest.fixture(scope="module")
def weak_course(course, tmp_path_factory):
    changes = [
        *WEAK,
        ("checks.py", "Pixels from 0 to 255 become", "Pixels up to 255 become"),
        ("checks.py", ", visible=True", ""),
        ("starter.py", "raise NotImplementedError", "return 2 * (x - low) / (high - low) - 1"),
        ("starter.py", "low: float, high: float)", "low: float, high: int)"),
        ("waivers.toml", "", WAIVERS),
    ]
    return planted(course, tmp_path_factory.mktemp("weak") / "course", *changes)


@pytest.fixture(scope="module")
def weak(weak_course):
    return run_audit(weak_course, weak_course.parent, "--quick")


WAIVERS = """
[[waiver]]
task = "scale_to_unit"
mutant = "arithmetic: 2 * (x - low) -> 2 * ((x + low))"
why = "Waived for the test's sake."

[[waiver]]
task = "scale_to_unit"
mutant = "arithmetic: x - low -> never"
why = "There is no such mutant."

[[waiver]]
task = "scale_to_unit"
mutant = "hollow: zeros"
why = "It is rejected, so this waives nothing."
"""


@pytest.mark.parametrize(
    "fault",
    [
        "scale_to_unit/forgets_low: no check rejects it",
        "starter: the starter earns 3 points",
        "the sentence of lab11/scale_to_unit.bytes tells an input or a value: 255",
        "waivers.toml: scale_to_unit has no mutant 'arithmetic: x - low -> never'",
        "waivers.toml: scale_to_unit/hollow: zeros is rejected, so there is nothing to waive",
        "scale_to_unit: starter.py has scale_to_unit(x: torch.Tensor, low: float, high: int)",
    ],
)
def test_a_planted_fault_is_said(weak, fault):
    code, text, record = weak
    assert any(fault in one for one in record["faults"]), record["faults"]
    assert any(fault in line for line in text.splitlines() if line.startswith("  fault: "))
    assert code == 1


def test_a_survivor_comes_with_its_diff_and_a_call_that_tells_it_apart(weak):
    _, text, record = weak
    found = {one["ids"][0]: one for one in record["survivors"]}
    one = next(survivor for name, survivor in found.items() if "2 * (x - low) -> 2 * ((x))" in name)
    assert "+    return 2 * ((x)) / (high - low) - 1" in one["diff"]
    assert re.search(r"scale_to_unit\(.*, (?!0\.0)-?[\d.]+, ", one["separates"])  # low is not 0 there
    assert one["diff"].splitlines()[2] in text


def test_a_waived_mutant_is_no_survivor(weak):
    _, _, record = weak
    waived = "arithmetic: 2 * (x - low) -> 2 * ((x + low))"
    assert record["tasks"][0]["waived"] == 1
    assert waived not in [one["ids"][0] for one in record["survivors"]]
    assert not any(waived in fault for fault in record["faults"])


# What a trial means, on trials made by hand.


def trial(kind, outcomes, **facts):
    given = {"task": "f", "ids": ["one"], "seed": "1", "earned": 0.0, "possible": 1.0, "outcomes": outcomes}
    return auditing.Trial(kind=kind, **{**given, **facts})


def faults_of(one, course, waivers=()):
    lab = load(course).lab("lab11")
    reference = trial("reference", {"lab11/f.a": "passed", "lab11/f.b": "passed", "lab11/g.c": "passed"})
    return list(auditing._faults(one, auditing._Seen(lab, None, list(waivers), [reference, one])))


FAILED, PASSED = {"lab11/f.a": "failed"}, {"lab11/f.a": "passed"}


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (trial("reference", FAILED, first="lab11/f.a: off"), "the reference does not pass lab11/f.a: off"),
        (trial("equivalent", FAILED, first="lab11/f.a: off"), "right code in another form fails lab11/f.a: off"),
        (trial("equivalent", PASSED, distances={"lab11/f.a": 0.6}), "passes with 0.6 of the tolerance"),
        (trial("misconception", PASSED), "no check rejects it"),
        (trial("misconception", FAILED, named=[["one"], ["two"]]), "the diagnosis names one or two"),
        (trial("misconception", FAILED, named=[["one"]], distances={"lab11/f.a": 4.0}), "misses by only 4 tolerances"),
        (trial("mutant", FAILED, distances={"lab11/f.a": 1.5}), "misses by only 1.5 tolerances"),
        (trial("hollow", PASSED), "hollow answers earn full marks"),
        (trial("pair", PASSED), "two mistakes at once earn full marks"),
        (trial("pair", FAILED, ids=["a", "b"], named=[["a"], ["c"]]), "two mistakes at once are taken for a or c"),
        (
            trial("broken", {"lab11/f.a": "crashed", "lab11/f.b": "crashed", "lab11/g.c": "failed"}),
            "a mistake here costs points in another task: lab11/g.c",
        ),
        (
            trial("broken", {"lab11/f.a": "crashed", "lab11/f.b": "passed", "lab11/g.c": "passed"}),
            "code that only raises passes lab11/f.b",
        ),
        (trial("mutant", FAILED, unstable=["lab11/f.a"]), "the verdict of lab11/f.a changed"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_a_broken_promise_is_a_fault(one, says, course):
    (fault,) = faults_of(one, course)
    assert says in fault


@pytest.mark.parametrize(
    "one",
    [
        trial("equivalent", PASSED, distances={"lab11/f.a": 0.4}),
        trial("misconception", FAILED, named=[["one"]], distances={"lab11/f.a": 6.0}),
        trial("misconception", FAILED, named=[["one"]], distances={"lab11/f.a": None}),
        trial("misconception", {"lab11/f.a": "crashed"}, named=[["one"]], distances={"lab11/f.a": 2.0}),
        trial("pair", FAILED, ids=["a", "b"], named=[["a", "b"], ["c"]]),
        trial("pair", FAILED, ids=["a", "b"], named=[["b"]]),
        trial("pair", FAILED, ids=["a", "b"]),
        trial("hollow", FAILED),
        trial("hollow", PASSED, applies=False),
        trial("mutant", PASSED),  # a survivor is said with what the search found
    ],
    ids=lambda one: one.kind,
)
def test_a_kept_promise_is_none(one, course):
    assert faults_of(one, course) == []


def verdicts(course, *rejected_by):
    """What is said of a mistake whose checks reject it so: on the course's own seed first, then on others."""
    lab = load(course).lab("lab11")
    task, one = lab.misconceptions[0].task, lab.misconceptions[0].id
    checks = [f"lab11/{task}.{letter}" for letter in "ab"]
    outcomes = [{c: "failed" if c[-1] in letters else "passed" for c in checks} for letters in rejected_by]
    trials = [trial("misconception", outcomes[0], task=task, ids=[one])]
    trials += [trial("seed", o, task=None, ids=[f"{task}/{one}"], seed=str(k)) for k, o in enumerate(outcomes[1:], 2)]
    return auditing._seed_verdicts(auditing._Seen(lab, None, [], trials))


def test_a_mistake_that_no_check_sees_on_every_seed_is_a_fault(course):
    (fault,), notes = verdicts(course, "a", "a", "")
    assert "no check rejects it on every seed (lab11/scale_to_unit.a on 2 of 3 seeds)" in fault
    assert notes == []
    # One of the two sees it each time, and on the next seed perhaps neither.
    (fault,), _ = verdicts(course, "ab", "a", "b")
    assert "scale_to_unit.a on 2 of 3 seeds; lab11/scale_to_unit.b on 2 of 3 seeds" in fault


def test_a_check_that_is_blind_where_another_sees_is_noted(course):
    faults, (note,) = verdicts(course, "ab", "a", "ab")
    assert faults == []
    assert note.endswith("is rejected by lab11/scale_to_unit.b on 2 of 3 seeds only")
    assert verdicts(course, "a", "a", "a") == ([], [])


def test_right_code_that_is_rejected_on_another_seed_is_a_fault(course):
    lab = load(course).lab("lab11")
    ids = [f"{lab.equivalents[0].task}/{lab.equivalents[0].id}"]
    one = trial("seed", {"lab11/scale_to_unit.a": "failed"}, task=None, ids=ids, seed="9")
    (fault,), _ = auditing._seed_verdicts(auditing._Seen(lab, None, [], [one]))
    assert fault == f"seed 9: lab11/scale_to_unit.a rejects right code ({ids[0]})"


def test_pairs_are_counted_by_what_the_diagnosis_named(course):
    named = [[["a", "b"]], [["a", "b"], ["c"]], [["a"]], [], [["c"]]]
    trials = [trial("pair", FAILED, ids=["a", "b"], named=names) for names in named]
    trials.append(trial("pair", PASSED, ids=["a", "b"]))
    counts = auditing._count_pairs(auditing._Seen(load(course).lab("lab11"), None, [], trials))
    assert counts.model_dump() == {"exact": 1, "one_of": 1, "subset": 1, "unnamed": 1, "wrong": 1, "passed": 1}


def test_rows_share_edits_out_so_that_they_fit_together():
    def edit(task, name, code=None):
        return auditing.Edit(
            task=task, id=name, functions=(task,), **({"code": code} if code else {"find": "x", "put": "y"})
        )

    helper = "def extract(x):\n    return x\n\n\ndef {}(x):\n    return extract(x)\n"
    edits = [edit("f", "a"), edit("g", "b"), edit("f", "c", helper.format("f")), edit("g", "d", helper.format("g"))]
    assert [[one.id for one in row] for row in auditing.rows(edits)] == [["a", "b"], ["c"], ["d"]]
