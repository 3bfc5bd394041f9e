"""Starts the sandbox: finds out which layers work, execs the zygote within them, and hands out workers."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from grader.errors import GraderError, InternalError, MachineError
from grader.sandbox import isolation as isolation_layers
from grader.sandbox import view
from grader.sandbox.client import Worker
from grader.sandbox.isolation import Filter
from grader.sandbox.region import Region
from grader.sandbox.spawned import SpawnedProcess
from grader.sandbox.zygote_link import Process, ZygoteLink

PACKAGE = "alphabar_worker"
NOBODY = "65534"
SEND_BUFFER = 1 << 20
LAYERS = ("bwrap", "landlock", "seccomp", "rlimits", "no_new_privs", "capabilities", "dumpable")
# What a worker needs to run alike everywhere, and nothing of the judge's own environment.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "CUDA_VISIBLE_DEVICES": "",
    # Or whether there is a GPU is asked of the driver, which starts a thread: nothing could be forked after that.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "HF_HUB_OFFLINE": "1",
    "HOME": "/nonexistent",
    "PATH": "",
    "LANG": "C.UTF-8",
}

Profile = view.Profile


@dataclass(frozen=True)
class Limits:
    """What one worker may use: CPU seconds over its whole life, and memory beyond what the libraries take.

    `tight`: memory is what is measured. The allocator gives back at once what is freed, and private memory is bounded
    beside the address space.
    """

    cpu_s: float
    memory_mib: int
    tight: bool = False


class Sandbox:
    """Runs submissions. Returns at once when made; use as a context manager."""

    def __init__(
        self,
        libraries: Profile,
        *,
        isolation: Literal["auto", "none"] = "auto",
        start_method: Literal["fork", "spawn"] = "fork",
        require: bool = False,
        meta_device: bool = False,
    ) -> None:
        """Start the zygote in the background.

        `require`: `ready` refuses when any layer is missing. `meta_device`: the lab's checks use it, so that its
        machinery is imported once and not in every worker.
        """
        if sys.platform == "win32":
            raise MachineError("The sandbox needs Linux or macOS; on Windows run `grade` inside WSL.")
        if start_method == "fork" and not sys.platform.startswith("linux"):
            raise MachineError("The start method fork needs Linux; use --start-method spawn here.")
        self.libraries: Profile = libraries
        self.layers: dict[str, bool | str] = dict.fromkeys(LAYERS, "not tried yet")
        self.versions: dict[str, str] = {}
        self.start_method: Literal["fork", "spawn"] = start_method
        self._require = require
        self._asked_isolation = isolation == "auto"
        self._meta_device = meta_device
        self._isolated = isolation == "auto" and start_method == "fork"
        self._is_ready = False
        self._zygote: ZygoteLink | None = None
        self._workers: list[Worker] = []
        self._view = view.find_view(libraries)
        if "torch" not in self._view.places:
            raise MachineError("torch is not installed beside alphabar; install it with `pip install torch`.")
        self._start()

    def _start(self) -> None:
        self._private = Path(tempfile.mkdtemp(prefix="alphabar-")).resolve()
        try:
            _copy_worker(self._private / PACKAGE)
            if self._isolated:
                self.layers["bwrap"] = isolation_layers.probe_bwrap()
            if self.start_method == "fork":
                self._zygote = self._start_zygote()
        except OSError as error:
            self.close()
            raise MachineError(f"The sandbox cannot start {self._view.interpreter}: {error.strerror}.") from error

    @property
    def is_lost(self) -> bool:
        """Whether the zygote has ended by itself, as was noticed when it was asked something."""
        return self._zygote is not None and self._zygote.has_ended

    def replace(self) -> None:
        """Start anew after the zygote has ended: all workers are gone with it."""
        self.close()
        self._is_ready = False
        self._start()

    def sibling(self, libraries: Profile) -> Sandbox:
        """Start one with the same settings and other libraries; where both want a core, this one goes first.

        It does so until the other is told to `step_forward`.
        """
        other = Sandbox(
            libraries,
            isolation="auto" if self._asked_isolation else "none",
            start_method=self.start_method,
            require=self._require,
        )
        if other._zygote is not None:
            other._zygote.stand_back()
        return other

    def step_forward(self) -> None:
        """Take its full share of the processors from now on."""
        if self._zygote is not None:
            self._zygote.step_forward()

    @property
    def isolation(self) -> Literal["full", "partial", "none"]:
        """How much holds a worker: every layer, some that keep files and system calls in check, or none."""
        if all(value is True for value in self.layers.values()):
            return "full"
        if any(self.layers[name] is True for name in ("bwrap", "landlock", "seccomp")):
            return "partial"
        return "none"

    def ready(self) -> None:
        """Prepare the layers, wait for the zygote, and refuse if a layer is required and missing."""
        if self._is_ready:
            return
        if self._zygote is None:
            self._without_layers("the start method spawn has no isolation")
            self.versions = {"python": platform.python_version()} | {
                name: self._view.distributions[name] for name in view.ROOTS[self.libraries] if name != "numpy"
            }
            self._refuse_if_required()
        elif not self._isolated:
            self._without_layers("switched off with --sandbox none")
            self._refuse_if_required()
            self.versions = self._zygote.hello()
        else:
            self._prepare_layers()
        if self._zygote is not None:
            # All of it is imported by now. Even a judge that is killed leaves nothing behind.
            shutil.rmtree(self._private, ignore_errors=True)
        self._is_ready = True

    def worker(
        self, source: bytes, filename: str, *, scenarios: bytes | None, limits: Limits, watched: bool = False
    ) -> Worker:
        """Start a process for one submission; it loads nothing before `load` is called.

        `watched`: it shares memory with the judge, which sees there what becomes of the inputs.
        """
        self.ready()
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        output, output_end = os.pipe()
        traces, traces_end = os.pipe()
        given = [theirs.fileno(), output_end, traces_end]
        region = Region() if watched and self._zygote is not None else None
        try:
            if self._zygote is not None:
                process: Process = self._zygote.fork(
                    given if region is None else [*given, region.descriptor],
                    cpu_s=limits.cpu_s,
                    memory_mib=limits.memory_mib,
                    layers=self._isolated,
                    tight=limits.tight,
                )
            else:
                process = self._spawn(given, limits)
        except BaseException:
            ours.close()
            os.close(output)
            os.close(traces)
            if region is not None:
                region.close()
            raise
        finally:
            theirs.close()
            os.close(output_end)
            os.close(traces_end)
        worker = Worker(
            process,
            ours,
            output,
            traces,
            source=source,
            filename=filename,
            scenarios=scenarios,
            memory_mib=limits.memory_mib,
            cpu_s=limits.cpu_s,
            region=region,
        )
        self._workers = [known for known in self._workers if not known.closed]
        self._workers.append(worker)
        return worker

    def hang_up(self) -> None:
        """Let everything end while the caller does other things; `close` waits for it. Nothing starts any more."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()
        if self._zygote is not None:
            self._zygote.hang_up()

    def close(self) -> None:
        """End all workers and the zygote, and remove the private folder."""
        self.hang_up()
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None
        shutil.rmtree(self._private, ignore_errors=True)

    def __enter__(self) -> Self:
        """Return the sandbox."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # Starting

    def _command(self, config: dict[str, Any]) -> list[str]:
        everything = {
            **config,
            "profile": self.libraries,
            "meta_device": self._meta_device,
            "places": self._view.places,
            "distributions": self._view.distributions,
        }
        # -I would ignore the fixed hash seed; -S, -s and -P keep every other folder off sys.path.
        flags = ["-S", "-s", "-P", "-B", "-X", "utf8"]
        return [str(self._view.interpreter), *flags, "-m", PACKAGE, json.dumps(everything)]

    def _start_zygote(self) -> ZygoteLink:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptor = theirs.detach()
        command = self._command({"mode": "fork", "control": descriptor})
        if self.layers["bwrap"] is True:
            command = [*self._bwrap(), "--", *command]
        return ZygoteLink(command, self._environment(), ours, descriptor)

    def _bwrap(self) -> list[str]:
        bwrap = shutil.which("bwrap")
        assert bwrap is not None
        return [
            bwrap,
            "--unshare-all",
            # The kernel means the thread that starts it; one that ends early would take the sandbox along.
            *(["--die-with-parent"] if threading.current_thread() is threading.main_thread() else []),
            *("--cap-drop", "ALL", "--uid", NOBODY, "--gid", NOBODY, "--hostname", "sandbox"),
            *view.bwrap_arguments(self._view, self._private),
            *("--chdir", "/"),
        ]

    def _environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, "PYTHONPATH": str(self._private)}

    def _spawn(self, given: list[int], limits: Limits) -> SpawnedProcess:
        channel, output, traces = given
        # A worker dies with the thread that starts it, which must not be one that ends early.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else None
        config = {"mode": "spawn", "channel": channel, "traces": traces, "parent": parent}
        command = self._command({**config, "cpu_s": limits.cpu_s, "memory_mib": limits.memory_mib})
        return SpawnedProcess(command, self._environment(), output, [channel, traces])

    # Layers

    def _without_layers(self, reason: str) -> None:
        self.layers = dict.fromkeys(LAYERS, reason)
        self.layers["rlimits"] = True

    def _prepare_layers(self) -> None:
        # The zygote is importing torch meanwhile, so this costs no time.
        compiled = isolation_layers.compile_filter()
        ruleset = isolation_layers.build_ruleset(view.landlock_rules(self._view, self._private))
        self.layers["seccomp"] = compiled if isinstance(compiled, str) else True
        self.layers["landlock"] = ruleset if isinstance(ruleset, str) else True
        # These four cannot be missing: a worker in which one does not hold ends before it loads anything.
        self.layers |= dict.fromkeys(("rlimits", "no_new_privs", "capabilities", "dumpable"), True)
        with contextlib.nullcontext() if isinstance(ruleset, str) else contextlib.closing(ruleset):
            self._refuse_if_required()
            zygote = self._zygote_with_or_without_bwrap()
            program = base64.b64encode(compiled.program).decode() if isinstance(compiled, Filter) else ""
            tgkill = compiled.tgkill if isinstance(compiled, Filter) else 0
            zygote.guard(program, tgkill, None if isinstance(ruleset, str) else ruleset.fileno())

    def _zygote_with_or_without_bwrap(self) -> ZygoteLink:
        """Wait for the zygote; where bwrap worked when it was tried but cannot make this view, do without it."""
        assert self._zygote is not None
        try:
            self.versions = self._zygote.hello()
        except GraderError as error:
            if self.layers["bwrap"] is not True or "bwrap: " not in str(error):
                raise
            self.layers["bwrap"] = f"bwrap does not work here: {str(error).partition('bwrap: ')[2].rstrip('.')}"
            self._refuse_if_required()
            self._zygote.close()
            self._zygote = self._start_zygote()
            self.versions = self._zygote.hello()
        return self._zygote

    def _refuse_if_required(self) -> None:
        missing = {name: why for name, why in self.layers.items() if why is not True}
        if self._require and missing:
            reasons = "; ".join(f"{name}: {why}" for name, why in missing.items())
            raise MachineError(f"The sandbox is required and not complete here. {reasons}.")


def probe() -> dict[str, bool | str]:
    """Say which layers work on this machine, and why not, without starting anything of torch."""
    if not sys.platform.startswith("linux"):
        return dict.fromkeys(LAYERS, "needs Linux")
    compiled, ruleset = isolation_layers.compile_filter(), isolation_layers.build_ruleset([])
    if not isinstance(ruleset, str):
        ruleset.close()
    found: dict[str, bool | str] = dict.fromkeys(LAYERS, True)
    return found | {
        "bwrap": isolation_layers.probe_bwrap(),
        "seccomp": compiled if isinstance(compiled, str) else True,
        "landlock": ruleset if isinstance(ruleset, str) else True,
    }


def _copy_worker(target: Path) -> None:
    """Copy the worker's files, the only ones of this project that any worker can see."""
    target.mkdir()
    source = Path(__file__).parent / "worker"
    files = sorted(source.glob("*.py"))
    if not files:
        raise InternalError(f"The worker's files are missing from {source}.")
    for file in files:
        shutil.copyfile(file, target / file.name)
