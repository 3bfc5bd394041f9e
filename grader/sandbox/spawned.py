"""A worker as a plain child process: the way for systems without fork, and forced on Linux. No isolation."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from grader.sandbox.worker import clock
from grader.sandbox.zygote_link import Exit, Usage


class SpawnedProcess:
    """A child that imports its own libraries and serves one submission."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], output: int, descriptors: Sequence[int]
    ) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=descriptors,
            start_new_session=True,
        )
        self._exit: Exit | None = None

    def usage(self) -> Usage | None:
        """Return what it has used so far; where the system does not tell, the seconds that have passed."""
        if self._process.returncode is not None:
            return None
        if not sys.platform.startswith("linux"):
            return Usage(time.monotonic())
        try:
            return Usage(clock.cpu_s(self._process.pid), clock.queued_s(self._process.pid))
        except OSError:
            return None

    def where(self) -> None:
        """Ask for its line."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGUSR1)

    def kill(self) -> None:
        """Kill it and everything it has started."""
        if self._exit is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def exit(self, timeout_s: float) -> Exit | None:
        """Wait for its end."""
        deadline = time.monotonic() + timeout_s
        while self._exit is None:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
                self._exit = Exit(ended_by, code, usage.ru_utime + usage.ru_stime)
                self._process.returncode = code
            elif time.monotonic() >= deadline:
                return None
            else:
                time.sleep(0.005)
        return self._exit

    def forget(self) -> None:
        """Reap it."""
        self.exit(5.0)
