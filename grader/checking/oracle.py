"""Who answers for the reference and its edits: workers that run their source, or a student edition's recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from grader import weights
from grader.checking import record
from grader.checking.calls import Call
from grader.course import Lab, apply_edits
from grader.errors import CourseError, InternalError
from grader.manifest import Edit, Misconception
from grader.sandbox.client import Answer, Budget, Error, Worker
from grader.sandbox.launcher import Limits, Sandbox


class Oracle(Protocol):
    """Answers calls as the reference, or as the reference with edits, would."""

    @property
    def misconceptions(self) -> Sequence[Misconception]:
        """The known mistakes."""

    def lacks(self, call: Call) -> str:
        """Return why a picture cannot be drawn from `call`: a sentence, or nothing where it can."""

    def ask(self, call: Call) -> None:
        """Start the reference on `call`, so that it runs while the student's code does."""

    def answer(self, call: Call) -> Answer:
        """Return the reference's answer."""

    def edited(self, edits: Sequence[Edit], call: Call, budget: Budget) -> Answer | None:
        """Return what the reference with `edits` answers; None where that is not known or the edits do not combine."""

    def forget(self) -> None:
        """Let go of the answers that are kept: none of them will be asked for again."""

    def restart(self) -> None:
        """Let go of the workers: they are gone. Answers stay."""

    def close(self) -> None:
        """End the workers."""


class LiveOracle:
    """Runs the reference's source in a worker of its own, and edited references in another.

    Answers are kept: with one seed per course they are the same for every submission of a cohort.
    """

    def __init__(self, lab: Lab, sandbox: Sandbox) -> None:
        """Take the reference from `lab`; no worker is started before the first question."""
        self.misconceptions: Sequence[Misconception] = lab.misconceptions
        self.answers: dict[record.Key, Answer] = {}
        self._lab = lab
        self._sandbox = sandbox
        # Each call has its own budget; the process may serve a whole cohort.
        self._limits = Limits(cpu_s=24 * 3600.0, memory_mib=lab.manifest.limits.memory_mib)
        self._reference: Worker | None = None
        self._asked: Call | None = None
        self._edited: tuple[str, Worker] | None = None

    def lacks(self, call: Call) -> str:
        """Return nothing: every call can be answered."""
        return ""

    def ask(self, call: Call) -> None:
        """Send `call` to the reference's worker unless its answer is known."""
        if ((), call.key) in self.answers:
            return
        if self._reference is None:
            self._reference = self._start(self._lab.reference, self._lab.manifest.reference)
        self._reference.ask({**call.request, "describe": True})
        self._asked = call

    def answer(self, call: Call) -> Answer:
        """Return the reference's answer; InternalError when the reference does not survive its own course."""
        if ((), call.key) not in self.answers:
            if self._asked is not call:
                self.ask(call)
            assert self._reference is not None
            answer = self._reference.answer(Budget(self._lab.manifest.limits.cpu_s * 4))
            self._asked = None
            if answer.error and answer.error.kind != "raised":
                self._reference = None
                raise InternalError(f"the reference of {self._lab.id} broke off on {call}: {answer.error.message}")
            self.answers[((), call.key)] = answer
        return self.answers[((), call.key)]

    def edited(self, edits: Sequence[Edit], call: Call, budget: Budget) -> Answer | None:
        """Run the reference with `edits` applied; None where two of them overlap."""
        key = (tuple(edit.key for edit in edits), call.key)
        if key not in self.answers:
            source = apply_edits(self._lab.reference, edits, self._lab.manifest.reference)
            if source is None:
                return None
            answer = self.run(source, call, budget)
            if answer.error and answer.error.kind == "crashed":
                answer = self.run(source, call, budget)  # something else may have killed its process
            if answer.error and answer.error.kind != "raised":
                return answer  # it broke off, perhaps only because this budget was short: not an answer to keep
            self.answers[key] = answer
        return self.answers[key]

    def run(self, source: str, call: Call, budget: Budget) -> Answer:
        """Return what any edited reference answers; nothing is kept."""
        if self._edited is None or not self._edited[1].alive:
            self._edited = None
            try:
                self._edited = (source, self._start(source, self._lab.manifest.reference))
            except CourseError as error:
                # An edit that does not even load answers nothing; the audit reports it as such.
                return _failed("crashed", str(error))
        elif self._edited[0] != source:
            loaded = self._edited[1].replace(source.encode())
            self._edited = (source, self._edited[1])
            if loaded.error:
                return _failed("crashed", loaded.error.message)
        worker = self._edited[1]
        worker.ask(call.request)
        return worker.answer(budget)

    def _start(self, source: str, name: str) -> Worker:
        scenarios = self._lab.scenarios
        worker = self._sandbox.worker(
            source.encode(), name, scenarios=scenarios.encode() if scenarios else None, limits=self._limits
        )
        loaded = worker.load()
        if loaded.error:
            worker.close()
            at = f", line {loaded.error.line}" if loaded.error.line else ""
            raise CourseError(f"{name}{at} does not load: {loaded.error.type}: {loaded.error.message}")
        return worker

    def forget(self) -> None:
        """Keep no answer."""
        self.answers.clear()

    def restart(self) -> None:
        """Start new workers when they are needed."""
        self.close()
        self._asked = None

    def close(self) -> None:
        """End both workers."""
        for worker in (self._reference, self._edited and self._edited[1]):
            if worker is not None:
                worker.close()
        self._reference = self._edited = None


class RecordedOracle:
    """Answers from a student edition's recording; calls that were not recorded are an error of the edition."""

    def __init__(self, lab: Lab) -> None:
        """Read the lab's recorded answers."""
        self.misconceptions: Sequence[Misconception] = lab.misconceptions
        self._lab = lab
        self._answers, source = record.read(lab.answers_path)
        self._lacks = weights.ABSENT  # why a picture's answers may not be here
        pictures = weights.folder()
        if pictures is not None and (path := pictures / weights.ANSWERS / f"{lab.id}.bin").is_file():
            more, of = record.read(path)
            if of == source:
                self._answers, self._lacks = more | self._answers, ""
            else:
                self._lacks = weights.OF_ANOTHER

    def lacks(self, call: Call) -> str:
        """Return why the answer to a picture's call is not here, if it is not."""
        return "" if ((), call.key) in self._answers else self._lacks

    def ask(self, call: Call) -> None:
        """Do nothing: the answer is there already."""

    def answer(self, call: Call) -> Answer:
        """Return the recorded answer of the reference."""
        found = self._answers.get(((), call.key))
        if found is None:
            raise InternalError(f"this student edition of {self._lab.id} holds no answer for {call}; build it again.")
        return found

    def edited(self, edits: Sequence[Edit], call: Call, budget: Budget) -> Answer | None:
        """Return the recorded answer of an edit, or None where there is none."""
        return self._answers.get((tuple(edit.key for edit in edits), call.key))

    def forget(self) -> None:
        """Keep everything: a recording is all there is."""

    def restart(self) -> None:
        """Do nothing: nothing runs."""

    def close(self) -> None:
        """Nothing runs."""


def open_oracle(lab: Lab, sandbox: Sandbox) -> Oracle:
    """Return the oracle that fits the edition."""
    return RecordedOracle(lab) if lab.is_student_edition else LiveOracle(lab, sandbox)


def _failed(kind: str, message: str) -> Answer:
    return Answer(
        value=None,
        changed={},
        next_draw={},
        global_rng_moved=False,
        error=Error(type="", message=message, frames=(), line=None, kind=kind),  # type: ignore[arg-type]
        output="",
        seconds=0.0,
    )
