"""One submission's checks, run by pytest in this process; the student's code runs elsewhere.

`Bench` holds what outlives a submission: sandbox, oracle and the collected checks. `examine` runs the checks of one
submission on it and returns what happened, check by check, with the script of calls that the diagnosis replays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from grader import seeds
from grader.checking.calls import Call, Exchange
from grader.checking.models import PlayedModels, witnessed_of
from grader.checking.oracle import Oracle, open_oracle
from grader.checking.processes import Processes
from grader.checking.proxy import exchange
from grader.checking.repeat import Led
from grader.course import Lab
from grader.errors import GraderError, MachineError
from grader.kit import SUBJECT, CheckMark
from grader.results import Evidence, Frame, Outcome
from grader.sandbox.client import LOAD_CPU_S, Answer, Budget, Error, Worker
from grader.sandbox.launcher import Sandbox
from grader.sandbox.values import Refused, size
from grader.submission import Submission

ROOM = 16 << 20  # bytes of data in an answer that nothing is expected of
MAX_KEPT = 64 << 20  # bytes of a submission's answers that wait for the diagnosis
LOADED_TOO_LONG = "loading the file again and again has taken all the time there is for it"

if TYPE_CHECKING:
    from grader.checking.collected import Checks


@dataclass
class Verdict:
    """What one check found, before points."""

    outcome: Outcome
    message: str | None = None
    evidence: Evidence | None = None
    frames: list[Frame] = field(default_factory=list)
    output: str = ""
    unstable: bool = False
    keeps: bool = False  # wrong after other calls only: see checking/repeat.py
    seconds: float = 0.0


@dataclass
class Found:
    """One collected check and its verdict."""

    id: str
    name: str
    title: str
    mark: CheckMark
    verdict: Verdict


@dataclass
class CheckContext:
    """What the fixtures of one check share: its name, its seed, its tolerance, its words, the calls it makes."""

    check_id: str
    task: str
    visible: bool
    seed: int
    tolerance: Mapping[str, tuple[float, float]]
    tells: str | None = None
    memory_mib: int | None = None
    subject: str = SUBJECT
    of_reference: bool = False  # the reference answers in the student's place: is it our check that is wrong?
    script: list[Exchange] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    distance: float = 0.0

    def note(self, call: Call, yours: Answer, expected: Answer | None, agrees: bool, distance: float) -> None:
        """Record one call."""
        if self.memory_mib is None:  # no edit is held to so little memory: what it answers there explains nothing
            self.script.append(exchange(self, call, yours, expected, agrees))
        self.distance = max(self.distance, distance)


@dataclass
class Examination:
    """Everything that running the checks of one submission gave."""

    checks: list[Found]
    scripts: dict[str, list[Exchange]]  # task -> its calls, in order
    distances: dict[str, float]  # check id -> largest distance of a passed comparison, in units of tolerance
    spent: dict[str, float]  # task -> seconds of the student's CPU or wall time
    load_error: Error | None = None
    load_output: str = ""
    fault: GraderError | None = None  # ours: the checks that it hit are `grader_error`, what was graded before stands
    interrupted: bool = False


class Bench:
    """Sandbox, oracle and checks of one lab, and the submission of the moment: what it is asked and may spend."""

    def __init__(self, lab: Lab, sandbox: Sandbox, course_seed: str, trusted_cpu_s: float | None = None) -> None:
        """Open the oracle; no worker runs yet.

        `trusted_cpu_s` is for sources that are all ours, such as the audit's mutants: they run one after the other in
        one worker, each task for so long at most, and no check is run again.
        """
        self.trusted_cpu_s = trusted_cpu_s
        self.lab = lab
        self.sandbox = sandbox
        self.course_seed = course_seed
        self.oracle: Oracle = open_oracle(lab, sandbox)
        self.checks: Checks | None = None  # opened by the first `examine`
        self._submission: Submission | None = None
        self._processes = Processes(lab, sandbox, trusted=trusted_cpu_s is not None)
        self._models: PlayedModels | None = None  # of the call that the student's worker has to answer
        self._trail: list[Call] = []  # what the worker of the moment has been asked
        self._loading = Budget(LOAD_CPU_S)
        self._kept = 0
        self._budgets: dict[str, Budget] = {}
        self._leading: dict[str, Budget] = {}

    def seat(self, submission: Submission) -> Answer:
        """Give `submission` its worker and load it; return how loading went."""
        self.dismiss()
        self._processes.end_others()
        self._submission = submission
        cpu_s = self.lab.manifest.limits.cpu_s if self.trusted_cpu_s is None else self.trusted_cpu_s
        self._loading = Budget(LOAD_CPU_S)
        self._kept = 0
        self._budgets = {task.id: Budget(cpu_s) for task in self.lab.tasks}
        self._leading = {task.id: Budget(cpu_s) for task in self.lab.tasks}
        self._trail = []
        if self._processes.own is not None:
            return self._processes.own.replace(submission.source)
        return self._processes.start(submission, self._loading)

    def dismiss(self) -> None:
        """End the student's worker; a trusted one stays for the next source."""
        if self.trusted_cpu_s is None or not self.has_worker:
            self._processes.end_own()

    def replace_sandbox(self) -> None:
        """Go on with a new zygote; every worker of the old one is gone."""
        self._processes.end()
        self.oracle.restart()
        self.sandbox.replace()

    def close(self) -> None:
        """End all workers but not the sandbox."""
        self._processes.end()
        if self.checks is not None:
            self.checks.close()
        self.oracle.close()

    def student_worker(self, budget: Budget) -> Worker:
        """Return a live worker with the submission loaded; loading it again after a crash spends `budget`."""
        if not self.has_worker:
            self.dismiss()
            self._trail = []
            self._load_again(self._processes.start, budget)
        assert self._processes.own is not None
        return self._processes.own

    @property
    def may_load(self) -> bool:
        """Whether the file may be loaded once more; all its loads together have one budget."""
        return not self._loading.exhausted

    def _load_again(self, start: Callable[[Submission, Budget], Answer], budget: Budget) -> None:
        """Load the file once more, by `start`, at the expense of `budget` and of what all loads may take."""
        if not self.may_load:
            raise ReloadError(Error("", LOADED_TOO_LONG, (), None, "timed_out"))
        assert self._submission is not None
        wall_s, spent = budget.wall_s, budget.spent
        loaded = start(self._submission, budget)
        self._loading.charge(budget.spent - spent, budget.wall_s - wall_s)
        if loaded.error:
            raise ReloadError(loaded.error)

    def keep(self, answer: Answer) -> Answer:
        """Return what is kept of an answer for the diagnosis: all of it, until a submission has filled its room."""
        taken = size(answer.value) + size(answer.changed) + size(answer.calls)
        if self._kept + taken > MAX_KEPT:
            return replace(answer, value=Refused("too_large", "more data than is kept"), changed={}, calls={})
        self._kept += taken
        return answer

    def ask_student(
        self, call: Call, budget: Budget, memory_mib: int | None = None, *, watched: bool = False
    ) -> Worker:
        """Send a call to the student's worker, and keep it in mind; loading the file anew spends `budget`.

        With `memory_mib` it is asked of a process of its own, which the kernel holds to so much memory. `watched`: its
        inputs lie where `with_inputs` sees them, which has to be asked before the worker is asked anything more.
        """
        if memory_mib is None:
            worker = self.student_worker(budget)
            self._trail.append(call)
        else:
            worker = self._held_to(memory_mib, budget)
        self._send(worker, call, watched=watched)
        return worker

    def with_inputs(self, answer: Answer, worker: Worker, expected: Answer) -> Answer:
        """Return an answer with what has become of the inputs, as is seen from here; what the worker says may add."""
        if worker.region is None or expected.made is None:
            return answer
        seen = worker.region.changed(expected.made)
        return replace(answer, changed=answer.changed | seen) if seen and not answer.error else answer

    def _held_to(self, memory_mib: int, budget: Budget) -> Worker:
        def start(submission: Submission, budget: Budget) -> Answer:
            return self._processes.hold(submission, memory_mib, budget)

        self._load_again(start, budget)
        assert self._processes.held is not None
        return self._processes.held

    def _send(self, worker: Worker, call: Call, *, watched: bool = False) -> None:
        self._models = None
        if self.trusted_cpu_s is None and witnessed_of(call):
            self._models = PlayedModels(call, self._processes.models)
        request = self._models.request if self._models else call.request
        if watched and worker.region is not None:
            request = {**request, "at": worker.region.at}
        worker.ask(request)

    def hear_student(self, worker: Worker, budget: Budget, room: Callable[[], int] = lambda: ROOM) -> Answer:
        """Wait for the answer, of `room` bytes of data, to what `ask_student` asked."""
        answer = worker.answer(budget, self._models, room)
        if self.trusted_cpu_s is not None:
            return answer
        # What a student's process says of calls is worth nothing; what came through here is.
        models, self._models = self._models, None
        if models is None:
            return replace(answer, calls={}, made=None)
        if models.refusal is not None and (answer.error is None or answer.error.kind == "raised"):
            frames = answer.error.frames if answer.error else ()
            answer = replace(answer, value=None, error=replace(models.refusal, frames=frames))
        return replace(answer, calls=models.log, made=None)

    @property
    def trail(self) -> Sequence[Call]:
        """What the student's worker of the moment has been asked since it loaded the submission, in order."""
        return tuple(self._trail)

    @property
    def has_worker(self) -> bool:
        """Whether the student's worker of the moment can be asked more."""
        return self._processes.own is not None and self._processes.own.alive

    def lead(self, trail: Sequence[Call], task: str) -> Led:
        """Take a new worker through the calls of `trail`; each task may spend its time once more on that."""
        budget = self._leading[task]
        self.dismiss()
        if budget.exhausted:
            return "spent"
        try:
            worker = self.student_worker(budget)
        except ReloadError as error:
            return "spent" if error.error.kind == "timed_out" else "ended"
        for call in trail:
            self._trail.append(call)
            self._send(worker, call)
            answer = self.hear_student(worker, budget)
            if not worker.alive:
                return "spent" if answer.error and answer.error.kind == "timed_out" else "ended"
        return "done"

    def student_answer(self, worker: Worker, context: CheckContext, room: Callable[[], int] = lambda: ROOM) -> Answer:
        """Wait for the student's answer, of `room` bytes, within the task's budget and keep what was printed."""
        answer = self.hear_student(worker, self.budget(context.task), room)
        if answer.output:
            context.output.append(answer.output)
        return answer

    def budget(self, task: str) -> Budget:
        """Return what is left for a task."""
        return self._budgets[task]

    def parameters(self, function: str) -> list[str]:
        """Return the names that a function's signature gives its parameters."""
        return self.lab.parameters(function)

    def seed(self, check_id: str, visible: bool) -> int:
        """Return a check's seed: public for visible checks, from the course's seed for hidden ones."""
        return seeds.of_visible(check_id) if visible else seeds.of_check(self.course_seed, check_id)


class ReloadError(Exception):
    """The submission loaded once and did not load again."""

    def __init__(self, error: Error) -> None:
        """Keep the worker's error."""
        super().__init__(error.message)
        self.error = error


def examine(bench: Bench, submission: Submission, tasks: Sequence[str] | None = None) -> Examination:
    """Run the lab's checks (of `tasks`, or all) on `submission`; CourseError when checks.py itself is wrong."""
    from grader.checking.collected import Checks  # imports pytest
    from grader.checking.plugin import Sitting

    interrupted = False
    for last in (False, True):
        sitting = Sitting(bench, submission, tasks)
        try:
            if bench.checks is None or bench.checks.closed:
                bench.checks = Checks(bench.lab)
            bench.checks.run(sitting)
        except KeyboardInterrupt:
            interrupted = True
        if not bench.sandbox.is_lost:
            break
        # Whatever ended the zygote: the next file needs one, and this one is asked once more.
        bench.replace_sandbox()
        if last or interrupted:
            break
    if isinstance(sitting.fault, MachineError):  # nothing ran, and nothing would run for anybody else
        raise sitting.fault
    examination = sitting.examination()
    examination.interrupted = interrupted
    return examination
