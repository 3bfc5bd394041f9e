"""The pictures of a report: `figures.py` of a lab draws them from public calls, answered by student and reference."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from grader.checking.calls import Call, function_call, scenario_call
from grader.checking.proxy import room
from grader.checking.session import Bench, ReloadError
from grader.course import Lab
from grader.errors import CourseError, GraderError
from grader.pictures import to_record
from grader.results import Picture
from grader.sandbox.client import Budget
from grader.weights import MissingWeightsError

TASKS = 4  # all pictures of a lab have the time of so many tasks: loops through trained networks take long


class Play:
    """What a figure function is given: makes a call for both sides and returns (yours, reference).

    `yours` is None where the student's code raised, hung or is not written.
    """

    def __init__(self, bench: Bench, with_student: bool, budget: Budget) -> None:
        """Take the bench with the submission seated, if the student's side can run at all."""
        self._bench = bench
        self._with_student = with_student
        self._budget = budget
        self.left_out = ""  # why there is less of the student's than there could be, in a sentence

    def call(self, function: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Call a function of the task."""
        return self._both(function_call(function, args, kwargs, names=self._bench.parameters(function)))

    def scenario(self, scenario: str, **kwargs: Any) -> tuple[Any, Any]:
        """Run a function of scenarios.py."""
        return self._both(scenario_call(scenario, kwargs))

    def _both(self, call: Call) -> tuple[Any, Any]:
        if lacks := self._bench.oracle.lacks(call):
            raise MissingWeightsError(lacks)
        yours, in_time = None, not self._budget.exhausted
        if self._with_student and in_time:
            try:
                worker = self._bench.ask_student(call, self._budget)
                answer = self._bench.hear_student(worker, self._budget, lambda: room(self._bench.oracle.answer(call)))
                yours = None if answer.error else answer.value
                in_time = not (answer.error and answer.error.kind == "timed_out")
            except ReloadError:
                self._with_student = False
        if self._with_student and not in_time:
            self.left_out = f"Yours is left out: your code used up the {self._budget.cpu_s:g} s that pictures have."
        expected = self._bench.oracle.answer(call)
        if expected.error:
            raise CourseError(f"the reference raised {expected.error.type} for a figure, on {call}")
        return yours, expected.value


def draw(
    bench: Bench,
    runnable: Iterable[str],
    on_fault: Callable[[str], None] | None = None,
    *,
    root: Path | None = None,
    play: type[Play] = Play,
) -> list[Picture]:
    """Return the pictures of the lab's tasks; of tasks not in `runnable` the reference's side alone.

    What we fail to draw is left out and `on_fault` is told a sentence; without `on_fault` the error is raised.
    `root` is the course whose fixtures they are drawn with, if not the lab's own; `play` is what a figure is given.
    """
    lab = bench.lab
    if not lab.figures_path.is_file():
        return []
    runnable = set(runnable)
    order = [task.id for task in lab.tasks]
    pictures: list[Picture] = []
    budget = Budget(TASKS * lab.manifest.limits.cpu_s)  # one for all of them
    try:
        for function in sorted(_figures(lab, root or lab.root), key=lambda f: order.index(f.__figure__)):  # type: ignore[attr-defined]
            try:
                pictures.append(_picture(bench, function, runnable, budget, play))
            except Exception as error:
                if on_fault is None:
                    raise
                on_fault(f"the picture {function.__name__} of {lab.id} could not be drawn ({_said(error)}).")
    except CourseError as error:
        if on_fault is None:
            raise
        on_fault(str(error))
    return pictures


def _picture(
    bench: Bench, function: Callable[[Play], Any], runnable: set[str], budget: Budget, play: type[Play]
) -> Picture:
    task: str = function.__figure__  # type: ignore[attr-defined]
    try:
        played = play(bench, task in runnable, budget)
        try:
            drawn = to_record(task, function(played))
        except (ValueError, TypeError, AttributeError, KeyError, IndexError):
            # The student's values may have any form. What cannot be drawn with them is drawn without.
            drawn = to_record(task, function(play(bench, False, Budget(1.0))))
        return drawn.model_copy(update={"caption": f"{drawn.caption} {played.left_out}".strip()})
    except MissingWeightsError as error:
        shown = (function.__doc__ or function.__name__).strip().split("\n")[0].rstrip(".")
        return Picture(task=task, title=shown, caption="", alt="", missing=str(error))


def _lies_below(root: Path, module: ModuleType) -> bool:
    places = [*getattr(module, "__path__", []), getattr(module, "__file__", None)]
    return any(place and Path(place).is_relative_to(root) for place in places)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, GraderError) else f"{type(error).__name__}: {error}"


def _figures(lab: Lab, root: Path) -> list[Callable[[Play], Any]]:
    # Another course's fixtures may be imported already.
    imported = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "fixtures"}
    for name in [name for name, module in imported.items() if not _lies_below(root, module)]:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(f"{lab.id}_figures", lab.figures_path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path, bytecode = sys.path[:], sys.dont_write_bytecode
    sys.path.insert(0, str(root))
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CourseError(f"{lab.folder.name}/figures.py does not load: {type(error).__name__}: {error}") from None
    finally:
        sys.path[:], sys.dont_write_bytecode = path, bytecode
    found = [f for f in vars(module).values() if hasattr(f, "__figure__")]
    known = {task.id for task in lab.tasks}
    for function in found:
        if function.__figure__ not in known:
            raise CourseError(f"{lab.folder.name}/figures.py: {function.__name__} is a figure of no task of this lab")
    return found
