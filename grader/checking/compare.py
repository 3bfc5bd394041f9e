"""Comparing two answers in numpy: equal within tolerance, or the first thing that differs, in words.

Two sentences are made of each difference: `says` holds nothing of the inputs or the expected values, so it may be shown
for a hidden check; `detail` holds the numbers, for visible checks and instructors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grader.kit import SUBJECT
from grader.sandbox.client import Answer
from grader.sandbox.values import Refused, Tensor

# atol, rtol by dtype of the expected tensor. Measured honest spread stays under half of each; see docs/authors.md.
TOLERANCES: dict[str, tuple[float, float]] = {
    "float64": (1e-9, 1e-9),
    "float32": (2e-5, 2e-5),
    "float16": (2e-3, 4e-3),
    "bfloat16": (1.6e-2, 1.6e-2),
}

# What cannot be compared, in our own words: a student's code has chosen the others, and may have put inputs into them.
REFUSED = {
    "foreign": "a value of another library, not a torch tensor or a plain number",
    "sparse": "a sparse tensor",
    "quantized": "a quantized tensor",
    "nested": "a nested tensor",
    "dtype": "a tensor of an unknown dtype",
    "device": "a tensor on another device",
    "too_large": "more data than fits into an answer",
    "object": "an object that is neither a tensor nor plain data",
}

Tolerances = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Difference:
    """The first structural difference, or else the largest numerical one."""

    where: str
    says: str
    detail: str
    distance: float = math.inf  # in units of tolerance
    max_error: float | None = None
    yours: str | None = None
    expected: str | None = None
    is_of_kind: bool = False  # a tensor for a float: nothing of the expected value is in `says`


@dataclass(frozen=True)
class Agreement:
    """How two answers compare: what differs, if anything, and the largest distance in units of tolerance."""

    difference: Difference | None
    distance: float


def compare(
    yours: Answer, expected: Answer, tolerance: Tolerances, view: Any = None, subject: str = SUBJECT
) -> Agreement:
    """Compare two answers: exception, value (through `view`), inputs changed in place, use of random numbers.

    `subject` is what the sentences call the value.
    """
    if yours.error or expected.error:
        return _compare_errors(yours, expected)
    found, wanted = yours.value, expected.value
    if view is not None:
        wanted = view(wanted)
        try:
            found = view(found)
        except (TypeError, KeyError, ValueError, AttributeError, IndexError):
            wanted = expected.value  # the student's answer has not the form that the view reads: compare it as it is
    worst = 0.0
    numerical: Difference | None = None
    leaves = [*_leaves(found, wanted, "", tolerance, subject), *_side_effects(yours, expected, tolerance)]
    for item in leaves:
        if isinstance(item, float):
            worst = max(worst, item)
        elif math.isinf(item.distance):
            return Agreement(item, math.inf)
        else:
            worst = max(worst, item.distance)
            if numerical is None or item.distance > numerical.distance:
                numerical = item
    return Agreement(numerical, worst)


def _compare_errors(yours: Answer, expected: Answer) -> Agreement:
    if yours.error and expected.error and yours.error.kind == expected.error.kind == "raised":
        if yours.error.type == expected.error.type:
            return Agreement(None, 0.0)
        says = f"It raises {yours.error.type}; another exception was expected."
        detail = f"It raises {yours.error.type}; {expected.error.type} was expected."
        return Agreement(Difference("", says, detail), math.inf)
    if yours.error:
        says = f"It raises {yours.error.type}."
        return Agreement(Difference("", says, f"{says[:-1]}: {yours.error.message}"), math.inf)
    assert expected.error is not None
    says = "It returns a value where these inputs have to be refused with an exception."
    return Agreement(Difference("", says, f"It returns a value; {expected.error.type} was expected."), math.inf)


def _side_effects(yours: Answer, expected: Answer, tolerance: Tolerances) -> Iterator[Difference | float]:
    for name in yours.changed:
        if name not in expected.changed:
            says = "An input was overwritten; the caller still needs it as it was."
            yield Difference(f"input {name}", says, f"The input {name} was overwritten; the caller still needs it.")
    for name, wanted in expected.changed.items():
        if name not in yours.changed:
            says = f"The input {name} should have been changed in place."
            yield Difference(f"input {name}", says, says)
        else:
            yield from _leaves(yours.changed[name], wanted, f"input {name}", tolerance, SUBJECT)
    for name, draw in expected.next_draw.items():
        if yours.next_draw.get(name) != draw:
            says = (
                f"The random numbers taken from {name} are not those expected: too many, too few, or of another shape."
            )
            yield Difference(name, says, says)
    if yours.global_rng_moved != expected.global_rng_moved:
        says = "Random numbers came from torch's global state; draw from the generator you are given."
        if expected.global_rng_moved:
            says = "The global random state should have been used, and was not."
        yield Difference("global random state", says, says)


def _leaves(yours: Any, expected: Any, where: str, tolerance: Tolerances, subject: str) -> Iterator[Difference | float]:
    """Yield a Difference for each leaf that differs, its distance for each that does not."""
    at = f" at {where}" if where else ""
    if isinstance(yours, Refused):
        says = f"It returns {REFUSED.get(yours.kind, 'a value of another kind')}{at}."
        yield Difference(where, says, f"It returns {yours.says}{at}; expected {kind(expected)}.", is_of_kind=True)
    elif isinstance(expected, Tensor):
        if isinstance(yours, Tensor):
            yield _tensors(yours, expected, where, tolerance, subject)
        else:
            yield _other_kind(yours, expected, at, where)
    elif isinstance(expected, dict):
        if not isinstance(yours, dict):
            yield _other_kind(yours, expected, at, where)
        elif set(yours) != set(expected):
            missing = ", ".join(sorted(map(repr, set(expected) - set(yours)))) or "none"
            extra = ", ".join(sorted(map(repr, set(yours) - set(expected)))) or "none"
            says = f"The keys of the dict{at} differ. Missing: {missing}"
            yield Difference(where, f"{says}.", f"{says}; unexpected: {extra}.")
        else:
            for key, wanted in expected.items():
                yield from _leaves(yours[key], wanted, f"{where}[{key!r}]", tolerance, subject)
    elif isinstance(expected, (list, tuple)):
        if not isinstance(yours, (list, tuple)):
            yield _other_kind(yours, expected, at, where)
        elif len(yours) != len(expected):
            says = f"The number of entries{at} differs."
            yield Difference(where, says, f"There are {len(yours)} entries{at}; expected {len(expected)}.")
        else:
            for index, (mine, wanted) in enumerate(zip(yours, expected, strict=True)):
                yield from _leaves(mine, wanted, f"{where}[{index}]", tolerance, subject)
    elif type(yours) is not type(expected):
        yield _other_kind(yours, expected, at, where)
    elif isinstance(expected, float):
        limits = tolerance.get("float32", TOLERANCES["float32"])
        yield _numbers(np.float64(yours), np.float64(expected), where, limits, subject)
    elif yours != expected:
        detail = f"It gives {yours!r}{at}; expected {expected!r}."
        yield Difference(where, f"It gives another value{at}.", detail, yours=repr(yours), expected=repr(expected))
    else:
        yield 0.0


def kind(value: Any) -> str:
    """Return a value's kind in words, without its content."""
    if isinstance(value, Tensor):
        return "a tensor"
    if isinstance(value, Refused):
        return value.says
    names = {
        dict: "a dict",
        list: "a list",
        tuple: "a tuple",
        float: "a float",
        int: "an int",
        bool: "a bool",
        str: "text",
    }
    return "None" if value is None else names.get(type(value), type(value).__name__)


