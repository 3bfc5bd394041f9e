"""The processes that answer for one submission: its own, one that the kernel holds to little memory, its models'."""

from __future__ import annotations

from grader.course import Lab
from grader.sandbox.client import Answer, Budget, Worker
from grader.sandbox.launcher import Limits, Sandbox
from grader.submission import Submission

TRUSTED_S = 24 * 3600.0  # CPU of a process whose sources are all ours; each call has a budget of its own


class Processes:
    """Starts and ends them; at most one of each kind runs."""

    def __init__(self, lab: Lab, sandbox: Sandbox, *, trusted: bool) -> None:
        """Start nothing. `trusted`: the sources are ours, so that nobody has to look at their inputs."""
        self.own: Worker | None = None
        self.held: Worker | None = None
        self._models: Worker | None = None
        self._lab = lab
        self._sandbox = sandbox
        self._trusted = trusted

    def start(self, submission: Submission, budget: Budget) -> Answer:
        """Start the submission's own process and load the file in the time of `budget`; return how that went."""
        limits = self._lab.manifest.limits
        cpu_s = TRUSTED_S if self._trusted else limits.cpu_s * (len(self._lab.tasks) + 1)
        self.own = self._worker(submission, Limits(cpu_s, limits.memory_mib), watched=not self._trusted)
        return self.own.load(budget)

    def hold(self, submission: Submission, memory_mib: int, budget: Budget) -> Answer:
        """Start one that the kernel holds to so much memory, in place of the last; return how loading went."""
        self._end_held()
        self.held = self._worker(submission, Limits(self._lab.manifest.limits.cpu_s, memory_mib, tight=True))
        return self.held.load(budget)

    def models(self) -> Worker:
        """Return the one that plays models: it holds the public scenarios and nothing else."""
        if self._models is None or not self._models.alive:
            self._end_models()
            limits = self._lab.manifest.limits
            nothing = Submission("models.py", b"", {})
            self._models = self._worker(nothing, Limits(limits.cpu_s * (len(self._lab.tasks) + 1), limits.memory_mib))
            self._models.load()
        return self._models

    def end_own(self) -> None:
        """End the submission's own process."""
        if self.own is not None:
            self.own.close()
        self.own = None

    def end_others(self) -> None:
        """End the other two."""
        self._end_held()
        self._end_models()

    def end(self) -> None:
        """End all of them."""
        self.end_own()
        self.end_others()

    def _end_held(self) -> None:
        if self.held is not None:
            self.held.close()
        self.held = None

    def _end_models(self) -> None:
        if self._models is not None:
            self._models.close()
        self._models = None

    def _worker(self, submission: Submission, limits: Limits, *, watched: bool = False) -> Worker:
        scenarios = self._lab.scenarios
        return self._sandbox.worker(
            submission.source,
            submission.filename,
            scenarios=scenarios.encode() if scenarios else None,
            limits=limits,
            watched=watched,
        )
