"""Grades a class: what has a result already is not run again, equal files are run once, every result is kept at once.

`Cohort.grade` and `Cohort.draw` fill the store, `Cohort.rows` and `Cohort.drawn` read it; whatever happens between them
is done over by the next run. Pictures come after all verdicts, so that nothing they do can cost one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from grader.cohort.records import CohortResult, Entry, Found, Row
from grader.cohort.sources import Sources
from grader.course import Course, Lab
from grader.errors import GraderError, InternalError
from grader.executors import Done, Executor, Setup, Work
from grader.results import OUR_FAULT, Drawn, LabResult, Problem, Score, canonical
from grader.scoring import problem_result
from grader.store import Store, is_final, merge, split


@dataclass(frozen=True)
class Progress:
    """What is told when a file has its result, or its pictures."""

    done: int
    total: int
    students: Sequence[str]  # who handed it in
    says: str


class Cohort:
    """One lab, what was handed in for it, and the store that keeps what is known."""

    def __init__(
        self,
        course: Course,
        lab: Lab,
        found: Found,
        sources: Sources,
        store: Store,
        require_sandbox: bool = False,
    ) -> None:
        """Find out which files are equal; nothing runs yet.

        `require_sandbox`: only judges with every isolation layer count, and only results that came from such.
        """
        self.setup = Setup.of(course, lab, require_sandbox)
        self.lab = lab
        self._found = found
        self._sources = sources
        self._store = store
        self._order = [task.id for task in lab.tasks]
        self._who: dict[str, list[str]] = {}  # file -> whose it is
        # What failed on our side is not kept: the next run tries again.
        self._failed: dict[str, dict[str, LabResult] | str] = {}
        for entry in found.entries:
            if entry.source is not None and entry.problem is None:
                self._who.setdefault(entry.source, []).append(entry.student)

    def work(self, regrade: bool = False, only: Collection[str] | None = None) -> dict[str, Sequence[str]]:
        """Return each file's tasks that have no result yet, the largest first: no judge is left with it at the end.

        `only`: what these students handed in, whether it has a result or not.
        """
        works: dict[str, Sequence[str]] = {}
        for file, who in self._who.items():
            if only is not None and set(only).isdisjoint(who):
                continue
            parts = {} if regrade or only is not None else self._parts(file)
            missing = [task for task in self._order if task not in parts]
            if not missing and merge(self._order, parts.values()) is None:
                missing = self._order
            if missing:
                works[file] = missing
        return dict(sorted(works.items(), key=lambda work: (-len(work[1]), -self._sources.size(work[0]), work[0])))

    @property
    def files(self) -> int:
        """How many different files there are to grade."""
        return len(self._who)

    def grade(self, works: Mapping[str, Sequence[str]], executor: Executor, tell: Callable[[Progress], None]) -> None:
        """Grade `works`, files and tasks, and keep each result as soon as it is there."""
        jobs = (Work(file, self._sources.read(file), tuple(tasks)) for file, tasks in works.items())
        for number, done in enumerate(executor.run(jobs), 1):
            self._take(done)
            tell(self._progress(number, len(works), done))
        # A file that loads now and did not before (or the other way round) has to be judged as one.
        torn = [
            file
            for file, tasks in works.items()
            if len(tasks) < len(self._order)
            and file not in self._failed
            and merge(self._order, self._parts(file).values()) is None
        ]
        for done in executor.run(Work(file, self._sources.read(file), tuple(self._order)) for file in torn):
            self._take(done)

    def undrawn(self) -> list[str]:
        """Return the files that have a result and lack pictures, the largest first."""
        if not self.setup.drawn_by:
            return []
        known = self._store.wholly_drawn(self.setup.drawn_by, self.setup.seed_mark, self.setup.machine)
        files = []
        for file in self._who:
            if file in known or file in self._failed:
                continue
            result = merge(self._order, self._parts(file).values())
            if result is not None and result.problem is None:
                files.append(file)
        return sorted(files, key=lambda file: (-self._sources.size(file), file))

    def draw(self, files: Sequence[str], executor: Executor, tell: Callable[[Progress], None]) -> str | None:
        """Draw and keep the pictures of `files`; return why it stopped before the end, if it did."""

        def job(file: str) -> Work:
            result = merge(self._order, self._parts(file).values())
            assert result is not None  # else it is not among the undrawn
            return Work(file, self._sources.read(file), result=result.model_copy(update={"checks": []}))

        try:
            for number, done in enumerate(executor.run(map(job, files)), 1):
                drawn = done.drawn or Drawn(faults=[done.fault or OUR_FAULT])
                self._store.keep_drawn(done.id, self.setup.drawn_by, self.setup.seed_mark, self.setup.machine, drawn)
                count = len(drawn.pictures)
                says = f"{count} picture{'s' if count != 1 else ''}" + (", not all" if drawn.faults else "")
                tell(Progress(number, len(files), self._who[done.id], says))
        except GraderError as error:
            return str(error)
        return None

    def drawn(self, entry: Entry) -> Drawn | None:
        """Return the pictures of what somebody handed in, or None where nobody tried to draw them."""
        if entry.source is None or entry.problem is not None:
            return None
        return self._store.find_drawn(entry.source, self.setup.drawn_by, self.setup.seed_mark, self.setup.machine)

    def row(self, entry: Entry) -> Row:
        """Return the row of what somebody handed in. One that cannot be made costs itself; the rest is published."""
        try:
            result = self._result(entry)
        except Exception as error:
            fault = f"Its result could not be read ({type(error).__name__}: {error}); --regrade grades it again."
            result = _not_graded(self.lab, self.setup.seed_mark, entry.filename, fault)
        return Row.of(entry, result)

    def _parts(self, file: str) -> dict[str, LabResult]:
        parts = self._store.find(file, self.setup.digests, self.setup.seed_mark, self.setup.machine)
        if not self.setup.require_sandbox:
            return parts
        return {task: part for task, part in parts.items() if part.environment and part.environment.isolation == "full"}

    def _take(self, done: Done) -> None:
        if done.result is not None and is_final(done.result):
            self._store.keep(done.id, self.setup.digests, self.setup.seed_mark, self.setup.machine, done.result)
            self._failed.pop(done.id, None)
        else:
            self._failed[done.id] = split(done.result) if done.result is not None else done.fault or ""

    def _progress(self, number: int, total: int, done: Done) -> Progress:
        result = done.result
        durations = result.environment.durations if result and result.environment else {}
        final = result is not None and is_final(result)
        score = f"{result.score.earned:g}/{result.score.possible:g}" if result and final else "our error"
        return Progress(number, total, self._who[done.id], f"{score} {durations.get('total', 0.0):.1f} s")

    def _result(self, entry: Entry) -> LabResult:
        if entry.source is None or entry.problem is not None:
            problem = entry.problem or Problem(kind="missing", message="There is no file.")
            return problem_result(self.lab, self.setup.seed_mark, entry.filename, problem)
        failed = self._failed.get(entry.source, {})
        if isinstance(failed, str):
            return _not_graded(self.lab, self.setup.seed_mark, entry.filename, failed)
        result = merge(self._order, (self._parts(entry.source) | failed).values())
        if result is None:
            raise InternalError(f"the parts of {entry.submission}'s result do not fit together; use --regrade.")
        # What is kept was judged by the same checks as those of today, though perhaps not by the same pages.
        own = {"course": self.lab.course, "source": self.lab.source, "edition": self.lab.edition}
        return result.model_copy(update=own)


def _not_graded(lab: Lab, seed: str, filename: str, fault: str) -> LabResult:
    """Return the record where the grader failed before any check: no points lost, none to be had."""
    result = problem_result(lab, seed, filename, Problem(kind="grader_error", message=fault))
    tasks = [task.model_copy(update={"possible": 0.0, "state": "ungraded"}) for task in result.tasks]
    return result.model_copy(update={"tasks": tasks, "score": Score(earned=0, possible=0)})


def canonical_cohort(cohort: CohortResult) -> str:
    """Return the part of a cohort that must not depend on when, where, by how many or in which order it was graded."""
    rows = [json.loads(canonical(row)) for row in cohort.rows]
    data = cohort.model_dump(mode="json", exclude={"rows", "environment"})
    shown = data["statistics"]
    for rate in itertools.chain(shown["tasks"], shown["checks"]):
        del rate["seconds"], rate["slowest"]
    shown["attention"] = [one for one in shown["attention"] if one["kind"] not in ("slow", "isolation", "pictures")]
    return json.dumps(data | {"rows": rows}, sort_keys=True, ensure_ascii=False, indent=1)
