"""Looks for a call on which two sources answer otherwise: the lab's own calls with other seeds, shapes and numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from grader.checking.calls import Call
from grader.checking.oracle import LiveOracle
from grader.errors import InternalError
from grader.recipes import Recipe
from grader.sandbox.client import Budget

SECONDS = 5.0
CALLS = 200
DTYPES = ("bfloat16", "float16", "float64")


@dataclass(frozen=True)
class Separation:
    """What a search found: the call in words, or None; how many were tried; the largest distance in tolerances."""

    says: str | None
    tried: int
    distance: float


def separate(oracle: LiveOracle, source: str, calls: Sequence[Call], seconds: float = SECONDS) -> Separation:
    """Ask reference and `source` the calls and variations of them until they differ, or the time is up."""
    deadline, tried, largest = time.monotonic() + seconds, 0, 0.0
    seen: set[str] = set()
    # A dtype that no check of the task uses is not a student's to support.
    dtypes = [name for name in DTYPES if any(name in _types(call) for call in calls)]
    for call in _in_turn([variations(call, dtypes) for call in calls]):
        if call.key in seen:
            continue
        seen.add(call.key)
        if tried >= CALLS or time.monotonic() > deadline:
            break
        try:
            right = oracle.answer(call)
        except InternalError:
            continue  # the reference did not survive such an input: no student is asked it
        if right.error:
            continue
        tried += 1
        other = oracle.run(source, call, Budget(1.0))
        try:
            agreement = call.compare(other, right)
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
            continue  # the view of a check need not bear other inputs than its own
        largest = max(largest, agreement.distance)
        if agreement.difference is not None:
            size = f"{agreement.distance:.2g} tolerances" if math.isfinite(agreement.distance) else "another structure"
            return Separation(f"{call}: {size}; {agreement.difference.detail}", tried, agreement.distance)
    return Separation(None, tried, largest)


def variations(call: Call, dtypes: Sequence[str]) -> Iterator[Call]:
    """Yield `call` and other calls like it, also with inputs of `dtypes`."""
    yield call
    for seed in (101, 202):
        yield _mapped(call, lambda r, seed=seed: _reseeded(r, seed))  # type: ignore[misc]
    for name in dtypes:
        yield _mapped(call, lambda r, name=name: r.to(name) if r.op in _DRAWN else r)  # type: ignore[misc]
    for factor in (8.0, 1e-3):
        yield _mapped(call, lambda r, factor=factor: r * factor if r.op == "randn" else r)  # type: ignore[misc]
    for size in sorted({n for r in _recipes(call.request) for n in _shape(r)}):
        for other in (size + 1, 1):
            yield _mapped(call, lambda r, size=size, other=other: _resized(r, size, other))  # type: ignore[misc]
    yield _mapped(call, _strided)
    yield from _other_numbers(call)


def _in_turn(sequences: Sequence[Iterator[Call]]) -> Iterator[Call]:
    """Yield the first of each, then the second of each, ..."""
    waiting = list(sequences)
    while waiting:
        for one in list(waiting):
            found = next(one, None)
            if found is None:
                waiting.remove(one)
            else:
                yield found


_DRAWN = ("randn", "rand", "zeros", "ones")


def _shape(recipe: Recipe) -> tuple[int, ...]:
    if recipe.op in ("randn", "rand"):
        return recipe.args[1:]
    return recipe.args if recipe.op in ("zeros", "ones") else ()


def _resized(recipe: Recipe, size: int, other: int) -> Recipe:
    if not _shape(recipe):
        return recipe
    kept = len(recipe.args) - len(_shape(recipe))
    shape = tuple(other if n == size else n for n in _shape(recipe))
    return Recipe(recipe.op, recipe.args[:kept] + shape, recipe.kwargs)


def _reseeded(recipe: Recipe, by: int) -> Recipe:
    if recipe.op in ("randn", "rand", "generator"):
        return Recipe(recipe.op, (recipe.args[0] + by, *recipe.args[1:]), recipe.kwargs)
    return recipe


def _types(call: Call) -> set[str]:
    """Return the dtypes that a call's inputs are cast to."""
    return {recipe.args[1] for recipe in _recipes(call.request) if recipe.op == ".to"}


def _strided(recipe: Recipe) -> Recipe:
    if recipe.op in _DRAWN and len(_shape(recipe)) >= 2:
        return recipe.transpose(0, 1).contiguous().transpose(0, 1)
    return recipe


def _other_numbers(call: Call) -> Iterator[Call]:
    """Yield calls with one plain argument changed."""
    request = call.request
    places: list[tuple[str, Any]] = [("args", i) for i in range(len(request.get("args", [])))]
    places += [("kwargs", name) for name in request["kwargs"]]
    for part, key in places:
        value = request[part][key]
        others: tuple[Any, ...] = ()
        if isinstance(value, bool):
            others = (not value,)
        elif isinstance(value, int):
            others = (value + 1, value - 1, 2 * value, 0, 1)
        elif isinstance(value, float):
            others = (2 * value, value / 2, -value, 0.0, 1.0, 1.5)
        for other in others:
            changed = dict(request[part]) if isinstance(request[part], dict) else list(request[part])
            changed[key] = other
            yield Call({**request, part: changed}, call.tolerance, call.view)


def _recipes(value: Any) -> Iterator[Recipe]:
    if isinstance(value, Recipe):
        yield value
        value = [*value.args, *value.kwargs.values()]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _recipes(item)


def _mapped(call: Call, change: Callable[[Recipe], Recipe]) -> Call:
    """Return `call` with every recipe changed, the inner ones first."""

    def walk(value: Any) -> Any:
        if isinstance(value, Recipe):
            inner = Recipe(value.op, tuple(map(walk, value.args)), {k: walk(v) for k, v in value.kwargs.items()})
            return change(inner)
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        return type(value)(map(walk, value)) if isinstance(value, (list, tuple)) else value

    return Call(walk(call.request), call.tolerance, call.view)
