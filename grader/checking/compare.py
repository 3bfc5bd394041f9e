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

from grader.checking.sentences import known_type
from grader.checking.sketch import Sketch, Viewed, distance
from grader.kit import SUBJECT
from grader.sandbox.client import Answer
from grader.sandbox.values import Refused, Tensor, size

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

# A view may take many times as long as it takes to send what it is shown: more than this is not shown to one.
MOST_VIEWED, VIEWED = 4, 256 << 10  # times what is expected, and bytes on top

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
    yours: Answer,
    expected: Answer,
    tolerance: Tolerances,
    view: Any = None,
    subject: str = SUBJECT,
    *,
    of_calls: bool = False,
) -> Agreement:
    """Compare two answers: exception, value (through `view`), inputs changed in place, use of random numbers.

    `subject` is what the sentences call the value. `of_calls`: the calls of witnessed models stand in its place.
    """
    if yours.error or expected.error:
        return _compare_errors(yours, expected)
    found, wanted = (yours.calls, expected.calls) if of_calls else (yours.value, expected.value)
    if view is not None:
        whole: Any = wanted
        wanted = expected.value.value if isinstance(expected.value, Viewed) else view(whole)
        try:
            if size(found) > MOST_VIEWED * size(whole) + VIEWED:
                raise ValueError("far more than is expected")
            found = view(found)
        except Exception:
            # The student's answer has not the form that the view reads: compare it as it is.
            wanted = whole
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
        # What a worker says of a class's bases is believed: it might as well say that it raised the right type itself.
        if expected.error.type in (yours.error.type, *yours.error.bases):
            return Agreement(None, 0.0)
        says = f"It raises {known_type(yours.error.type)}; another exception was expected."
        detail = f"It raises {yours.error.type}; {expected.error.type} was expected."
        return Agreement(Difference("", says, detail), math.inf)
    if yours.error:
        says = f"It raises {known_type(yours.error.type)}."
        detail = f"It raises {yours.error.type}: {yours.error.message}"
        return Agreement(Difference("", says, detail), math.inf)
    assert expected.error is not None
    what = "nothing" if yours.value is None else "a value"
    says = f"It returns {what} where these inputs have to be refused with an exception."
    return Agreement(Difference("", says, f"It returns {what}; {expected.error.type} was expected."), math.inf)


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
            how = "too many, too few, or of another shape"
            says = f"The random numbers taken from {name} are not those expected: {how}."
            if name in yours.untouched:
                says = f"Nothing was drawn from {name}."
            yield Difference(name, says, says)
    if yours.global_rng_moved != expected.global_rng_moved:
        says = "Random numbers came from torch's global state, which has to stay as it is"
        says += "; draw from the generator you are given." if expected.next_draw else "."
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
            yield _other_kind(yours, expected, at, where, subject)
    elif isinstance(expected, dict):
        if not isinstance(yours, dict):
            yield _other_kind(yours, expected, at, where, subject)
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
            yield _other_kind(yours, expected, at, where, subject)
        elif len(yours) != len(expected):
            says = f"The number of entries{at} differs."
            yield Difference(where, says, f"There are {len(yours)} entries{at}; expected {len(expected)}.")
        else:
            for index, (mine, wanted) in enumerate(zip(yours, expected, strict=True)):
                yield from _leaves(mine, wanted, f"{where}[{index}]", tolerance, subject)
    elif type(yours) is not type(expected):
        yield _other_kind(yours, expected, at, where, subject)
    elif isinstance(expected, float):
        limits = tolerance.get("float32", TOLERANCES["float32"])
        yield _numbers(np.float64(yours), np.float64(expected), where, limits, subject)
    elif yours != expected:
        detail = f"{_gives(subject)} {yours!r}{at}; expected {expected!r}."
        yield Difference(
            where, f"{_gives(subject)} another value{at}.", detail, yours=repr(yours), expected=repr(expected)
        )
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


def _gives(subject: str) -> str:
    return "It gives" if subject == SUBJECT else f"{subject} is"


def _other_kind(yours: Any, expected: Any, at: str, where: str, subject: str) -> Difference:
    wanted, advice = kind(expected), ""
    if yours is None and subject == SUBJECT:
        advice = " Is a `return` missing?"
    elif isinstance(yours, Tensor) and isinstance(expected, (float, int)):
        wanted = f"a plain {type(expected).__name__}"
        advice = " `.item()` makes one of a tensor of one entry."
    says = f"{_gives(subject)} {kind(yours)}{at} where {wanted} is expected.{advice}"
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
    if isinstance(expected, Sketch) and yours.array is not None:
        far = distance(yours.array, expected, tolerance.get(expected.dtype, TOLERANCES.get(expected.dtype, (0.0, 0.0))))
        says = f"The values{at} are not those of the known mistake."
        return far if far <= 1.0 else Difference(where, says, says, far)
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
            return _not_finite(a, b, where, subject)
        a, b = np.where(odd_a, 0.0, a), np.where(odd_b, 0.0, b)
    if a.size == 0:
        return 0.0
    error = np.abs(a - b)
    distance = error / (limits[0] + limits[1] * np.abs(b))
    worst = np.unravel_index(int(np.argmax(distance)), distance.shape)
    units = float(distance[worst])
    if units <= 1.0:
        return units
    mine, wanted = told_apart(float(a[worst]), float(b[worst]))
    off = rounded(float(error[worst]))
    place = f"values{at} differ, most at {[int(i) for i in worst]}" if worst else f"value{at} differs"
    detail = f"The {place}: {mine}, expected {wanted}, off by {off}."
    says = f"The values{at} differ from the expected ones."
    return Difference(where, says, detail, units, float(off), mine, wanted)


def _not_finite(a: Any, b: Any, where: str, subject: str) -> Difference:
    """Say where a value is finite and should not be, or the other way round."""
    at = f" at {where}" if where else ""
    wrong = ~((a == b) | (np.isnan(a) & np.isnan(b)) | (np.isfinite(a) & np.isfinite(b)))
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    mine, wanted = rounded(float(a[first])), rounded(float(b[first]))
    place = f" at {list(first)}" if first else ""
    more = f"; {int(wrong.sum())} of {wrong.size} values differ so." if first else "."
    if np.isfinite(a).all():
        says = f"Every value{at} is finite where some are expected not to be."
        detail = f"Every value{at} is finite where {wanted} is expected{place}{more}"
    else:
        what = "NaN" if np.isnan(a).any() else "infinite values"
        says = f"{subject}{at} contains {what} where other values are expected."
        detail = f"{subject}{at} is {mine}{place} where {wanted} is expected{more}"
    return Difference(where, says, detail, yours=mine, expected=wanted)


def told_apart(one: float, other: float) -> tuple[str, str]:
    """Return both numbers with as few digits, two at least, as show how far they are apart."""
    for digits in range(2, 17):
        first, second = f"{one:.{digits}g}", f"{other:.{digits}g}"
        if abs(abs(float(first) - float(second)) - abs(one - other)) <= 0.5 * abs(one - other):
            return first, second
    return repr(one), repr(other)


def rounded(number: float) -> str:
    """Return a number with two significant digits: as much as may differ between machines."""
    return f"{number:.2g}"
