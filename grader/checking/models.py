"""The models of a play whose calls are part of what is graded, answered by a process that holds no student code.

A check writes `compare.calls("sample", unet=witnessed("make_unet", channels=4, seed=0), ...)`. Where the source is a
student's, its process gets a stand-in, and what it asks of it comes through here: this writes the call down and lets
the model's own process answer. So how often a model was called, with what, is known from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from grader.checking.calls import Call
from grader.errors import CourseError
from grader.recipes import Recipe
from grader.sandbox.client import Budget, Error, Worker
from grader.sandbox.decode import ModelCall
from grader.sandbox.values import Refused, Tensor
from grader.sandbox.wire import Unsendable
from grader.sandbox.worker.calls import by_name, too_many

CALL_CPU_S = 10.0  # for what the models of one play answer, all calls together; and for building them
MAX_GIVEN = 64 << 20  # bytes that the models of one play may be given; the judge keeps them until they are compared
TOO_MANY = "TooManyCalls"
TAKES = "a model takes tensors on the processor and plain values"


def witnessed_of(call: Call) -> dict[str, Recipe]:
    """Return the models that a call hands over to be witnessed, by parameter."""
    given = call.request["kwargs"] if call.request["op"] == "play" else {}
    return {name: value for name, value in given.items() if isinstance(value, Recipe) and value.op == "witnessed"}


class PlayedModels:
    """The models of one play. `request` is what the student's process is asked, with stand-ins in their place."""

    def __init__(self, call: Call, process: Callable[[], Worker]) -> None:
        """Build the models in `process`, which is asked for anew after it has broken off."""
        self.log: dict[str, list[dict[str, Any]]] = {}
        self.refusal: Error | None = None
        self._wanted = witnessed_of(call)
        self._process = process
        self._bytes = 0
        self._budget = Budget(CALL_CPU_S)
        self._known = self._build()
        self.log = {name: [] for name in self._known}
        stand_ins = {name: Recipe("stand_in", (name, known)) for name, known in self._known.items()}
        self.request: Mapping[str, Any] = {**call.request, "kwargs": {**call.request["kwargs"], **stand_ins}}

    def answer(self, call: ModelCall) -> Mapping[str, Any]:
        """Write down one call and return the model's answer."""
        if call.model not in self.log:
            return _raised("RuntimeError", "there is no such model")
        log, most = self.log[call.model], self._wanted[call.model].args[1]
        self._bytes += call.bytes
        if len(log) >= most:
            return self._refuse(too_many(most))
        if self._bytes > MAX_GIVEN:
            return self._refuse(f"stopped: the model was given more than {MAX_GIVEN >> 20} MiB in all")
        if self._budget.exhausted:
            return self._refuse(f"stopped: the model was kept busy for more than {CALL_CPU_S:g} s")
        if not _travels((call.args, call.kwargs)):
            return _raised("TypeError", TAKES)
        given = by_name(self._known[call.model]["parameters"], call.args, call.kwargs)
        log.append({**given, "grad": call.grad})
        return self._forward(call)

    def _refuse(self, says: str) -> Mapping[str, Any]:
        # Code may catch the exception; it stays refused all the same.
        self.refusal = self.refusal or Error(TOO_MANY, says, (), None, "raised")
        return _raised(TOO_MANY, says)

    def _forward(self, call: ModelCall) -> Mapping[str, Any]:
        worker = self._process()
        try:
            worker.ask(
                {
                    "op": "forward",
                    "model": call.model,
                    "args": list(call.args),
                    "kwargs": call.kwargs,
                    "grad": call.grad,
                }
            )
        except Unsendable:  # what came in one frame may be longer when it is written anew
            return _raised("TypeError", f"{TAKES}, and not so many")
        found = worker.answer(self._budget)
        if found.error is None and not _travels(found.value):
            return _raised("RuntimeError", "what the model answers to this is too large, or cannot be sent")
        if found.error is None:
            return {"op": "value", "args": [found.value]}
        if not worker.alive:
            self._build()
            return _raised("RuntimeError", f"the model broke off on what it was given: {found.error.message}")
        return _raised(found.error.type, found.error.message)

    def _build(self) -> dict[str, Any]:
        worker = self._process()
        worker.ask({"op": "build", "kwargs": self._wanted})
        found = worker.answer(Budget(CALL_CPU_S))
        if found.error is not None:
            builders = ", ".join(recipe.args[0] for recipe in self._wanted.values())
            raise CourseError(f"scenarios.py cannot build {builders}: {found.error.type}: {found.error.message}")
        known: dict[str, Any] = found.value
        return known


def _raised(kind: str, says: str) -> Mapping[str, Any]:
    return {"op": "raised", "args": [kind, says]}


def _travels(value: Any) -> bool:
    if isinstance(value, dict):
        # A key with a dollar would be read as a recipe, and be made in the model's process.
        keys = all(key is None or type(key) in (str, int, float, bool) for key in value)
        return keys and not any(str(key).startswith("$") for key in value) and all(map(_travels, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_travels, value))
    return not isinstance(value, Refused) and not (isinstance(value, Tensor) and value.array is None)
