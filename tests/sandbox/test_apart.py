"""Workers apart from each other and from the judge: two live ones, a zygote, and a judge that is killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from grader.sandbox.client import Budget
from grader.sandbox.launcher import Sandbox

from .conftest import HONEST, call, running

TRIES_EVERYTHING = """
import ctypes, fcntl, os, signal

libc = ctypes.CDLL(None, use_errno=True)


def pids():
    return ({*range(1, 2000), os.getppid(), *range(max(1, TOP - 2000), TOP)} - {os.getpid()})


def attack():
    worked = []
    for pid in pids():
        for number in (0, signal.SIGKILL, signal.SIGUSR1, signal.SIGSTOP):
            try:
                os.kill(pid, number)
                worked.append(("kill", pid))
            except OSError:
                pass
        if libc.syscall(234, pid, pid, 9) == 0 or libc.syscall(200, pid, 9) == 0:
            worked.append(("tgkill", pid))
        if libc.ptrace(16, pid, 0, 0) == 0 or libc.ptrace(0x4206, pid, 0, 0) == 0:
            worked.append(("ptrace", pid))
        if libc.syscall(434, pid, 0) >= 0:
            worked.append(("pidfd", pid))
        for name in ("mem", "maps", "environ", "fd", "status", "task", "cwd"):
            try:
                os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
                worked.append((name, pid))
            except OSError:
                pass
    reader, writer = os.pipe()
    for number, value in ((8, os.getppid()), (10, signal.SIGKILL)):
        try:
            fcntl.fcntl(reader, number, value)
            worked.append(("fcntl", number))
        except OSError:
            pass
    try:
        os.sched_setaffinity(os.getppid(), {0})
        worked.append("affinity")
    except OSError:
        pass
    for priority in ((0, os.getppid(), 19), (0, 0, -5)):
        try:
            os.setpriority(*priority)
            worked.append("priority")
        except OSError:
            pass
    return worked
"""


def test_a_worker_reaches_neither_its_neighbour_nor_the_zygote(sandbox: Sandbox) -> None:
    source = f"TOP = {os.getpid() + 200}\n{TRIES_EVERYTHING}"
    with running(sandbox, HONEST) as neighbour, running(sandbox, source) as worker:
        answer = call(worker, "attack", budget=30)
        assert answer.error is None, answer.error
        assert answer.value == []
        assert neighbour.alive
        assert call(neighbour, "step", 2.0).value == 2.0
    with running(sandbox, HONEST) as later:
        assert call(later, "step", 2.0).value == 2.0


def test_nothing_stays_from_one_worker_to_the_next(sandbox: Sandbox) -> None:
    source = "import torch\ntorch.mark = getattr(torch, 'mark', 0) + 1\ndef f():\n    return torch.mark\n"
    for _ in range(2):
        with running(sandbox, source) as worker:
            assert call(worker, "f").value == 1


JUDGE = """
import sys
from grader.sandbox.launcher import Limits, Sandbox

sandbox = Sandbox("torch", **eval(sys.argv[1]))
worker = sandbox.worker(b"def f():\\n    while True: pass\\n", "lab01.py", scenarios=None, limits=Limits(60, 512))
assert worker.load().error is None
worker.ask({"op": "call", "function": "f", "args": [], "kwargs": {}})
print("running", flush=True)
sys.stdin.read()
"""


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, as the kernel knows them."""
    children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [below for child in children for below in descendants(child)]


def judge_killed_while_a_worker_runs(options: str, path: str, folder: Path) -> None:
    repository = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(repository), "PATH": path, "TMPDIR": str(folder)}
    command = [sys.executable, "-c", JUDGE, options]
    judge = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert judge.stdin is not None
    assert judge.stdout is not None
    assert judge.stdout.readline() == b"running\n"
    below = descendants(judge.pid)
    assert below
    watched = {os.pidfd_open(pid) for pid in below}
    judge.kill()
    judge.wait()
    poll = select.poll()
    for descriptor in watched:
        poll.register(descriptor, select.POLLIN)
    while watched:
        for descriptor, _ in poll.poll():  # for ever, where one outlives the judge
            poll.unregister(descriptor)
            os.close(descriptor)
            watched.discard(descriptor)
    judge.stdin.close()
    judge.stdout.close()


def test_no_process_outlives_a_killed_judge(tmp_path: Path) -> None:
    judge_killed_while_a_worker_runs("{}", os.environ["PATH"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_process_outlives_a_killed_judge_without_bwrap(tmp_path: Path, no_programs: Path) -> None:
    judge_killed_while_a_worker_runs("{}", str(no_programs), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_process_outlives_a_killed_judge_without_isolation(tmp_path: Path) -> None:
    judge_killed_while_a_worker_runs("{'isolation': 'none'}", os.environ["PATH"], tmp_path)


def test_no_process_outlives_a_killed_judge_that_spawns(tmp_path: Path) -> None:
    judge_killed_while_a_worker_runs("{'start_method': 'spawn'}", os.environ["PATH"], tmp_path)


def test_closing_leaves_nothing() -> None:
    before = set(descendants(os.getpid()))
    with Sandbox("torch") as sandbox, running(sandbox, HONEST) as worker:
        assert call(worker, "step", 1.0).value == 1.5
        assert set(descendants(os.getpid())) - before
    assert set(descendants(os.getpid())) - before == set()


def test_a_zygote_that_dies_is_our_own_failure() -> None:
    import pytest

    from grader.errors import InternalError

    with Sandbox("torch", isolation="none") as sandbox, running(sandbox, HONEST) as worker:
        zygote = sandbox._zygote
        assert zygote is not None
        os.kill(zygote.pid, signal.SIGKILL)
        worker.ask({"op": "call", "function": "step", "args": [1.0], "kwargs": {}})
        with pytest.raises(InternalError, match="zygote has ended"):
            worker.answer(Budget(5))
