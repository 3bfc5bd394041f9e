"""What a check asks of code: a call, plain data with recipes in it, and how two answers to it are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from grader.checking.compare import Agreement, compare
from grader.kit import SUBJECT
from grader.recipes import Recipe, show
from grader.sandbox.client import Answer

View = Callable[[Any], Any]


@dataclass(frozen=True)
class Call:
    """One request to a worker, and the judge's side of it: the view and the tolerance to compare with."""

    request: dict[str, Any]
    tolerance: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    view: View | None = None
    of_calls: bool = False  # what is compared is how the witnessed models were called, and not the value

    @cached_property
    def key(self) -> str:
        """Digest of the request: the same call has the same key in every run and on every machine."""
        text = json.dumps(self.request, default=_plain, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def __str__(self) -> str:
        """Show the call as its author wrote it."""
        request = self.request
        name = request["function"] if request["op"] == "call" else f"scenario {request['scenario']}"
        shown = [show(a) for a in request.get("args", [])] + [f"{k}={show(v)}" for k, v in request["kwargs"].items()]
        return f"{name}({', '.join(shown)})"

    def compare(self, yours: Answer, expected: Answer, subject: str = SUBJECT) -> Agreement:
        """Compare two answers to this call."""
        return compare(yours, expected, self.tolerance, self.view, subject, of_calls=self.of_calls)

    def __hash__(self) -> int:
        """Hash by request."""
        return hash(self.key)


def function_call(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, names: Sequence[str] = (), **judged: Any
) -> Call:
    """Return the call of a student's function; `names` are the task's own for its parameters, in order."""
    named = {"names": list(names[: len(args)])} if args else {}
    return Call({"op": "call", "function": name, "args": list(args), **named, "kwargs": kwargs}, **judged)


def scenario_call(name: str, kwargs: dict[str, Any], **judged: Any) -> Call:
    """Return the call of a function of scenarios.py."""
    return Call({"op": "play", "scenario": name, "kwargs": kwargs}, **judged)


def axes(call: Call) -> int:
    """Return the largest number of axes that a tensor among the inputs has; 0 where there is none that is known."""
    return _axes([call.request.get("args", []), call.request["kwargs"]])


def _axes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.ndim
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return max(map(_axes, value), default=0)
    return _recipe_axes(value) if isinstance(value, Recipe) else 0


def _recipe_axes(recipe: Recipe) -> int:
    first = recipe.args[0] if recipe.args else None
    match recipe.op:
        case "randn" | "rand" | ".reshape" | ".expand":
            return len(recipe.args) - 1
        case "zeros" | "ones":
            return len(recipe.args)
        case "arange" | "linspace" | "linear_betas" | "scaled_linear_betas" | "alphas_cumprod":
            return 1
        case "tensor":
            return np.ndim(0 if first is None else first)
        case ".getitem":
            return max(_axes(first) - 1, 0)
        case ".to" | ".on" | ".transpose" | ".contiguous" | ".clamp" | ".requires_grad_" | ".mul" | ".add" | "array":
            return _axes(first)
    return 0


def _plain(value: Any) -> Any:
    if isinstance(value, Recipe):
        return {"$recipe": [value.op, value.args, value.kwargs]}
    if isinstance(value, np.ndarray):
        return {"$array": [str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()]}
    raise TypeError(f"a call holds recipes and plain values, not {type(value).__name__}")


@dataclass(frozen=True)
class Exchange:
    """One call of a check with the student's answer; `agrees` says whether the reference answered the same."""

    check: str
    visible: bool
    call: Call
    yours: Answer
    expected: Answer | None
    agrees: bool
