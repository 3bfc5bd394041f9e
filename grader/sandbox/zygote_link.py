"""The judge's end of the zygote: starts it, talks over the control socket, and stands for the workers it has forked."""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from grader.errors import InternalError, MachineError

BEHIND = 10  # niceness: next to another group's process one of this gets a tenth of a core
START_S = 180.0
ANSWER_S = 30.0
MAX_CONTROL = 1 << 16


@dataclass(frozen=True)
class Usage:
    """What a worker has used: CPU, and the time it was ready to run but another process had the processor."""

    cpu_s: float
    queued_s: float = 0.0


@dataclass(frozen=True)
class Exit:
    """How a worker's process ended."""

    signal: int
    code: int
    cpu_s: float


class Process(Protocol):
    """A worker's process, however it was started."""

    def usage(self) -> Usage | None:
        """Return what it has used so far; None once it has ended."""

    def where(self) -> None:
        """Ask it to write down, among its traces, which line it is at."""

    def kill(self) -> None:
        """End it at once."""

    def exit(self, timeout_s: float) -> Exit | None:
        """Wait for its end; None if it still runs."""

    def forget(self) -> None:
        """Give up what is kept for it; nobody will ask about it again."""


class ZygoteLink:
    """A running zygote."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], control: socket.socket, theirs: int
    ) -> None:
        """Start the process and return at once; it imports its libraries while the judge does other things."""
        self._control = control
        # What it says while starting up; a file, because nobody reads a pipe meanwhile.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._exits: dict[int, Exit] = {}
        self._usage: dict[int, Usage | None] = {}
        self._open: set[int] = set()
        self._last = 0
        self._is_up = False
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            pass_fds=[theirs],
            cwd="/",
            start_new_session=True,  # Ctrl-C in the terminal is the judge's, not a KeyboardInterrupt in student code
        )
        os.close(theirs)

    def stand_back(self) -> None:
        """Let others go first, where Linux shares processors among sessions: the zygote's is its own.

        The niceness of a session can be taken back, that of a process cannot: it would starve when it is wanted.
        """
        with contextlib.suppress(OSError):
            self._group.write_text(str(BEHIND))

    def step_forward(self) -> None:
        """Take that back."""
        for _ in range(20):
            try:
                self._group.write_text("0")
            except BlockingIOError:
                time.sleep(0.1)  # the kernel grants such a wish to somebody every tenth of a second
            except OSError:
                return  # there are no such groups here
            else:
                return

    @property
    def _group(self) -> Path:
        return Path(f"/proc/{self._process.pid}/autogroup")

    def hello(self) -> dict[str, str]:
        """Wait until the libraries are imported and return their versions."""
        message = self._receive(START_S)
        if message is None:
            raise InternalError(f"The sandbox's zygote was not ready after {START_S:.0f} s.")
        self._is_up = True
        return dict(message["versions"])

    def guard(self, seccomp: str, tgkill: int, landlock: int | None) -> None:
        """Hand over what every worker gets: the compiled filter and the ruleset."""
        self._send({"do": "guard", "seccomp": seccomp, "tgkill": tgkill}, [] if landlock is None else [landlock])

    def fork(
        self, descriptors: Sequence[int], *, cpu_s: float, memory_mib: int, layers: bool, tight: bool
    ) -> ForkedProcess:
        """Fork a worker that gets channel, output and traces; nothing is waited for."""
        self._drain()
        self._last += 1
        self._open.add(self._last)
        limits = {"cpu_s": cpu_s, "memory_mib": memory_mib, "layers": layers, "tight": tight}
        self._send({"do": "spawn", "id": self._last, **limits}, descriptors)
        return ForkedProcess(self, self._last)

    def hang_up(self) -> None:
        """Close the control socket: the zygote kills its workers and ends, which `close` waits for."""
        self._control.close()

    def close(self) -> None:
        """Hang up and wait for the zygote's end."""
        self.hang_up()
        if not self._is_up and self._process.poll() is None:
            # It imports, for seconds on a busy machine, and does not listen; there is nothing in it to lose.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    @property
    def pid(self) -> int:
        """The process that was started (bwrap's, where that is used)."""
        return self._process.pid

    def usage(self, worker: int) -> Usage | None:
        """Ask what a worker has used."""
        self._send({"do": "usage", "id": worker})
        while worker not in self._usage:
            self._dispatch(self._expect())
        return self._usage.pop(worker)

    def where(self, worker: int) -> None:
        """Ask a worker to write down its line."""
        self._send({"do": "where", "id": worker})

    def kill(self, worker: int) -> None:
        """Kill a worker; its end needs no report."""
        self._send({"do": "kill", "id": worker})

    def forget(self, worker: int) -> None:
        """Drop what is known of a worker that has been closed."""
        self._open.discard(worker)
        self._exits.pop(worker, None)

    def exit(self, worker: int, timeout_s: float) -> Exit | None:
        """Wait for a worker's end."""
        deadline = time.monotonic() + timeout_s
        while worker not in self._exits:
            message = self._receive(max(0.0, deadline - time.monotonic()))
            if message is None:
                return None
            self._dispatch(message)
        return self._exits[worker]

    def _dispatch(self, message: dict[str, Any]) -> None:
        if "failed" in message:
            raise InternalError(f"The sandbox cannot start a worker: {message['failed']}.")
        if "usage" in message:
            known = message["cpu_s"] is not None
            self._usage[message["usage"]] = Usage(message["cpu_s"], message["queued_s"]) if known else None
        elif "exit" in message and message["exit"] in self._open:
            self._exits[message["exit"]] = Exit(message["signal"], message["code"], message["cpu_s"])

    def _drain(self) -> None:
        # Ends of workers that nobody asks about must not fill the socket.
        while (message := self._receive(0.0)) is not None:
            self._dispatch(message)

    def _expect(self) -> dict[str, Any]:
        message = self._receive(ANSWER_S)
        if message is None:
            raise InternalError(f"The sandbox's zygote did not answer for {ANSWER_S:.0f} s.")
        return message

    def _receive(self, timeout_s: float) -> dict[str, Any] | None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            return None
        try:
            data = self._control.recv(MAX_CONTROL)
        except ConnectionError:
            data = b""
        if not data:
            raise self._ended()
        return dict(json.loads(data))

    def _send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._control.sendmsg([json.dumps(message).encode()], rights)
        except (BrokenPipeError, ConnectionError):
            raise self._ended() from None

    def _ended(self) -> InternalError | MachineError:
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            code = None
        self._said.seek(0)
        lines = self._said.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
        last = lines[-1] if lines else f"exit code {code}"
        if "ModuleNotFoundError" in last or "ImportError" in last:
            return MachineError(f"The libraries cannot be imported in the sandbox: {last}.")
        return InternalError(f"The sandbox's zygote has ended: {last}.")


@dataclass(frozen=True)
class ForkedProcess:
    """A worker forked by the zygote."""

    _zygote: ZygoteLink
    _id: int

    def usage(self) -> Usage | None:
        """Return what it has used so far."""
        return self._zygote.usage(self._id)

    def where(self) -> None:
        """Ask for its line."""
        self._zygote.where(self._id)

    def kill(self) -> None:
        """Kill it."""
        self._zygote.kill(self._id)

    def exit(self, timeout_s: float) -> Exit | None:
        """Wait for its end."""
        return self._zygote.exit(self._id, timeout_s)

    def forget(self) -> None:
        """Say that nobody will ask about it again."""
        self._zygote.forget(self._id)
