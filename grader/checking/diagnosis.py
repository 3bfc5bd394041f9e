"""Which known mistake does it look like? Edited references answer the calls that the student's code answered.

Only an edit that gives the same wrong answers on *all* calls of the task is named; one call never names anything, since
many mistakes coincide on it. "Behaves like", never "you wrote". Where nothing fits, the worst check's own words stand
first, and facts follow: scale, sign, axes, what the answers hang on, what passes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grader.checking.calls import Exchange, axes
from grader.checking.compare import told_apart
from grader.checking.oracle import Oracle
from grader.manifest import Misconception
from grader.results import Diagnosis
from grader.sandbox.client import Budget
from grader.sandbox.values import Tensor

# How many answers of edited references a task's diagnosis may ask for. A count, not a time: the same mistake must have
# the same name on a busy machine. 27 edits in 34 spellings and their pairs take some 700 calls of a millisecond.
CALLS_PER_TASK = 1500
# Only where an edit hangs or the machine stands still.
BACKSTOP_S = 20.0
CALL_CPU_S = 2.0


def diagnose(
    script: Sequence[Exchange],
    oracle: Oracle,
    edits: Sequence[Misconception],
    headline: str,
    returns: Sequence[int] = (),
    failed: Collection[str] = (),
) -> Diagnosis:
    """Name the mistake, or a pair, that answers all of `script` as the student does; else say `headline` and facts.

    `returns` are the lines of the student's function that return, `failed` the ids of the checks that did not pass.
    """
    if any(one.yours.error is not None and one.yours.error.kind != "raised" for one in script):
        # A crash or a time-out is its own explanation.
        return Diagnosis(misconceptions=[], says=headline, facts=facts(script, failed=failed))
    fitting = _fitting(script, oracle, edits)
    if fitting:
        return _named(fitting)
    told = ["No known mistake gives your answers.", *facts(script, returns, failed)]
    return Diagnosis(misconceptions=[], says=headline, facts=told)


def _fitting(
    script: Sequence[Exchange], oracle: Oracle, edits: Sequence[Misconception]
) -> list[tuple[Misconception, ...]]:
    """Return the mistakes, or where none fits alone the pairs, that answer all of `script` as the student does."""
    # Calls that went wrong first: they reject an edit at once.
    calls = sorted(script, key=lambda one: one.agrees)
    purse = _Purse(CALLS_PER_TASK, time.monotonic() + BACKSTOP_S)
    for size in (1, 2):
        fitting: list[tuple[Misconception, ...]] = []
        for group in _groups(edits, size):
            known = [tuple(edit.id for edit in one) for one in fitting]
            if tuple(edit.id for edit in group) not in known and _fits(calls, group, oracle, purse):
                fitting.append(group)
            if purse.empty:
                return []
        if fitting:
            return fitting
    return []


def _groups(edits: Sequence[Misconception], size: int) -> Iterator[tuple[Misconception, ...]]:
    """Yield one mistake, or two, in all their spellings; the first spellings come first."""
    groups = [
        group
        for chosen in itertools.combinations(edits, size)
        for group in itertools.product(*(edit.spellings for edit in chosen))
    ]
    yield from sorted(groups, key=lambda group: sum(edit.spelling > 0 for edit in group))


@dataclass
class _Purse:
    """What a diagnosis may still spend."""

    calls: int
    deadline: float

    @property
    def empty(self) -> bool:
        """Whether nothing more may be asked."""
        return self.calls <= 0 or time.monotonic() > self.deadline


def _fits(script: Sequence[Exchange], edits: Sequence[Misconception], oracle: Oracle, purse: _Purse) -> bool:
    for one in script:
        if purse.empty:
            return False
        answer = oracle.edited(edits, one.call, Budget(CALL_CPU_S))
        if answer is None:
            return False
        purse.calls -= 1
        if answer.error and answer.error.kind != "raised":
            return False
        if one.call.compare(one.yours, answer).difference is not None:
            return False
    return True


def _named(fitting: Sequence[tuple[Misconception, ...]]) -> Diagnosis:
    says = [" And: ".join(edit.says for edit in group) for group in fitting]
    text = says[0] if len(says) == 1 else "One of these, which give the same answers here: " + " — or: ".join(says)
    see = list(dict.fromkeys(edit.see for group in fitting for edit in group if edit.see))
    return Diagnosis(misconceptions=[[edit.id for edit in group] for group in fitting], says=text, see=see)


def facts(script: Sequence[Exchange], returns: Sequence[int] = (), failed: Collection[str] = ()) -> list[str]:
    """Return what the wrong answers have in common, in sentences: never a guessed name."""
    wrong = [one for one in script if not one.agrees]
    told = []
    # A scenario's answer holds much else; what can be compared as it is are the tensors of direct calls.
    relations = {_relation(*tensors) for one in wrong if (tensors := _tensors(one)) is not None}
    if len(relations) == 1 and (relation := relations.pop()):
        told.append(f"Wherever the function was called directly and was wrong, its result is {relation}.")
    told += [says for says in (_draws_nothing(wrong), _works_for_some_axes(script)) if says]
    # A check that asserts something of its own fails without an answer that differs.
    failing = {one.check for one in wrong} | set(failed)
    right = list(dict.fromkeys(one.check for one in script if one.check not in failing))
    if right:
        told.append("Right already: " + ", ".join(name.rsplit(".", 1)[-1].replace("_", " ") for name in right) + ".")
    if len(returns) > 1:
        told.append(f"Values come back at the lines {', '.join(map(str, returns))}.")
    return told


def _draws_nothing(wrong: Sequence[Exchange]) -> str | None:
    """Say that no wrong call drew from the generator that it was given, where the reference did."""
    idle = [
        {name for name in one.yours.untouched if one.expected.next_draw.get(name) != one.yours.next_draw.get(name)}
        for one in wrong
        if one.expected is not None and not one.yours.error
    ]
    names = set.intersection(*idle) if idle else set()
    return f"It draws nothing from {', '.join(sorted(names))}." if names else None


def _works_for_some_axes(script: Sequence[Exchange]) -> str | None:
    """Say that the calls whose largest input has one certain number of axes are right, and all others break.

    A factor reshaped with `view(-1, 1, 1, 1)` is right for images and for nothing else.
    """
    counted = [(one, axes(one.call)) for one in script if one.expected is not None and not one.expected.error]
    right = {count for one, count in counted if one.agrees}
    others = [one for one, count in counted if count not in right]
    if len(right) != 1 or 0 in right or not others or any(not one.agrees for one, count in counted if count in right):
        return None
    if not all(_breaks(one) for one in others):
        return None
    (count,) = right
    return f"It works for inputs of {_COUNTS.get(count, str(count))} axes only: every call with others breaks."


_COUNTS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}


def _breaks(one: Exchange) -> bool:
    """Tell whether a call raised or gave tensors of other shapes."""
    assert one.expected is not None
    return one.yours.error is not None or _shapes(one.yours.value) != _shapes(one.expected.value)


def _shapes(value: Any) -> list[tuple[int, ...]]:
    if isinstance(value, Tensor):
        return [value.shape]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [shape for part in parts for shape in _shapes(part)]


def _tensors(one: Exchange) -> tuple[Tensor, Tensor] | None:
    """Return the student's tensor and the expected one, or None where an answer is anything else than one tensor."""
    if one.expected is None or one.yours.error or one.expected.error or one.call.view is not None:
        return None
    yours, expected = one.yours.value, one.expected.value
    if not (isinstance(yours, Tensor) and isinstance(expected, Tensor)):
        return None
    if yours.array is None or expected.array is None or expected.array.size < 2:
        return None
    return yours, expected


