"""Layers: what is reported is what holds, and what is missing is said, with the reason."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from grader.errors import InternalError, MachineError
from grader.sandbox import isolation, view
from grader.sandbox.launcher import LAYERS, Sandbox, probe

from .conftest import HONEST, LIMITS, call, once, running

# What a worker finds out about itself, without /proc, which it may not read.
LOOKS = """
import ctypes, os, resource, sys, threading

libc = ctypes.CDLL(None, use_errno=True)


def capabilities():
    data = ctypes.create_string_buffer(24)
    assert libc.capget(ctypes.create_string_buffer(b"\\x22\\x05\\x08\\x20" + bytes(4)), data) == 0
    return sum(data.raw)


def look():
    return {
        "no_new_privs": libc.prctl(39, 0, 0, 0, 0),
        "dumpable": libc.prctl(3, 0, 0, 0, 0),
        "capabilities": capabilities(),
        "descriptors": [fd for fd in range(256) if not fails(lambda: os.fstat(fd))],
        "environment": sorted(os.environ),
        "path": sys.path,
        "meta_path": len(sys.meta_path),
        "hash_seed": hash("alphabar"),
        "uid": os.getuid(),
        "limits": [resource.getrlimit(getattr(resource, "RLIMIT_" + n))[0] for n in ("CORE", "FSIZE", "NOFILE", "CPU")],
        "threads": threading.active_count(),
    }


def fails(attempt):
    try:
        attempt()
    except OSError as error:
        return error.errno
    return 0


def tries():
    return [
        fails(lambda: open("/etc/passwd").close()),
        fails(lambda: open("/proc/self/status").close()),
        fails(lambda: os.listdir("/")),
        fails(os.fork),
        fails(lambda: os.kill(os.getppid(), 0)),
    ]


