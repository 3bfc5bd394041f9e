"""Which checks a lab has, and which calls each makes of a student's code."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grader.checking.calls import Call
from grader.checking.session import ROOM, Bench, CheckContext, Found, examine
from grader.course import Lab
from grader.sandbox.client import Answer, Budget, Worker
from grader.sandbox.launcher import Sandbox
from grader.submission import parse


def checks_of(lab: Lab, sandbox: Sandbox) -> Sequence[Found]:
    """Return the lab's checks, none of which is run: its starter starts no worker."""
    with contextlib.closing(Bench(lab, sandbox, "0")) as bench:
        return examine(bench, parse(lab.starter.encode(), "starter.py")).checks


@dataclass(frozen=True)
class Asked:
    """One call of a check, and to how much memory the kernel held the process that answered it."""

    call: Call
    memory_mib: int | None


class Listening(Bench):
    """A bench that keeps what is asked; it works on another one's sandbox, with an oracle of its own."""

    def __init__(self, bench: Bench) -> None:
        """Open it beside `bench`, which only lends its sandbox."""
        super().__init__(bench.lab, bench.sandbox, bench.course_seed)
        self.asked: dict[str, list[Asked]] = {}  # by check, in order
        self._run: dict[str, CheckContext] = {}
        self._latest: Asked | None = None

    def ask_student(
        self, call: Call, budget: Budget, memory_mib: int | None = None, *, watched: bool = False
    ) -> Worker:
        """Keep the call in mind, and ask."""
        self._latest = Asked(call, memory_mib)
        return super().ask_student(call, budget, memory_mib, watched=watched)

    def student_answer(self, worker: Worker, context: CheckContext, room: Callable[[], int] = lambda: ROOM) -> Answer:
        """Write the call down for its check, whatever becomes of it; a check that is run again begins anew."""
        assert self._latest is not None
        if self._run.get(context.check_id) is not context:
            self._run[context.check_id], self.asked[context.check_id] = context, []
        self.asked[context.check_id].append(self._latest)
        return super().student_answer(worker, context, room)
