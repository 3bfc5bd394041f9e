"""What pytest is told (`ChecksPlugin`), and one submission before the checks (`Sitting`): which ones, how often, and
what came of each.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from grader.checking.calls import Call
from grader.checking.keeps import keeps
from grader.checking.proxy import Compare, Mismatch, Reference, Student, StudentError, room
from grader.checking.repeat import Led, sentence, settle
from grader.checking.sentences import error_sentence
from grader.checking.session import Bench, CheckContext, Examination, Found, ReloadError, Verdict
from grader.course import Lab
from grader.errors import CourseError, GraderError
from grader.kit import CheckMark, Draw
from grader.results import OUR_FAULT, Evidence, Frame
from grader.sandbox.client import Answer, Budget, Error
from grader.submission import Submission

ANOTHER_FORM = "What your code returns has not the form that is asked for: the check cannot read it."
MOST_SPARED = 3  # checks of a file that pass though they failed first: chance ends a process now and then, not always
LOST = (
    "Not run: your process ended in an earlier check, and a new one ends on calls that were answered before. "
    "Mend what ends it first."
)
LOST_LONG = (
    "Not run: your process ended in an earlier check, and taking a new one through the same calls took all the time "
    "there is for it. Mend what ends it first."
)
MAX_CODE = 200  # characters of a line that are quoted


class ChecksPlugin:
    """What pytest asks while it collects the checks of a lab and runs them on the submission that sits."""

    def __init__(self, lab: Lab) -> None:
        """Nobody sits yet."""
        self.collect_error: str | None = None
        self.sitting: Sitting | None = None
        self._lab = lab

    @pytest.fixture
    def compare(self) -> Compare:
        """Student and reference, compared."""
        return Compare(self._sitting().bench, self._sitting().context)

    @pytest.fixture
    def student(self) -> Student:
        """The student's code alone."""
        return Student(self._sitting().bench, self._sitting().context)

    @pytest.fixture
    def reference(self) -> Reference:
        """The reference alone."""
        return Reference(self._sitting().bench, self._sitting().context)

    @pytest.fixture
    def draw(self) -> Draw:
        """The streams of random numbers that come from this check's seed."""
        return Draw(self._sitting().context.seed)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep why checks.py could not be imported."""
        if report.failed:
            lines = str(report.longrepr).strip().splitlines()
            self.collect_error = lines[-1] if lines else "it cannot be imported"

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Order the checks by task and refuse functions that are not marked as checks."""
        written = re.findall(r"^def (test_\w+)", self._lab.checks_path.read_text(encoding="utf-8"), re.MULTILINE)
        if twice := [name for name, count in Counter(written).items() if count > 1]:
            self.collect_error = (
                f"{self._lab.folder.name}/checks.py: {twice[0]} is defined twice; Python keeps the last"
            )
        order = {task.id: index for index, task in enumerate(self._lab.tasks)}
        for item in items:
            mark = _mark(item)
            where = f"{self._lab.folder.name}/checks.py: {item.name}"
            if mark is None:
                self.collect_error = f"{where} has no @check(task)"
            elif mark.task not in order:
                self.collect_error = f"{where} is a check of {mark.task!r}, which lab.toml does not list"
            elif not _title(item):
                self.collect_error = f"{where} has no docstring; it is the sentence that a student reads"
            elif not isinstance(item.parent, pytest.Module):
                self.collect_error = f"{where} is a method; write it as a function at the top level"
        if self.collect_error:
            items.clear()
            return
        # Visible checks first: what the code prints there is shown, and it has seen no hidden input by then.
        items.sort(key=lambda item: (not _known_mark(item).visible, order[_known_mark(item).task]))

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run one check and keep its verdict; always the last word."""
        self._sitting().judge(item, nextitem)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep the exception itself: pytest's report holds only its text."""
        if call.excinfo is not None:
            self._sitting().raised(call.excinfo.value)
        return (yield)

    def _sitting(self) -> Sitting:
        assert self.sitting is not None
        return self.sitting


