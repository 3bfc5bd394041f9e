"""What a class as a whole shows: how hard each item is, whether it tells students apart, which mistakes they share.

Rows come in one by one and are not kept, so that two thousand take no more memory than they must. Pure functions of
verdicts; only the seconds, the isolation and the pictures depend on the machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from array import array
from collections import Counter
from collections.abc import Sequence

from grader.cohort.attention import notes, problems
from grader.cohort.matching import UNCERTAIN
from grader.cohort.records import Attention, Cluster, Found, Named, Rate, Row, Statistics
from grader.cohort.roster import in_order
from grader.course import Lab
from grader.headline import worst_first
from grader.results import CheckResult, Environment, TaskResult

# Below this, a coefficient says more about chance than about the check, and a number about single students.
ENOUGH = 10
# An item that correlates less with the rest of the score deserves a look.
LOW_DISCRIMINATION = 0.2
SLOW_SHARE = 0.5  # of the task's time limit

Shares = Sequence[Sequence[float | None]]  # one row a student: share of an item's points, None where it has none


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Return Pearson's r, or None where one of them does not vary."""
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    sxy = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    sxx = math.fsum((x - mean_x) ** 2 for x in xs)
    syy = math.fsum((y - mean_y) ** 2 for y in ys)
    if sxx < 1e-12 or syy < 1e-12:
        return None
    return max(-1.0, min(1.0, sxy / math.sqrt(sxx * syy)))


def discrimination(points: Sequence[Sequence[float]], item: int) -> float | None:
    """Return the correlation of an item's points with the sum of all *others*; None where it has none."""
    return correlation([row[item] for row in points], [math.fsum(row) - row[item] for row in points])


def is_low(rate: Rate) -> bool:
    """Tell whether an item hardly separates students, by the two digits that are shown."""
    return rate.discrimination is not None and round(rate.discrimination, 2) < LOW_DISCRIMINATION


def cronbach_alpha(points: Sequence[Sequence[float]]) -> float | None:
    """Return Cronbach's alpha over the items' points; None for a single item, or where no total differs."""
    count = len(points[0]) if points else 0
    if count < 2 or len(points) < 2:
        return None
    spread = statistics.variance([math.fsum(row) for row in points])
    if spread < 1e-12:
        return None
    own = math.fsum(statistics.variance([row[item] for row in points]) for item in range(count))
    return count / (count - 1) * (1 - own / spread)