def _relation(yours: Tensor, expected: Tensor) -> str | None:
    """Return how the student's tensor relates to the expected one, in words, or None."""
    assert yours.array is not None and expected.array is not None
    if np.iscomplexobj(yours.array) or np.iscomplexobj(expected.array):
        return None
    a, b = yours.array.astype(np.float64), expected.array.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    if a.shape != b.shape:
        return "of another shape with the same number of entries" if a.size == b.size else None
    size = float(np.abs(b).max())
    close = 1e-2 * size if yours.dtype in ("float16", "bfloat16") else 1e-4 * size

    def same(c: np.ndarray) -> bool:
        return c.shape == b.shape and float(np.abs(a - c).max()) <= close

    if same(b):
        return "right in value"  # another dtype or device, or a side effect
    if same(-b):
        return "the expected one with the opposite sign"
    if not a.any():
        return "all zeros"
    scale = float((a * b).sum() / (b * b).sum()) if b.any() else 0.0
    if scale and same(scale * b):
        return f"the expected one times {told_apart(scale, 1.0)[0]}"
    if same(b + float((a - b).mean())):
        return "the expected one plus a constant"
    for first, second in itertools.combinations(range(b.ndim), 2):
        if b.shape[first] == b.shape[second] and same(b.swapaxes(first, second)):
            return f"the expected one with axes {first} and {second} exchanged"
    for axis in range(b.ndim):
        if b.shape[axis] > 1 and same(np.flip(b, axis)):
            return f"the expected one reversed along axis {axis}"
        if b.shape[axis] > 1 and any(same(np.roll(b, shift, axis)) for shift in (1, -1)):
            return f"the expected one shifted by one along axis {axis}"
    return None