class Sitting:
    """One submission before the checks; a check that does not pass is run again, see checking/repeat.py."""

    def __init__(self, bench: Bench, submission: Submission, tasks: Sequence[str] | None) -> None:
        """Take the submission, which is loaded when the checks have been collected: torch may still be importing."""
        self.bench = bench
        self.fault: GraderError | None = None
        self._submission = submission
        known = [name for task in bench.lab.tasks for name in task.functions]
        self._unfit = {t.id: submission.unfit(bench.lab.signatures_of(t), known) for t in bench.lab.tasks}
        self._tasks = tasks
        self._loaded: Answer | None = None
        self._found: list[Found] = []
        self._contexts: dict[str, CheckContext] = {}
        self._context: CheckContext | None = None
        self._chosen: list[pytest.Function] = []
        self._exception: BaseException | None = None
        self._spared = 0
        self._before_the_end: Sequence[Call] = ()  # what the last process that ended had been asked before that check

    # -- what pytest is told

    @property
    def context(self) -> CheckContext:
        """What the check that runs shares with its fixtures."""
        assert self._context is not None
        return self._context

    def choose(self, items: Sequence[pytest.Function]) -> Sequence[pytest.Function]:
        """Return the checks that are wanted of this submission."""
        self._chosen = [item for item in items if self._tasks is None or _known_mark(item).task in self._tasks]
        return self._chosen

    def load(self) -> None:
        """Load the submission, unless none of its tasks can be run."""
        if any(self._unfit[_known_mark(item).task] is None for item in self._chosen):
            try:
                self._loaded = self.bench.seat(self._submission)
                if self._loaded.error and self._loaded.error.kind == "crashed":  # once more, as for a check
                    self._loaded = self.bench.seat(self._submission)
            except GraderError as error:
                self.fault = error

    def judge(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Run one check and keep its verdict."""
        mark = _known_mark(item)
        verdict = self._without_running(mark) or self._settled(item, nextitem, mark, self._id(item))
        self._found.append(Found(self._id(item), item.name, _title(item), mark, verdict))

    def raised(self, exception: BaseException) -> None:
        """Keep the first exception of a check: what follows, while it is taken down, comes of it."""
        if self._exception is None:
            self._exception = exception

    # -- what is asked afterwards

    def examination(self) -> Examination:
        """Return everything that was found."""
        scripts: dict[str, list[Any]] = {}
        for context in self._contexts.values():
            scripts.setdefault(context.task, []).extend(context.script)
        error = self._loaded.error if self._loaded else None
        # After Ctrl-C some checks have no verdict; they keep their share of the points.
        missed = [
            Found(
                self._id(item), item.name, _title(item), _known_mark(item), Verdict("skipped", "Not run: interrupted.")
            )
            for item in self._chosen[len(self._found) :]
        ]
        return Examination(
            checks=self._found + missed,
            scripts=scripts,
            distances={c.check_id: c.distance for c in self._contexts.values()},
            spent={t.id: self.bench.budget(t.id).spent for t in self.bench.lab.tasks if self._unfit.get(t.id) is None}
            if self._loaded
            else {},
            load_error=error,
            load_output=self._loaded.output if self._loaded else "",
            fault=self.fault,
        )

    # -- one check

    def _id(self, item: pytest.Item) -> str:
        return f"{self.bench.lab.id}/{_known_mark(item).task}.{item.name.removeprefix('test_')}"

    def _without_running(self, mark: CheckMark) -> Verdict | None:
        reason = self._unfit[mark.task]
        if reason is not None:
            return Verdict(reason.outcome, reason.says)
        if self.fault is not None:
            return Verdict("grader_error", OUR_FAULT)
        if self._loaded is not None and self._loaded.error:
            return Verdict("skipped", "Not run: the file could not be loaded.")
        if self.bench.budget(mark.task).exhausted:
            return Verdict("timed_out", "Not run: the task's time was spent by an earlier check.")
        return None

    def _settled(self, item: pytest.Item, nextitem: pytest.Item | None, mark: CheckMark, check_id: str) -> Verdict:
        """Run a check, and where it does not pass run it again; return the verdict that counts."""

        def run() -> Verdict:
            return self._run_once(item, nextitem, mark, check_id)

        def fresh() -> Verdict:
            self.bench.dismiss()
            return run()

        def lead() -> Led:
            try:
                return self.bench.lead(trail, mark.task)
            except GraderError as error:
                self.fault = error
                return "ended"

        if self.bench.trusted_cpu_s is not None:
            return run()
        lost = self._lost(mark.task)
        if lost is not None:
            return lost
        trail = self.bench.trail if self.bench.has_worker else ()
        first = run()
        if first.outcome in ("crashed", "timed_out"):  # who spends a task's time has lost that task, and no more
            self._before_the_end = trail if first.outcome == "crashed" else ()
        if first.outcome in ("passed", "grader_error") or not self._can_repeat(self.bench.budget(mark.task)):
            return first
        verdict = settle(first, fresh, lead, run)
        if verdict.keeps and not trail:  # it was called first three times
            verdict = dataclasses.replace(first, unstable=True)
        if verdict.unstable and verdict.outcome == "passed":
            self._spared += 1
            if self._spared > MOST_SPARED:
                verdict = dataclasses.replace(first, unstable=True)
        kept = keeps(self._submission.source, self.bench.lab.task(mark.task).functions)
        if not verdict.keeps and verdict.outcome == "failed" and not verdict.unstable and kept:
            verdict.keeps = self._is_right_when_called_first(mark.task)
        if verdict.keeps:
            verdict.message = sentence(kept)
        return verdict

    def _lost(self, task: str) -> Verdict | None:
        """Take a new process to where the one was that ended: by ending, code forgets nothing that it had kept.

        Return a verdict where that cannot be done.
        """
        if self.bench.has_worker or not self._before_the_end:
            return None
        trail = self._before_the_end
        try:
            led = self.bench.lead(trail, task)
            if led == "ended":  # something else may have ended it
                led = self.bench.lead(trail, task)
        except GraderError as error:
            self.fault = error
            return Verdict("grader_error", OUR_FAULT)
        return None if led == "done" else Verdict("crashed", LOST if led == "ended" else LOST_LONG)

    def _is_right_when_called_first(self, task: str) -> bool:
        """Tell whether the call that failed the check, after others of the same check, is right in a fresh worker.

        Asked only of files whose text shows that something is kept. It decides what is said, not what is earned.
        """
        script = self.context.script
        if len(script) < 2 or script[-1].agrees or script[-1].expected is None:
            return False
        if not self._can_repeat(self.bench.budget(task)):
            return False
        self.bench.dismiss()
        try:
            worker = self.bench.ask_student(script[-1].call, self.bench.budget(task))
        except ReloadError:
            return False
        expected, call = script[-1].expected, script[-1].call
        answer = self.bench.hear_student(worker, self.bench.budget(task), lambda: room(expected))
        return call.compare(answer, expected).difference is None

    def _can_repeat(self, budget: Budget) -> bool:
        """Tell whether a task's time is enough to load the file again, which must not cost the checks that follow.

        Where the process has ended, the next check needs a new one in any case.
        """
        if not self.bench.may_load:
            return False
        return not budget.exhausted and (not self.bench.has_worker or budget.spent < budget.cpu_s / 2)

    def _run_once(self, item: pytest.Item, nextitem: pytest.Item | None, mark: CheckMark, check_id: str) -> Verdict:
        tolerance = self.bench.lab.task(mark.task).tolerance
        seed = self.bench.seed(check_id, mark.visible)
        self._context = CheckContext(
            check_id, mark.task, mark.visible, seed, tolerance, mark.tells, mark.memory_mib, mark.subject
        )
        self._contexts[check_id] = self._context
        self._exception = None
        item._initrequest()  # type: ignore[attr-defined]  # fresh fixtures for the second run, as rerun plugins do
        started = time.monotonic()
        runtestprotocol(item, nextitem=nextitem, log=False)
        exception = self._exception
        if self._is_strange(exception) and self._reference_passes(item, nextitem):
            detail = Evidence(yours=f"{type(exception).__name__}: {exception}")
            verdict = Verdict("failed", ANOTHER_FORM, detail)
        else:
            verdict = self._verdict(exception, mark.visible)
        verdict.seconds = time.monotonic() - started
        verdict.output = "".join(self._context.output)
        return verdict

    @staticmethod
    def _is_strange(exception: BaseException | None) -> bool:
        """Tell whether a check ended in a way that no check means to end."""
        known = (Mismatch, StudentError, ReloadError, AssertionError, GraderError)
        return exception is not None and not isinstance(exception, known)

    def _reference_passes(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Tell whether the check passes where the reference answers in the student's place.

        If so it is the student's answers that it cannot take; else it is our own check that is wrong.
        """
        context = self.context
        self._context = dataclasses.replace(context, of_reference=True, script=[], output=[])
        self._exception = None
        item._initrequest()  # type: ignore[attr-defined]
        runtestprotocol(item, nextitem=nextitem, log=False)
        passes = self._exception is None
        self._context = context
        return passes

    def _verdict(self, exception: BaseException | None, visible: bool) -> Verdict:
        if exception is None:
            return Verdict("passed")
        if isinstance(exception, Mismatch):
            d = exception.difference
            if self.context.tells is not None:  # what is right it keeps to itself
                return Verdict("failed", f"{self.context.tells} {d.says}" if d.is_of_kind else self.context.tells)
            evidence = Evidence(
                call=str(exception.call),
                where=d.where or None,
                max_error=d.max_error,
                in_tolerances=float(f"{d.distance:.2g}") if d.max_error is not None else None,
                yours=d.yours,
                expected=d.expected,
            )
            return Verdict("failed", d.detail if visible else d.says, evidence)
        if isinstance(exception, (StudentError, ReloadError)):
            error = exception.error
            call = exception.call if isinstance(exception, StudentError) else None
            return Verdict(
                "timed_out" if error.kind == "timed_out" else "crashed",
                error_sentence(error, visible, self.bench.sandbox.libraries, call),
                Evidence(
                    call=call and str(call), yours=f"{error.type}: {error.message}" if error.type else error.message
                ),
                frames_of(error, self._submission)
                if visible
                else own_line(error, self._submission, self.bench.lab.task(self.context.task).functions),
            )
        if isinstance(exception, AssertionError):
            return Verdict("failed", str(exception) or "This does not hold for your code.")
        if isinstance(exception, GraderError):
            self.fault = exception
        # Anything else is ours: the check raises on the reference's answers too.
        detail = Evidence(yours=f"{type(exception).__name__}: {exception}")
        return Verdict("grader_error", OUR_FAULT, detail)


def frames_of(error: Error, submission: Submission) -> list[Frame]:
    """Return the student's own lines of a traceback, read from the file: a worker may say what it likes of them."""
    lines = submission.lines()
    known = {"<module>", "<lambda>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
    known.update(re.findall(r"\w+", "\n".join(lines)))
    return [
        Frame(line=line, function=function if function in known else "?", code=lines[line - 1].strip()[:MAX_CODE])
        for line, function, _ in error.frames
        if line <= len(lines)
    ]


def own_line(error: Error, submission: Submission, functions: Sequence[str]) -> list[Frame]:
    """Return what a hidden failure shows of a traceback: the innermost line of the task's own code, or nothing.

    A worker may invent frames and lines, and tell a hidden input by them. One line of one function tells little.
    """
    lines = submission.lines()
    for line, _, _ in reversed(error.frames):
        for name in functions:
            found = submission.definitions.get(name)
            if found is not None and line in found.lines and line <= len(lines):
                return [Frame(line=line, function=name, code=lines[line - 1].strip()[:MAX_CODE])]
    return []


def _mark(item: pytest.Item) -> CheckMark | None:
    return getattr(getattr(item, "function", None), "__check__", None)


def _known_mark(item: pytest.Item) -> CheckMark:
    mark = _mark(item)
    if mark is None:
        raise CourseError(f"{item.name} has no @check(task)")
    return mark


def _title(item: pytest.Item) -> str:
    doc: str = getattr(getattr(item, "function", None), "__doc__", None) or ""
    return " ".join(doc.split("\n\n")[0].split())