def works():
    import sqlite3, json, decimal, uuid, ctypes.util, unittest.mock
    import torch.fft, torch.distributions, torch.nn.utils.parametrize
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    return len(os.urandom(4)), sqlite3.sqlite_version_info[0], torch.fft.fft(torch.ones(2)).real.tolist()
"""


def test_every_layer_holds_here(bwrap_sandbox: Sandbox) -> None:
    bwrap_sandbox.ready()
    assert set(bwrap_sandbox.layers) == set(LAYERS)
    expected = probe()
    assert bwrap_sandbox.layers == expected
    assert bwrap_sandbox.isolation == ("full" if all(v is True for v in expected.values()) else "partial")
    assert set(bwrap_sandbox.versions) == {"python", "torch"}


def test_without_bwrap_the_rest_holds_and_says_so(landlock_sandbox: Sandbox) -> None:
    landlock_sandbox.ready()
    assert landlock_sandbox.layers["bwrap"] == "bwrap is not installed (package bubblewrap)"
    assert landlock_sandbox.isolation == "partial"
    assert {name: landlock_sandbox.layers[name] for name in LAYERS[1:]} == {n: probe()[n] for n in LAYERS[1:]}


def test_switched_off_says_so(open_sandbox: Sandbox) -> None:
    open_sandbox.ready()
    assert open_sandbox.isolation == "none"
    assert open_sandbox.layers["seccomp"] == "switched off with --sandbox none"


def test_a_worker_sees_what_it_should(sandbox: Sandbox) -> None:
    with running(sandbox, LOOKS) as worker:
        seen: dict[str, Any] = call(worker, "look").value
        refused: list[int] = call(worker, "tries").value
        assert call(worker, "works").value == (4, 3, [2.0, 0.0])
        assert {name for name, held in worker.report["layers"].items() if held} >= {"no_new_privs", "dumpable"}
        assert worker.report["layers"].get("seccomp") is (True if sandbox.layers["seccomp"] is True else None)
        assert worker.report["layers"].get("landlock") is (True if sandbox.layers["landlock"] is True else None)
    assert (seen["no_new_privs"], seen["dumpable"], seen["capabilities"]) == (1, 0, 0)
    assert seen["descriptors"] == [0, 1, 2, 3, 4]
    assert seen["limits"] == [0, 1 << 20, 64, 30]
    assert seen["threads"] == 1
    assert not {"PYTHONPATH", "USER", "VIRTUAL_ENV", "SHELL"} & set(seen["environment"])
    assert not any("-packages" in entry for entry in seen["path"])
    assert all(refused), refused
    if sandbox.layers["bwrap"] is True:
        assert seen["uid"] == 65534


def test_hashes_are_the_same_in_every_zygote(bwrap_sandbox: Sandbox, landlock_sandbox: Sandbox) -> None:
    first, second = (once(one, LOOKS, "look").value["hash_seed"] for one in (bwrap_sandbox, landlock_sandbox))
    assert first == second


def test_a_bwrap_that_fails_is_left_out_with_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isolation.probe_bwrap() == ("bwrap does not work here: bwrap: setting up uid map: Permission denied")
    with pytest.raises(MachineError, match="uid map: Permission denied"), Sandbox("torch", require=True) as sandbox:
        sandbox.ready()


def test_a_bwrap_that_cannot_make_the_view_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ["--ro-bind", "/nowhere at all", "/nowhere"]
    if probe()["bwrap"] is True:
        monkeypatch.setattr(view, "bwrap_arguments", lambda *_: broken)
    with Sandbox("torch") as sandbox:
        assert once(sandbox, HONEST.decode(), "step", 2.0).value == 2.0
        assert "bwrap" in str(sandbox.layers["bwrap"])
        assert sandbox.layers["bwrap"] is not True
        assert sandbox.isolation == "partial"


def test_required_layers_are_checked_before_any_worker(no_programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(no_programs))
    with Sandbox("torch", require=True) as sandbox:
        with pytest.raises(MachineError, match="bwrap is not installed") as raised:
            sandbox.worker(HONEST, "lab01.py", scenarios=None, limits=LIMITS)
        assert raised.value.exit_code == 5


@pytest.mark.parametrize("kwargs", [{"isolation": "none"}, {"start_method": "spawn"}], ids=["switched off", "spawn"])
def test_required_and_switched_off_is_refused(kwargs: dict[str, Any]) -> None:
    with Sandbox("torch", require=True, **kwargs) as sandbox, pytest.raises(MachineError, match="required"):
        sandbox.ready()


def test_missing_libraries_are_named(no_programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(no_programs))
    for name in ("pyseccomp", "landlockpy"):
        monkeypatch.setitem(sys.modules, name, None)
    found = probe()
    assert str(found["seccomp"]).startswith("seccomp needs pyseccomp and libseccomp")
    assert str(found["landlock"]).startswith("landlock needs landlockpy")
    with Sandbox("torch") as sandbox:
        sandbox.ready()
        assert sandbox.isolation == "none"
        assert sandbox.layers["seccomp"] == found["seccomp"]
        assert sandbox.layers["rlimits"] is True
        with running(sandbox, LOOKS) as worker:
            assert call(worker, "look").value["no_new_privs"] == 1
            assert set(worker.report["layers"]) == {"no_new_privs", "dumpable", "capabilities"}


def test_a_layer_that_does_not_take_hold_ends_the_worker_before_it_loads_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A filter that allows everything: it loads, but does not do what was reported.
    permissive = isolation.Filter(b"\x06\x00\x00\x00\x00\x00\xff\x7f", 234)
    monkeypatch.setattr(isolation, "compile_filter", lambda: permissive)
    with Sandbox("torch") as sandbox:
        worker = sandbox.worker(b"print('loaded')\n", "lab01.py", scenarios=None, limits=LIMITS)
        with pytest.raises(InternalError, match="the layer seccomp did not take hold"):
            worker.load()


def test_windows_is_told_to_use_wsl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(MachineError, match="WSL"):
        Sandbox("torch")
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(MachineError, match="spawn"):
        Sandbox("torch")
    assert set(probe().values()) == {"needs Linux"}


def test_the_judge_does_not_import_torch() -> None:
    import subprocess

    script = (
        "import sys\nfrom grader.sandbox.launcher import Limits, Sandbox\n"
        "with Sandbox('torch') as s:\n"
        "    w = s.worker(b'def f(): return 1', 'a.py', scenarios=None, limits=Limits(9, 512))\n"
        "    assert w.load().error is None\n"
        "print('torch' in sys.modules)\n"
    )
    repository = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
