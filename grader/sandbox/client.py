"""A worker as the judge sees it: requests go in, answers come out, and whatever a submission does is data.

A worker that dies, hangs or sends rubbish gives an `Answer` with an `Error`; only failures of the sandbox itself raise.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from grader.errors import CourseError, InternalError
from grader.sandbox import decode
from grader.sandbox.budget import BACKSTOP, Budget, Use
from grader.sandbox.decode import Frame, Made, ModelCall
from grader.sandbox.endings import Kind, describe
from grader.sandbox.pipes import Pipe
from grader.sandbox.region import Region
from grader.sandbox.wire import FrameReader, Request, Sequence32
from grader.sandbox.worker.frames import BadFrame
from grader.sandbox.zygote_link import Process
from grader.text import printable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Answer", "Budget", "Error", "Frame", "Worker"]

START_S = 180.0
LOAD_CPU_S = 10.0
MAX_OUTPUT_KEPT = 64 << 10
MAX_OUTPUT = 8 << 20
MAX_TRACES = 16 << 10
LINE_S = 0.3
END_S = 1.0  # a process whose channel closed has ended, or closed it and goes on


@dataclass(frozen=True)
class Error:
    """What went wrong in a submission."""

    type: str
    message: str
    frames: tuple[Frame, ...]
    line: int | None
    kind: Kind
    bases: tuple[str, ...] = ()  # of an exception of the student's own: Python's that it is derived from


@dataclass(frozen=True)
class Answer:
    """What came back for one request."""

    value: Any
    changed: dict[str, Any]
    next_draw: dict[str, float]
    global_rng_moved: bool
    error: Error | None
    output: str
    seconds: float
    untouched: tuple[str, ...] = ()  # generators among the inputs that nothing was drawn from
    calls: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # witnessed models: what each was called with
    made: Made | None = None  # the inputs as they were made; of the reference alone


class Models(Protocol):
    """Who answers for the models that a submission calls and does not hold."""

    def answer(self, call: ModelCall) -> Mapping[str, Any]:
        """Return what is sent back: `{"op": "value", "args": [value]}` or `{"op": "raised", "args": [kind, says]}`."""


class Worker:
    """One submission's process."""

    _count = 0

    def __init__(
        self,
        process: Process,
        channel: socket.socket,
        output: int,
        traces: int,
        *,
        source: bytes,
        filename: str,
        scenarios: bytes | None,
        memory_mib: int,
        cpu_s: float,
        region: Region | None = None,
    ) -> None:
        """Take over the judge's ends of the worker's descriptors."""
        self.region = region
        Worker._count += 1
        self._number = Worker._count
        self._process = process
        self._channel = channel
        self._output, self._traces = Pipe(output), Pipe(traces)
        self._source, self._filename, self._scenarios = source, filename, scenarios
        self._memory_mib, self._cpu_s = memory_mib, cpu_s
        channel.setblocking(False)
        self._reader = FrameReader()
        self._numbers = Sequence32()
        self._outgoing = memoryview(b"")
        self._expected: int | None = 0  # a worker says that it is up before it is asked anything
        self._asked_at = time.monotonic()
        self._printed = bytearray()
        self._printed_bytes = 0
        self._traced = bytearray()
        self._failure: Error | None = None
        self._closed = False
        self.report: dict[str, Any] = {}

    @property
    def alive(self) -> bool:
        """Whether it can be asked anything more."""
        return self._failure is None and not self._closed

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def load(self, budget: Budget | None = None) -> Answer:
        """Wait until the worker is up, load the scenarios and then the submission, in the time of `budget` if given."""
        self._wait_until_up()
        if self._scenarios is not None:
            self._ask({"op": "load", "name": "scenarios.py", "role": "scenarios"}, data=self._scenarios)
            loaded = self.answer(Budget(LOAD_CPU_S))
            if loaded.error is not None:
                raise CourseError(f"scenarios.py does not load: {loaded.error.type}: {loaded.error.message}")
        self._ask({"op": "load", "name": self._filename, "role": "submission"}, data=self._source)
        return self.answer(budget or Budget(LOAD_CPU_S))

    def replace(self, source: bytes) -> Answer:
        """Load another source in the same process: for edited references, which are ours and trust each other."""
        self._source = source
        self._ask({"op": "load", "name": self._filename, "role": "submission"}, data=source)
        return self.answer(Budget(LOAD_CPU_S))

    def ask(self, request: Mapping[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
        """Send a request and return at once, so that several workers run at the same time."""
        self._ask(request, arrays)

    def _ask(self, request: Mapping[str, Any], arrays: Sequence[np.ndarray] = (), data: bytes = b"") -> None:
        if self._closed or self._expected is not None:
            raise InternalError("A worker was asked while it was closed or still had to answer.")
        frame = Request(request, arrays).frame(sequence := self._numbers.next(), data)
        self._expected, self._asked_at = sequence, time.monotonic()
        if self._failure is None:
            self._outgoing = memoryview(frame)
            self._flush()

    def answer(self, budget: Budget, models: Models | None = None, room: Callable[[], int] | None = None) -> Answer:
        """Wait for the answer to what was asked, for as long as the budget lasts; `models` answer calls on the way.

        `room` says how many bytes of data an answer may hold; what is larger comes back as refused.
        """
        self._reader.room = room
        if self._expected is None:
            raise InternalError("A worker's answer was wanted before it was asked anything.")
        if self._failure is None:
            try:
                text, data = self._receive(budget)
                while decode.is_model_call(text):
                    if models is None:
                        raise BadFrame("it calls a model that it was not given")
                    if budget.exhausted:  # whoever asks without a pause would never be found waiting
                        self._check_budget(budget, budget.use(self._number, self._process))
                    self._respond(models.answer(decode.model_call(text, data)))
                    text, data = self._receive(budget)
                reply = decode.reply(text, data)
            except BadFrame as reason:
                self._fail("protocol", f"your code sent something that is not an answer: {reason}")
            except _Failed as failed:
                self._fail(failed.kind, failed.message, failed.line)
            else:
                self._expected = None
                return self._answered(reply)
        self._expected = None
        assert self._failure is not None
        return Answer(None, {}, {}, False, self._failure, self._take_output(), 0.0)

    def _respond(self, response: Mapping[str, Any]) -> None:
        """Answer a question that came before the answer; the time that it took is not the submission's."""
        assert self._expected is not None
        self._outgoing = memoryview(Request(response).frame(self._expected))
        self._asked_at = time.monotonic()
        self._flush()

    def close(self) -> None:
        """End the process and close everything."""
        if self._closed:
            return
        self._closed = True
        # A zygote that has gone took its workers with it.
        with contextlib.suppress(InternalError):
            self._process.kill()
            self._process.forget()
        self._channel.close()
        self._output.close()
        self._traces.close()
        if self.region is not None:
            self.region.close()

    def _answered(self, reply: decode.Reply) -> Answer:
        raised = reply.raised
        error = None
        if raised is not None:
            message = raised.message
            if raised.type == "MemoryError" or "can't allocate memory" in message:
                message = f"used more than {self._memory_mib} MiB of memory"
            error = Error(raised.type, message, raised.frames, raised.line, "raised", raised.bases)
        return Answer(
            value=reply.value,
            changed=reply.changed,
            next_draw=reply.next_draw,
            global_rng_moved=reply.global_rng_moved,
            error=error,
            output=self._take_output(),
            seconds=reply.seconds,
            untouched=reply.untouched,
            calls=reply.calls,
            made=reply.made,
        )

    def _wait_until_up(self) -> None:
        budget = Budget(START_S / BACKSTOP)
        try:
            text, _ = self._receive(budget)
            self.report = decode.message(text).get("up", {})
        except (BadFrame, _Failed) as error:
            said = self._take_output().strip().splitlines()
            why = said[-1] if said else (error.message if isinstance(error, _Failed) else str(error))
            self.close()
            raise InternalError(f"A worker did not come up: {why}.") from None
        self._expected = None

    # Waiting

    def _receive(self, budget: Budget) -> tuple[bytes, memoryview | None]:
        use = budget.use(self._number, self._process)
        since = self._asked_at
        while True:
            frame = self._pump(since + max(budget.left, 0.0))
            now = time.monotonic()
            use.waited_s += now - since
            budget.wall_s += now - since
            since = now
            if frame is not None:
                sequence, text, data = frame
                if sequence != self._expected:
                    raise BadFrame("it does not belong to the question")
                return text, data
            self._check_budget(budget, use)

    def _check_budget(self, budget: Budget, use: Use) -> None:
        """Read how much CPU was really used, and give up if the budget is spent."""
        now = self._process.usage()
        if now is not None:
            use.cpu_s, use.waited_s = max(0.0, now.cpu_s - use.base.cpu_s), 0.0
            use.queued_s = max(0.0, now.queued_s - use.base.queued_s)
        if not budget.exhausted:
            return
        line = self._ask_line()
        at = f", at line {line}" if line else ""
        if budget.spent >= budget.cpu_s:
            raise _Failed("timed_out", f"still running after {budget.cpu_s:g} s of CPU time{at}", line)
        raise _Failed("timed_out", f"no answer after {budget.wall_s:.0f} s, almost all of it spent waiting{at}", line)

    def _pump(self, due: float) -> tuple[int, bytes, memoryview | None] | None:
        """Move bytes until a frame is complete or the time is due (then None)."""
        if (frame := self._reader.next()) is not None:
            return frame
        while True:
            poll = select.poll()
            poll.register(self._channel, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
            for pipe in (self._output, self._traces):
                if pipe.descriptor is not None:
                    poll.register(pipe.descriptor, select.POLLIN)
            timeout_s = due - time.monotonic()
            ready = dict(poll.poll(max(0.0, timeout_s) * 1000 + 1))
            if self._output.descriptor in ready:
                self._read_output()
            if self._traces.descriptor in ready:
                self._read_traces()
            events = ready.get(self._channel.fileno(), 0)
            if events & select.POLLOUT:
                self._flush()
            if events & ~select.POLLOUT:
                try:
                    frame = self._reader.read(self._channel)
                except EOFError:
                    raise self._ended() from None
                if frame is not None:
                    return frame
            # A worker that sends byte by byte keeps the channel busy; the deadline holds all the same.
            if timeout_s <= 0:
                return None

    def _flush(self) -> None:
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[self._channel.send(self._outgoing) :]
        except (BlockingIOError, InterruptedError):
            return
        except (BrokenPipeError, ConnectionError):
            self._outgoing = memoryview(b"")  # the end of the process shows when its answer is read

    def _read_output(self) -> None:
        for part in self._output.read():
            self._printed_bytes += len(part)
            self._printed += part[: max(0, MAX_OUTPUT_KEPT - len(self._printed))]
            if self._printed_bytes > MAX_OUTPUT:
                raise _Failed("crashed", f"printed more than {MAX_OUTPUT >> 20} MB")

    def _read_traces(self) -> None:
        for part in self._traces.read():
            self._traced = (self._traced + part)[-MAX_TRACES:]

    def _take_output(self) -> str:
        with contextlib.suppress(_Failed):
            self._read_output()
        text = printable(self._printed.decode("utf-8", "replace"), MAX_OUTPUT_KEPT)
        if self._printed_bytes > len(self._printed):
            text += f"\n… ({self._printed_bytes - len(self._printed)} more bytes)"
        self._printed, self._printed_bytes = bytearray(), 0
        return text

    # How it ended

    def _fail(self, kind: Kind, message: str, line: int | None = None) -> None:
        self._process.kill()
        self._failure = Error("", message, (), line, kind)

    def _ask_line(self) -> int | None:
        """Ask the worker which line it is at. It may lie or not answer: for showing only."""
        self._traced.clear()
        self._process.where()
        deadline = time.monotonic() + LINE_S
        # It comes in small pieces, innermost frame first.
        while self._line() is None and self._traces.descriptor is not None:
            poll = select.poll()
            poll.register(self._traces.descriptor, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                break
            self._read_traces()
        return self._line()

    def _line(self) -> int | None:
        pattern = rb'File "' + re.escape(self._filename.encode()) + rb'", line (\d{1,7}) '
        found = re.search(pattern, self._traced)
        return int(found[1]) if found else None

    def _ended(self) -> _Failed:
        ended = self._process.exit(END_S)
        self._read_traces()
        line = self._line()
        at = f", at line {line}" if line else ""
        if ended is None:
            return _Failed("protocol", "your code closed the connection to the grader")
        kind, says = describe(ended, self._cpu_s)
        return _Failed(kind, says + at, line)


class _Failed(Exception):
    """The submission's process did not answer; says how it failed."""

    def __init__(self, kind: Kind, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.message, self.line = kind, message, line
