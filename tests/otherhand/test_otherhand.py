"""Right and wrong code by hands that saw starter and page alone, frozen before anything was graded. See README.md."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

from grader.course import load
from grader.grading import Job, grade, open_bench
from grader.sandbox.launcher import Sandbox
from grader.submission import parse
from tests.toy import ROOT

HERE = Path(__file__).parent
HANDS = sorted(path.relative_to(HERE).with_suffix("").as_posix() for path in HERE.glob("lab*/*.py"))
COURSE = load(ROOT)


def tables(hand: str) -> list[dict[str, str]]:
    return tomllib.loads((HERE / f"{hand}.toml").read_text(encoding="utf-8"))["wrong"]


WRONG = [(hand, table["task"], table["name"]) for hand in HANDS for table in tables(hand)]
# One in so many is tried in every run of the tests; all are by `pytest -m "sweep or not sweep" tests/otherhand`.
SAMPLED = 12
CASES = [
    pytest.param(*one, id="-".join(one), marks=[pytest.mark.sweep] if number % SAMPLED else [])
    for number, one in enumerate(WRONG)
]


@pytest.fixture(scope="module")
def benches():
    """One bench a lab, and one sandbox for labs of the same libraries."""
    start = "fork" if sys.platform == "linux" else "spawn"
    opened, sandboxes, managers = {}, {}, []

    def bench(lab_id):
        if lab_id not in opened:
            lab = COURSE.lab(lab_id)
            kind = lab.manifest.libraries, lab.manifest.uses_meta_device
            if kind not in sandboxes:
                sandboxes[kind] = Sandbox(kind[0], start_method=start, meta_device=kind[1])
            managers.append(open_bench(lab, COURSE.seed, sandboxes[kind]))
            opened[lab_id] = managers[-1].__enter__()
        return opened[lab_id]

    yield bench
    for manager in managers:
        manager.__exit__(None, None, None)
    for sandbox in sandboxes.values():
        sandbox.close()


def with_function(source: str, code: str) -> str:
    """The right file with the functions that `code` defines replaced, and whatever else it defines added."""
    names = {node.name for node in ast.parse(code).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    lines = source.splitlines(keepends=True)
    for node in reversed(ast.parse(source).body):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in names:
            first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
            del lines[first - 1 : node.end_lineno]
    return f"{''.join(lines)}\n\n{code}"


def run(benches, hand, source, tasks=None):
    lab_id = hand.split("/")[0]
    bench = benches(lab_id)
    return grade(Job(bench.lab, parse(source.encode(), f"{lab_id}.py"), tasks), bench)


def task_of(hand, function):
    """The task that a function belongs to: some have two."""
    [task] = [task.id for task in COURSE.lab(hand.split("/")[0]).tasks if function in task.functions]
    return task


@pytest.mark.parametrize("hand", HANDS)
def test_right_code_earns_everything(benches, hand):
    result = run(benches, hand, (HERE / f"{hand}.py").read_text(encoding="utf-8"))
    lost = [f"{check.id}: {check.message}" for check in result.checks if check.earned < check.possible]
    assert lost == [] and result.problem is None


@pytest.mark.parametrize(("hand", "task", "name"), CASES)
def test_wrong_code_does_not(benches, hand, task, name):
    (table,) = [one for one in tables(hand) if (one["task"], one["name"]) == (task, name)]
    source = with_function((HERE / f"{hand}.py").read_text(encoding="utf-8"), table["code"])
    result = run(benches, hand, source, [task_of(hand, task)])
    assert result.problem is None, result.problem
    earns_all = result.score.earned == result.score.possible
    assert earns_all == ("settled" in table or "open" in table), table["truth"]
