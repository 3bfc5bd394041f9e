"""templates/cluster: who may speak with the scheduler, and what becomes of a job whose time is over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests import toy
from tests.toy import ROOT

pytest.importorskip("distributed", reason="needs Dask: pip install 'alphabar[cluster]'")

CLUSTER = ROOT / "templates" / "cluster"
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which makes the certificate")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster") / "a key"
    subprocess.run(["sh", str(CLUSTER / "tls.sh"), str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def scheduler(key: Path) -> Iterator[dict[str, object]]:
    """What a scheduler that was started as the page says tells about itself."""
    told = key.parent / "scheduler.json"
    words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    command = [sys.executable, "-m", "dask", "scheduler", *words, "--scheduler-file", str(told)]
    with subprocess.Popen(command, env={**os.environ, "DASK_CONFIG": str(key)}, stderr=subprocess.PIPE) as process:
        while not told.exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        yield json.loads(told.read_text())
        process.terminate()


def place(scheduler: dict[str, object]) -> tuple[str, int]:
    kind, _, where = str(scheduler["address"]).partition("://")
    assert kind == "tls"
    host, _, port = where.partition(":")
    return host, int(port)


def greeting(scheduler: dict[str, object], context: ssl.SSLContext) -> bytes:
    """Return the first bytes that the scheduler says to who connects; it speaks first."""
    with socket.create_connection(place(scheduler)) as plain, context.wrap_socket(plain) as secure:
        return secure.recv(100)


def context(key: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(key / "cert.pem"))
    made.check_hostname = False
    return made


def test_only_its_owner_can_read_the_key(key: Path) -> None:
    assert [path.stat().st_mode & 0o777 for path in (key, key / "key.pem")] == [0o700, 0o600]
    again = subprocess.run(["sh", str(CLUSTER / "tls.sh"), str(key)], capture_output=True)
    assert again.returncode != 0  # a key that is in use is not written over


def test_the_scheduler_speaks_with_who_has_the_key(key: Path, scheduler: dict[str, object]) -> None:
    mine = context(key)
    mine.load_cert_chain(key / "cert.pem", key / "key.pem")
    assert greeting(scheduler, mine) != b""


def test_and_with_nobody_else(key: Path, scheduler: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        greeting(scheduler, context(key))
    subprocess.run(["sh", str(CLUSTER / "tls.sh"), str(tmp_path / "other")], check=True)
    other = context(key)
    other.load_cert_chain(tmp_path / "other" / "cert.pem", tmp_path / "other" / "key.pem")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        greeting(scheduler, other)
    with socket.create_connection(place(scheduler)) as plain:
        plain.sendall(b"\0" * 64)
        try:
            said = plain.recv(100)
        except ConnectionError:
            said = b""
        assert said == b"" or said[0] == 0x15  # nothing, or TLS's alert


@pytest.mark.parametrize(
    "page", ["/", "/status", "/info/main/workers.html", "/json/counts.json", "/metrics", "/health"]
)
def test_no_page_is_shown_without_a_key(scheduler: dict[str, object], page: str) -> None:
    services = scheduler["services"]
    assert isinstance(services, dict)
    asked = HTTPConnection("127.0.0.1", services["dashboard"])
    asked.request("GET", page)
    assert asked.getresponse().status == 404
    asked.close()


def test_a_job_whose_time_is_over_puts_back_what_was_graded_and_the_next_goes_on(tmp_path: Path) -> None:
    """As Slurm ends it: the batch script alone is told."""
    toy.make(tmp_path / "course")
    for number in range(9):
        (tmp_path / "in" / f"s{number}").mkdir(parents=True)
        (tmp_path / "in" / f"s{number}" / "lab01.py").write_text(f"{toy.REFERENCE}{'#' * 99}{number}\n")
    # The smallest is graded last, and is not done by the time that the job is told.
    (tmp_path / "in" / "s0" / "lab01.py").write_text(f"{toy.REFERENCE}\nimport time\ntime.sleep(5)\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in {"srun": '"$@"', "dask": 'python -m dask "$@"', "python": f'"{sys.executable}" "$@"'}.items():
        (programs / name).write_text(f"#!/bin/sh\nexec {text}\n")
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), str(toy.GRADE.parent), os.environ["PATH"]])
    slurm = {"SLURM_NNODES": "1", "SLURM_CPUS_PER_TASK": "1", "SLURMD_NODENAME": "localhost"}
    environment = {**os.environ, **slurm, "PATH": path, "HOME": str(tmp_path)}
    environment |= {"GRADE_COURSE": str(tmp_path / "course")}
    command = ["bash", str(CLUSTER / "grade.sbatch"), "lab01", str(tmp_path / "in"), str(tmp_path / "out")]

    def job() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    with job() as first:
        assert first.stdout is not None
        said = ""
        while "[1/9]" not in said:
            line = first.stdout.readline()
            assert line, said
            said += line
        first.send_signal(signal.SIGTERM)
        said += first.stdout.read()
    assert first.returncode == 128 + signal.SIGTERM, said
    assert "graded 9" not in said and (tmp_path / "out" / "results.sqlite").is_file()
    (tmp_path / "out").rename(tmp_path / "out.before")  # as one that is killed between two renames leaves it
    with job() as second:
        assert second.stdout is not None
        said = second.stdout.read()
    assert second.returncode == 0, said
    assert "result already" in said and "graded 9 · median 7" in said
    assert (tmp_path / "out" / "cohort.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["course", "in", "out", "programs"]
