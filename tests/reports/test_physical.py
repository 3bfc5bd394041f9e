"""The physical peak: right and wrong code on a GPU that is torch's meta device; and what is said where none is.

No machine of ours has a GPU. The pretended one refuses tensors of the CPU beside its own, as a GPU does, and takes the
meter's count for its allocator's. What it cannot show is how CUDA itself behaves.
"""

import contextlib
import subprocess
import textwrap

import pytest

from grader.checking.calls import function_call, scenario_call
from grader.course import load
from grader.grading import Job, grade, open_bench
from grader.recipes import Recipe
from grader.reports.asked import Asked, Listening
from grader.reports.physical import physical_peaks
from grader.submission import parse
from tests import toy

PRETENDED = """
import sys
import torch
import grader.sandbox.worker as worker
sys.modules["alphabar_worker"] = worker
from alphabar_worker.meter import Meter

meters = []
def reset():
    while meters:
        meters.pop().__exit__(None, None, None)
    meters.append(Meter().__enter__())
def most():
    return (3 << 20) + meters[-1].peak
to = torch.Tensor.to
torch.Tensor.to = lambda self, *a, **k: to(self, *(("meta",) if a == ("cuda",) else a), **k)
torch.cuda.is_available = lambda: True
torch.cuda.get_device_name = lambda: "Pretended\\x1b GPU"
torch.cuda.synchronize = lambda: None
torch.cuda.reset_peak_memory_stats = reset
torch.cuda.memory_allocated = lambda: 3 << 20
torch.cuda.max_memory_allocated = most
"""
SCENARIOS = "def twice(student, *, q, given):\n    return student.f(*given['all'], q)\n"
NUMBERS = Recipe("randn", (1, 256, 1024))  # 1 MiB


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(PRETENDED)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{toy.ROOT}")


def lines(tmp_path, source, **asked):
    (tmp_path / "lab10.py").write_text(textwrap.dedent(source))
    (tmp_path / "scenarios.py").write_text(SCENARIOS)
    return physical_peaks(asked, tmp_path / "lab10.py", tmp_path / "scenarios.py")


def asked(call=None, memory_mib=8):
    return [Asked(call or function_call("f", (NUMBERS,), {}), memory_mib)]


def test_the_most_beside_the_inputs_is_told(gpu, tmp_path):
    source = """
        kept = []
        def nothing(x):
            return x.sum()
        def one(x):
            return (x + 1).sum()
        def three(x):
            y = x + 1
            return (y + x.exp()).sum()
        def once(x):  # what the first call leaves stays, and is no part of what a call takes
            kept or kept.append(x + 1)
            return x.sum()
    """
    names = ("nothing", "one", "three", "once")
    calls = {f"lab10/{name}.long": asked(function_call(name, (NUMBERS,), {})) for name in names}
    head, *said = lines(tmp_path, source, **calls)
    assert head == "Physical peak on Pretended\\x1b GPU, the most that is allocated at once beside the inputs:"
    assert said == [
        f"  {check}: {mib} MiB (on the CPU all that it takes must fit into 8 MiB)"
        for check, mib in zip(calls, ("0.00", "1.00", "3.00", "0.00"), strict=True)
    ]


def test_a_scenario_is_given_its_tensors_there_however_deep_they_lie(gpu, tmp_path):
    call = scenario_call("twice", {"q": NUMBERS, "given": {"all": [NUMBERS]}})
    _, line = lines(tmp_path, "def f(x, q):\n    return (x + q).sum()\n", check=asked(call))
    assert line.startswith("  check: 1.00 MiB")


def test_what_goes_wrong_is_a_line_and_the_rest_is_measured(gpu, tmp_path):
    source = r"""
        import os
        def f(x):
            raise ValueError("no\x1b[31m such\nthing")
        def works(x):
            return x.sum()
        def ends(x):
            os._exit(7)
    """
    works = asked(function_call("works", (NUMBERS,), {}))
    _, raised, line = lines(tmp_path, source, one=asked(), two=works)
    assert raised == "  one: raised ValueError: no\\x1b[31m such thing (line 4 of lab10.py)"
    assert line.startswith("  two: 0.00 MiB")
    ends = asked(function_call("ends", (NUMBERS,), {}))
    _, raised, missing, why = lines(tmp_path, source, one=asked(), two=ends)
    assert missing == "  two: not measured" and why.endswith("did not come to its end: it ended with 7.")


