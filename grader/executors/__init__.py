"""Who runs the judges: processes of this machine (`local`), or workers of a Dask scheduler (`dask`).

An executor takes work and gives results, in any order; it knows neither students nor the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from grader.course import Course, Lab
from grader.digests import drawing_digest, machine_class, task_digests
from grader.results import Drawn, LabResult, Model
from grader.seeds import fingerprint


@dataclass(frozen=True)
class Setup:
    """What every judge of a run is told first. One that sees another course, or is another kind of machine, refuses."""

    course: Path
    lab: str
    seed: str  # the secret itself: judges need it
    digests: Mapping[str, str]
    machine: str
    drawn_by: str
    require_sandbox: bool = False  # a judge that lacks an isolation layer refuses

    @property
    def seed_mark(self) -> str:
        """What results are kept and told under in place of the seed."""
        return fingerprint(self.seed)

    @classmethod
    def of(cls, course: Course, lab: Lab, require_sandbox: bool = False) -> Setup:
        """Describe `lab` as it is now."""
        return cls(
            course.root.resolve(),
            lab.id,
            course.seed,
            task_digests(lab),
            machine_class(lab),
            drawing_digest(lab),
            require_sandbox,
        )


@dataclass(frozen=True)
class Work:
    """One file to be graded; `tasks` are those that have no result yet. Or to be drawn, when `result` is there."""

    id: str
    source: bytes
    tasks: tuple[str, ...] = ()
    result: LabResult | None = None


class Done(Model):
    """What came of one piece of work: a result, or the reason why there is none, which is never the student's fault."""

    id: str
    result: LabResult | None = None
    drawn: Drawn | None = None
    fault: str | None = None


class Executor(Protocol):
    """Runs work. `close` ends everything that it started."""

    @property
    def jobs(self) -> int:
        """How many judges there are."""

    def run(self, works: Iterable[Work]) -> Iterator[Done]:
        """Yield what came of each piece of work as soon as it is known; begin with the first.

        Works are taken when there is somebody to do them, so that no more of them than that are in memory.
        """

    def close(self) -> None:
        """End all judges; what is in flight is lost."""
