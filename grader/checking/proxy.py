"""The fixtures of a check: `compare`, `student`, `reference` turn attribute calls into requests to workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from grader.checking.calls import Call, Exchange, View, function_call, scenario_call
from grader.checking.compare import Difference
from grader.sandbox.client import Answer, Error
from grader.sandbox.values import size

LEAST_ROOM = 8 << 20  # bytes, where little or nothing is expected: inputs that were overwritten come back too

if TYPE_CHECKING:
    from grader.checking.session import Bench, CheckContext


class Mismatch(Exception):
    """The student's answer differs from the reference's."""

    def __init__(self, difference: Difference, call: Call) -> None:
        """Keep what differs and the call it answered."""
        super().__init__(difference.says)
        self.difference = difference
        self.call = call


class StudentError(Exception):
    """The student's code raised, crashed, hung or broke the protocol instead of answering."""

    def __init__(self, error: Error, call: Call) -> None:
        """Keep the error and the call it answered."""
        super().__init__(error.message)
        self.error = error
        self.call = call


class _Side:
    """Turns `side.name(...)` into a function call and `side.play("name", ...)` into a scenario call."""

    def __init__(self, bench: Bench, context: CheckContext) -> None:
        self._bench = bench
        self._context = context

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            names = self._bench.parameters(name)
            return self._do(function_call(name, args, kwargs, names=names, tolerance=self._context.tolerance))

        return call

    def play(self, scenario: str, view: View | None = None, **kwargs: Any) -> Any:
        """Run a function of scenarios.py with the code as its first argument."""
        return self._do(scenario_call(scenario, kwargs, tolerance=self._context.tolerance, view=view))

    def calls(self, scenario: str, view: View | None = None, **kwargs: Any) -> Any:
        """Run a function of scenarios.py; what counts is how the `witnessed` models among its parameters were called.

        `view` is given `{parameter: [{argument: value, ..., "grad": bool}, ...]}`.
        """
        return self._do(scenario_call(scenario, kwargs, tolerance=self._context.tolerance, view=view, of_calls=True))

    def _do(self, call: Call) -> Any:
        raise NotImplementedError


class Compare(_Side):
    """Calls student and reference, raises `Mismatch` where they differ, returns the student's value."""

    def _do(self, call: Call) -> Any:
        oracle = self._bench.oracle
        if self._context.of_reference:
            answer = oracle.answer(call)
            value = answer.calls if call.of_calls else answer.value
            if call.view is not None and not answer.error:
                call.view(value)
            return value
        budget = self._bench.budget(self._context.task)
        worker = self._bench.ask_student(call, budget, self._context.memory_mib, watched=True)
        oracle.ask(call)  # both run at the same time
        yours = self._bench.student_answer(worker, self._context, lambda: room(oracle.answer(call)))
        expected = oracle.answer(call)
        yours = self._bench.with_inputs(yours, worker, expected)
        agreement = call.compare(yours, expected, self._context.subject)
        self._context.note(call, self._bench.keep(yours), expected, agreement.difference is None, agreement.distance)
        if yours.error and not (expected.error and agreement.difference is None):
            raise StudentError(yours.error, call)
        if agreement.difference:
            raise Mismatch(agreement.difference, call)
        return yours.calls if call.of_calls else yours.value


class Student(_Side):
    """Calls the student's code alone and returns its value."""

    def _do(self, call: Call) -> Any:
        if self._context.of_reference:
            yours = self._bench.oracle.answer(call)
            if yours.error:
                raise StudentError(yours.error, call)
            return yours.calls if call.of_calls else yours.value
        worker = self._bench.ask_student(call, self._bench.budget(self._context.task), self._context.memory_mib)
        yours = self._bench.student_answer(worker, self._context)
        self._context.note(call, self._bench.keep(yours), None, True, 0.0)
        if yours.error:
            raise StudentError(yours.error, call)
        return yours.calls if call.of_calls else yours.value


class Reference(_Side):
    """Calls the reference alone and returns its value: for tasks that build on another task."""

    def _do(self, call: Call) -> Any:
        answer: Answer = self._bench.oracle.answer(call)
        if answer.error:
            raise RuntimeError(f"the reference raised {answer.error.type} on {call}")
        return answer.calls if call.of_calls else answer.value


def room(expected: Answer) -> int:
    """Return how many bytes of data may answer a call: a few times what the reference answers."""
    return max(LEAST_ROOM, 4 * (size(expected.value) + size(expected.changed)))


def exchange(context: CheckContext, call: Call, yours: Answer, expected: Answer | None, agrees: bool) -> Exchange:
    """Return the record of one call, for the diagnosis."""
    return Exchange(context.check_id, context.visible, call, yours, expected, agrees)