class Gathering:
    """Takes rows, gives the class's statistics."""

    def __init__(self, lab: Lab) -> None:
        """Begin with nobody."""
        self._lab = lab
        self.isolation: Counter[str] = Counter()  # full, partial, none -> how many submissions' code ran so
        self._tasks: dict[str, _Item] = {task.id: _Item() for task in lab.tasks}
        self._checks: dict[str, _Item] = {}
        self._task_points: list[array[float]] = []
        self._check_points: list[array[float]] = []
        self._named: dict[tuple[str, tuple[str, ...]], tuple[str, list[str]]] = {}
        self._clusters: dict[tuple[str, str], tuple[str, list[str]]] = {}
        self._attention: dict[tuple[str, str], list[str]] = {}
        self._submissions = 0

    def add(self, row: Row) -> None:
        """Take one row."""
        kind = row.problem.kind if row.problem else None
        if row.late:
            self.attend("late", "Handed in after the deadline", row)
        for note in row.notes:
            self.attend("whose" if note in UNCERTAIN else "note", note, row.student)
        if kind == "grader_error" or any(check.outcome == "grader_error" for check in row.checks):
            self.attend("grader_error", "The grader itself failed; nothing was deducted. Look before you publish", row)
        elif kind is not None:
            self.attend(kind, _first_line(row.problem.message if row.problem else ""), row)
        if kind != "missing":
            self._submissions += 1
        for task in row.tasks:
            if any(check.task == task.id and check.outcome == "timed_out" for check in row.checks):
                self.attend("timed_out", f"{task.id} was stopped at its time limit", row)
        if row.environment is not None and row.environment.sandbox:  # its code ran
            self._held(row, row.environment)
        if kind is None:
            self._judge(row)

    def _held(self, row: Row, environment: Environment) -> None:
        self.isolation[environment.isolation] += 1
        if environment.isolation != "full":
            off = ", ".join(sorted(layer for layer, state in environment.sandbox.items() if state is not True))
            self.attend("isolation", f"Ran without full isolation (off: {off}); the student's page says why", row)

    def _judge(self, row: Row) -> None:
        for check in row.checks:
            self._checks.setdefault(check.id, _Item()).add(check.earned, check.possible, check.unstable, None)
            if check.unstable:
                self.attend("unstable", f"{check.id} changed its verdict on the second run", row)
        if all(check.outcome != "grader_error" for check in row.checks):
            by_check = {check.id: check.earned for check in row.checks}
            self._task_points.append(array("d", [task.earned for task in row.tasks]))
            self._check_points.append(array("d", [by_check[id] for id in self._checks]))
        durations = row.environment.durations if row.environment else {}
        for task in row.tasks:
            checks = [check for check in row.checks if check.task == task.id]
            self._tasks[task.id].add(
                task.earned,
                task.possible,
                any(check.unstable for check in checks),
                durations.get(f"task {task.id}"),
            )
            self._explain(task, checks, row.student)

    def _explain(self, task: TaskResult, checks: Sequence[CheckResult], student: str) -> None:
        if task.state in ("passed", "not_started", "ungraded"):
            return
        found = task.diagnosis
        if found is not None and found.misconceptions:
            # "One of several" is one finding: nobody knows which.
            ids = tuple(" + ".join(ids) for ids in found.misconceptions)
            self._named.setdefault((task.id, ids), (found.says, []))[1].append(student)
        else:
            mark = signature(checks)
            self._clusters.setdefault((task.id, mark), (_what_failed(checks), []))[1].append(student)

    def attend(self, kind: str, says: str, who: Row | str) -> None:
        """Take something that a person should look at, beside what the rows show."""
        self._attention.setdefault((kind, says), []).append(who if isinstance(who, str) else who.student)

    def finish(self, found: Found) -> Statistics:
        """Return the statistics of all rows."""
        points = self._task_points
        enough = len(points) >= ENOUGH
        tasks = [
            self._tasks[task.id].rate(task.id, enough, discrimination(points, i) if enough else None)
            for i, task in enumerate(self._lab.tasks)
        ]
        checks = [
            item.rate(id, enough, discrimination(self._check_points, i) if enough else None)
            for i, (id, item) in enumerate(self._checks.items())
        ]
        named = [
            Named(task=task, misconceptions=list(ids), says=says, students=sorted(students, key=in_order))
            for (task, ids), (says, students) in self._named.items()
        ]
        clusters = [
            Cluster(task=task, signature=mark, says=says, students=sorted(students, key=in_order))
            for (task, mark), (says, students) in self._clusters.items()
        ]
        named.sort(key=lambda one: (-len(one.students), one.task, one.misconceptions))
        clusters.sort(key=lambda one: (-len(one.students), one.task, one.signature))
        return Statistics(
            students=self._submissions,
            enough=enough,
            alpha=_rounded(cronbach_alpha(points)) if enough else None,
            tasks=tasks,
            checks=checks,
            named=named,
            clusters=clusters,
            attention=self._what_first(found, tasks, clusters),
        )

    def _what_first(self, found: Found, tasks: Sequence[Rate], clusters: Sequence[Cluster]) -> list[Attention]:
        """Return what a person should look at, the most pressing first."""
        gathered = [
            Attention(kind=kind, says=says, students=sorted(students, key=in_order))
            for (kind, says), students in self._attention.items()
        ]
        # Everything else that could not be graded: 1.
        rank = {"grader_error": 0, "whose": 0, "isolation": 2, "timed_out": 2, "late": 3, "unstable": 4}
        rank |= {"pictures": 4, "note": 5}
        gathered.sort(key=lambda one: (rank.get(one.kind, 1), one.kind, -len(one.students), one.says))
        ours = problems([one for one in gathered if one.kind == "grader_error"])
        ours += [one for one in gathered if one.kind == "whose"]
        ours += problems([one for one in gathered if rank.get(one.kind, 1) == 1])
        ours += [one for one in gathered if one.kind in ("isolation", "timed_out", "late")]
        if found.unmatched:
            ours.append(
                Attention(kind="unmatched", says="On the roster, and nothing was handed in", students=found.unmatched)
            )
        ours += [one for one in gathered if one.kind in ("unstable", "pictures")]
        ours += [
            Attention(
                kind="cluster", says=f"{one.task}: the same unexplained failure. {one.says}", students=one.students
            )
            for one in clusters
            if len(one.students) >= 3
        ]
        ours += [
            Attention(
                kind="discrimination",
                says=f"{rate.id} hardly separates students: its correlation with the rest is {rate.discrimination:.2f}",
            )
            for rate in tasks
            if is_low(rate)
        ]
        limit = self._lab.manifest.limits.cpu_s
        ours += [
            Attention(kind="slow", says=f"{rate.id} takes {rate.seconds:.1f} s in the middle, of {limit:g} s allowed")
            for rate in tasks
            if rate.seconds is not None and rate.seconds > SLOW_SHARE * limit
        ]
        return ours + notes([one for one in gathered if one.kind == "note"])


class _Item:
    """A task's or a check's column."""

    def __init__(self) -> None:
        self._earned = self._possible = 0.0
        self._passed = self._graded = self._unstable = 0
        self._seconds: list[float] = []

    def add(self, earned: float, possible: float, unstable: bool, seconds: float | None) -> None:
        if possible > 0:
            self._earned += earned
            self._possible += possible
            self._graded += 1
            self._passed += earned >= possible
        self._unstable += unstable
        if seconds is not None:
            self._seconds.append(seconds)

    def rate(self, id: str, enough: bool, discriminates: float | None) -> Rate:
        return Rate(
            id=id,
            passed=self._passed,
            graded=self._graded,
            difficulty=_rounded(self._earned / self._possible) if enough and self._possible else None,
            discrimination=_rounded(discriminates),
            unstable=self._unstable,
            seconds=round(statistics.median(self._seconds), 3) if self._seconds else None,
            slowest=round(max(self._seconds), 3) if self._seconds else None,
        )


def signature(checks: Sequence[CheckResult]) -> str:
    """Return what a task's failures have in common with equal ones: which checks, how, and the same wrong values."""
    marks = []
    for check in checks:
        if check.outcome != "passed":
            seen = check.evidence
            values = (seen.where, seen.max_error, seen.in_tolerances, seen.yours) if seen else (check.message,)
            marks.append([check.id, check.outcome, *values])
    return hashlib.sha256(json.dumps(marks).encode()).hexdigest()[:10]


def _what_failed(checks: Sequence[CheckResult]) -> str:
    """Return the worst check's own words: no file and no line, for those are one student's."""
    failed = worst_first(checks)[0]
    return _first_line(failed.message or failed.title)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:200]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def counts(values: Sequence[float], possible: float, bins: int = 20) -> list[int]:
    """Return how many of `values` lie in each of `bins` equal parts of 0 to `possible`; full marks are in the last."""
    found = [0] * bins
    for value in values:
        share = value / possible if possible else 0.0
        found[min(bins - 1, max(0, int(share * bins + 1e-9)))] += 1
    return found