def _other_kind(yours: Any, expected: Any, at: str, where: str) -> Difference:
    advice = " Is a `return` missing?" if yours is None else ""
    says = f"It gives {kind(yours)}{at} where {kind(expected)} is expected.{advice}"
    return Difference(where, says, says, is_of_kind=True)


def _tensors(yours: Tensor, expected: Tensor, where: str, tolerance: Tolerances, subject: str) -> Difference | float:
    at = f" at {where}" if where else ""
    if yours.shape != expected.shape:
        says = f"{subject}{at} has not the expected shape."
        return Difference(where, says, f"The shape{at} is {yours.shape}; expected {expected.shape}.")
    if yours.dtype != expected.dtype:
        says = f"{subject}{at} has dtype {yours.dtype} where {expected.dtype} is expected."
        return Difference(where, says, says)
    if yours.device != expected.device:
        says = f"{subject}{at} is on device {yours.device} where {expected.device} is expected."
        return Difference(where, says, says)
    if yours.array is None or expected.array is None:
        return 0.0  # meta tensors: shape, dtype and device are all there is
    if expected.dtype in TOLERANCES:
        limits = tolerance.get(expected.dtype, TOLERANCES[expected.dtype])
        return _numbers(yours.array, expected.array, where, limits, subject)
    wrong = yours.array != expected.array
    if not wrong.any():
        return 0.0
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    mine, wanted = str(yours.array[first]), str(expected.array[first])
    detail = (
        f"{int(wrong.sum())} of {wrong.size} entries{at} differ, the first at {list(first)}: {mine}, expected {wanted}."
    )
    return Difference(where, f"Entries{at} differ from the expected ones.", detail, yours=mine, expected=wanted)


def _numbers(yours: Any, expected: Any, where: str, limits: tuple[float, float], subject: str) -> Difference | float:
    """Compare floats: max |a-b| / (atol + rtol·|b|); entries that are not finite must match in place and kind."""
    a, b = np.asarray(yours, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    at = f" at {where}" if where else ""
    odd_a, odd_b = ~np.isfinite(a), ~np.isfinite(b)
    if odd_a.any() or odd_b.any():
        same = np.array_equal(odd_a, odd_b) and np.array_equal(a[odd_a], b[odd_b], equal_nan=True)
        if not same:
            what = "NaN" if np.isnan(a).any() else "infinite values" if odd_a.any() else "finite values only"
            detail = f"{int(odd_a.sum())} of {a.size} values{at} are not finite; expected {int(odd_b.sum())}."
            return Difference(where, f"{subject}{at} contains {what}.", detail)
        a, b = np.where(odd_a, 0.0, a), np.where(odd_b, 0.0, b)
    if a.size == 0:
        return 0.0
    error = np.abs(a - b)
    distance = error / (limits[0] + limits[1] * np.abs(b))
    worst = np.unravel_index(int(np.argmax(distance)), distance.shape)
    units = float(distance[worst])
    if units <= 1.0:
        return units
    index = [int(i) for i in worst]
    mine, wanted = rounded(float(a[worst])), rounded(float(b[worst]))
    place = f" at {index}" if index else ""
    largest = rounded(float(error.max()))
    detail = f"The largest error{at} is {largest}; worst{place}: {mine}, expected {wanted}."
    return Difference(
        where, f"The values{at} differ from the expected ones.", detail, units, float(largest), mine, wanted
    )


def rounded(number: float) -> str:
    """Return a number with two significant digits: as much as may differ between machines."""
    return f"{number:.2g}"