def test_a_process_that_does_not_come_to_its_end_is_stopped(tmp_path, monkeypatch):
    def hangs(command, *, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hangs)
    (says,) = lines(tmp_path, "", one=asked())
    assert says == "No physical peak: the process that measures told nothing; it was stopped after 120 s."


def test_a_file_that_cannot_be_loaded_says_why(gpu, tmp_path):
    (says,) = lines(tmp_path, "import nothing_of_this_name\n", one=asked())
    assert "told nothing" in says and "No module named 'nothing_of_this_name'" in says


def test_nobody_believes_what_the_process_says_of_other_checks(gpu, tmp_path):
    source = """
        import sys
        def f(x):
            with open(sys.argv[1], "a") as told:
                told.write('[1]\\n{"check": "lab10/secret", "bytes": 1}\\n')
                told.write('{"check": "one", "bytes": "<b>"}\\nnot json\\n' + "[" * 20_000 + "\\n")
                told.write('{"check": "one", "bytes": 1' + "0" * 400 + "}\\n")
            return x.sum()
    """
    _, line = lines(tmp_path, source, one=asked())
    assert line.startswith("  one: 0.00 MiB")


def test_a_process_that_tells_without_end_is_not_read_to_its_end(gpu, tmp_path):
    source = """
        import sys
        def f(x):
            with open(sys.argv[1], "a") as told:
                told.write("x" * 1_000_000 + "\\n")
            return x.sum()
    """
    _, line = lines(tmp_path, source, one=asked())
    assert line == "  one: not measured"


def test_what_is_not_held_to_little_memory_is_not_measured(tmp_path):
    (says,) = lines(tmp_path, "raise SystemExit\n", one=asked(memory_mib=None))
    assert says == "No physical peak: no visible check that ran holds this code to little memory."


ATTENTION = ("lab10", "--task", "query_chunked_attention", "--device", "cuda")
HELD = ("query_chunked_attention", "online_softmax_attention", "tiled_decode", "checkpointed_forward")


def test_where_no_gpu_is_it_is_said_after_the_verdict(tmp_path):
    (tmp_path / "lab10.py").write_text((toy.ROOT / "reference" / "lab10_memory.py").read_text())
    done = toy.grade(tmp_path, *ATTENTION, course=toy.ROOT, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    verdict, _, says = done.stdout.rstrip().rpartition("\n")
    assert "Every check passes." in verdict and says.startswith("No physical peak: torch ")
    assert says.endswith((" is built for the CPU alone.", " finds none here."))
    done = toy.grade(tmp_path, "lab10", "--device", "cuda", "--require-sandbox", course=toy.ROOT)
    assert done.returncode == 2 and "runs your file without isolation" in done.stderr


def test_only_what_visible_checks_ask_is_asked_on_the_gpu_and_the_reference_answers(gpu, tmp_path):
    (tmp_path / "lab10.py").write_text((toy.ROOT / "reference" / "lab10_memory.py").read_text())
    tasks = [word for task in HELD for word in ("--task", task)]
    done = toy.grade(tmp_path, "lab10", *tasks, "--device", "cuda", "-q", course=toy.ROOT, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0 and "Physical peak" not in done.stdout
    head, *said = done.stderr.splitlines()[-5:]
    assert head.startswith("Physical peak on Pretended")
    peaks = dict(line.strip().split(": ", 1) for line in said)
    assert [check.split(".")[0] for check in peaks] == [f"lab10/{task}" for task in HELD]
    assert all(0.1 < float(peak.split(" MiB (")[0]) < 8 for peak in peaks.values()), peaks


def listened(source):
    lab = load(toy.ROOT).lab("lab10")
    with open_bench(lab, "0") as bench, contextlib.closing(Listening(bench)) as listening:
        result = grade(Job(lab, parse(source.encode(), "lab10.py"), ["query_chunked_attention"]), listening)
    assert set(listening.asked) == {one.id for one in result.checks}
    return listening.asked


def test_what_is_asked_of_a_process_held_to_little_memory_is_kept_too():
    asked = listened((toy.ROOT / "reference" / "lab10_memory.py").read_text())
    assert [one.memory_mib for calls in asked.values() for one in calls if one.memory_mib is not None] == [8, 8]
    (long,) = asked["lab10/query_chunked_attention.long_sequence"]
    assert "randn(" in str(long.call) and "2048" in str(long.call)


def test_a_check_that_fails_and_is_run_again_has_each_call_once():
    asked = listened("def query_chunked_attention(q, k, v, chunk):\n    return q\n")
    assert {check: len(calls) for check, calls in asked.items()} == dict.fromkeys(asked, 1)
