"""The zygote: imports the libraries once, then forks one worker for every request of the judge.

It runs no student code, holds nothing of the course, and ends when the judge hangs up. Control messages are JSON, one a
datagram; a worker's pid never leaves this process, the judge names workers by its own numbers.
"""

from __future__ import annotations

import array
import base64
import contextlib
import faulthandler
import gc
import json
import mmap
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import clock, layers, libraries

WHERE = signal.SIGUSR1  # asks a worker to write down which line it is at
LAYER_MISSING = 111  # exit code of a worker whose layers did not take hold
MAX_CONTROL = 1 << 16
# No limit of the kernel's binds root, or holds for one worker alone; so threads are counted. What a worker can start in
# between, its address space bounds.
COUNT_S = 0.05


def main(config: dict[str, Any]) -> None:
    """Import the libraries, then fork workers on request or, on the spawn way, serve as the only one."""
    os.environ.pop("PYTHONPATH", None)
    libraries.install(config["places"], config["distributions"])
    if config["mode"] == "fork":
        with socket.socket(fileno=config["control"]) as control:
            Zygote(control, config["profile"], meta_device=config["meta_device"]).run()
    else:
        _alone(config)


def _alone(config: dict[str, Any]) -> None:
    versions = libraries.load(config["profile"])
    libraries.warm_up(meta_device=config["meta_device"])
    from . import serve

    if config["parent"] is not None and sys.platform.startswith("linux"):
        layers.die_with(config["parent"])
    # The CPU clock runs since the process began; importing the libraries is not the student's affair.
    layers.set_limits(config["cpu_s"] + time.process_time(), config["memory_mib"], layers.address_space())
    _write_traces(config["traces"])
    serve.serve(config["channel"], {"versions": versions})


def _write_traces(descriptor: int) -> None:
    faulthandler.enable(file=descriptor, all_threads=False)
    if hasattr(faulthandler, "register"):
        faulthandler.register(WHERE, file=descriptor, all_threads=False)


class Zygote:
    """The loop of the zygote and the workers it has forked."""

    def __init__(self, control: socket.socket, profile: str, *, meta_device: bool) -> None:
        """Import the libraries and say hello; the judge may ask for workers from then on."""
        self._control = control
        self._pids: dict[int, int] = {}
        self._crowded: set[int] = set()
        self._guard = layers.Guard(None, 0, None)
        layers.limit_zygote()
        versions = libraries.load(profile)
        libraries.warm_up(meta_device=meta_device)
        # Workers share these pages for as long as nothing writes to them: keep the collector away from old objects.
        gc.collect()
        gc.freeze()
        layers.prctl(layers.PR_SET_DUMPABLE, 0)
        self._base_bytes = layers.address_space()
        self._wake_up, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._say(ready=True, versions=versions)

    def run(self) -> None:
        """Answer control messages until the judge hangs up; then end, with all workers. Never returns."""
        while True:
            wait_s = COUNT_S if self._pids else None
            readable, _, _ = select.select([self._control.fileno(), self._wake_up], [], [], wait_s)
            self._count_threads()
            if self._wake_up in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_up, 4096)
                self._reap()
            if self._control.fileno() in readable:
                message, descriptors = self._hear()
                if message is None:
                    break
                self._do(message, descriptors)
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)
        os._exit(0)  # a student waits for this end, and taking torch down in good order takes a fifth of a second

    def _count_threads(self) -> None:
        for worker, pid in self._pids.items():
            if clock.threads(pid) > clock.MAX_THREADS:
                self._crowded.add(worker)
                os.kill(pid, signal.SIGKILL)

    def _say(self, **message: Any) -> None:
        # A judge that has gone is noticed on the next read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.send(json.dumps(message).encode())

    def _hear(self) -> tuple[dict[str, Any] | None, list[int]]:
        data, ancillary, _, _ = self._control.recvmsg(MAX_CONTROL, socket.CMSG_SPACE(8 * 4))
        descriptors = array.array("i")
        for level, kind, body in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(body[: len(body) - len(body) % descriptors.itemsize])
        return (json.loads(data) if data else None), list(descriptors)

    def _do(self, message: dict[str, Any], descriptors: list[int]) -> None:
        match message["do"]:
            case "guard":
                filter_text = message["seccomp"]
                self._guard = layers.Guard(
                    seccomp=base64.b64decode(filter_text) if filter_text else None,
                    tgkill=message["tgkill"],
                    landlock=descriptors[0] if descriptors else None,
                )
            case "spawn":
                self._fork(message, descriptors)
            case "kill":
                self._signal(message["id"], signal.SIGKILL)
            case "where":
                self._signal(message["id"], WHERE)
            case "usage":
                self._say(usage=message["id"], **self._usage(message["id"]))

    def _signal(self, worker: int, number: int) -> None:
        # Only children that have not been reaped: their pids cannot belong to anyone else.
        if worker in self._pids:
            os.kill(self._pids[worker], number)

    def _usage(self, worker: int) -> dict[str, float | None]:
        pid = self._pids.get(worker)
        if pid is None:
            return {"cpu_s": None, "queued_s": 0.0}
        return {"cpu_s": clock.cpu_s(pid), "queued_s": clock.queued_s(pid)}

    def _reap(self) -> None:
        names = {pid: worker for worker, pid in self._pids.items()}
        while self._pids:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if not pid:
                break
            worker = names[pid]
            del self._pids[worker]
            self._say(
                exit=worker,
                signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
                code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
                cpu_s=usage.ru_utime + usage.ru_stime,
                crowded=worker in self._crowded,
            )
            self._crowded.discard(worker)

    def _fork(self, message: dict[str, Any], descriptors: list[int]) -> None:
        threads = len(list(Path("/proc/self/task").iterdir()))
        if threads != 1:
            self._say(failed=f"the zygote runs {threads} threads; forking it now would hang its workers")
            return
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            _in_child(lambda: self._become_worker(message, descriptors, zygote))
        self._pids[message["id"]] = pid
        for descriptor in descriptors:
            os.close(descriptor)

    def _become_worker(self, message: dict[str, Any], descriptors: list[int], zygote: int) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        channel, output, traces, *shared = descriptors
        region = mmap.mmap(shared[0], 0) if shared else None
        ruleset = layers.arrange_descriptors(channel, output, traces, self._guard.landlock)
        shared_bytes = len(region) if region else 0
        layers.set_limits(message["cpu_s"], message["memory_mib"], self._base_bytes + shared_bytes)
        if message["tight"]:
            layers.fix_allocator()
            layers.bound_private_memory(message["memory_mib"])
        _write_traces(layers.TRACES)
        held: dict[str, bool] = {}
        layers.die_with(zygote)
        if message["layers"]:
            held = layers.enter(self._guard, ruleset)
        from . import serve

        serve.serve(layers.CHANNEL, {"layers": held}, region)


def _in_child(become: Callable[[], None]) -> None:
    # Whatever happens in a forked child, it must never return into the zygote's loop.
    try:
        become()
    except BaseException as error:
        with contextlib.suppress(BaseException):
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(LAYER_MISSING)
