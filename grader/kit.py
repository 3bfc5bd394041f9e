"""What a lab's `checks.py` and `figures.py` import, and nothing else: recipes, the `check` mark, pictures.

@check("add_noise", visible=True)
def test_one_timestep(compare, draw):
    \"\"\"x_t is sqrt(ᾱ_t)·x0 + sqrt(1-ᾱ_t)·ε at one timestep.\"\"\"
    compare.add_noise(*draw.normals(2, 2, 3, 8, 8), tensor([500, 500]), linear_betas(1000))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from grader.pictures import Chart, ImageGrid, error_images, to_images
from grader.recipes import (
    Recipe,
    alphas_cumprod,
    arange,
    array,
    dtype,
    generator,
    linear_betas,
    linspace,
    ones,
    rand,
    randn,
    scaled_linear_betas,
    tensor,
    witnessed,
    zeros,
)

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Chart",
    "Draw",
    "ImageGrid",
    "Recipe",
    "alphas_cumprod",
    "arange",
    "array",
    "beside",
    "check",
    "dtype",
    "entry",
    "error_images",
    "figure",
    "generator",
    "linear_betas",
    "linspace",
    "ones",
    "part",
    "rand",
    "randn",
    "scaled_linear_betas",
    "tensor",
    "to_images",
    "values",
    "witnessed",
    "zeros",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


SUBJECT = "The result"


@dataclass(frozen=True)
class CheckMark:
    """What `check` says of a function."""

    task: str
    visible: bool
    weight: int
    property: bool
    tells: str | None
    subject: str
    memory_mib: int | None
    reported: bool


def check(
    task: str,
    *,
    visible: bool = False,
    weight: int = 1,
    property: bool = False,
    tells: str | None = None,
    subject: str = SUBJECT,
    memory_mib: int | None = None,
    reported: bool = False,
) -> Callable[[F], F]:
    """Mark a pytest function as a check of `task`. Its docstring is the sentence a student reads.

    visible: a student sees what was measured. weight: its share of the task's points. property: it looks at the
    student's answers alone, or asks for a refusal; it earns only if a check that compares values passes, too. tells:
    the one sentence that is shown for a difference, which gives nothing away. subject: what is compared, in words.
    memory_mib: the student's code runs in a process of its own that the kernel holds to so much memory. reported: it
    compares what the student's process says of itself, as the meter's figures; at most a tenth of a task's points.
    """

    def mark(function: F) -> F:
        function.__check__ = CheckMark(task, visible, weight, property, tells, subject, memory_mib, reported)  # type: ignore[attr-defined]
        return function

    return mark


class Draw:
    """Random inputs of one check. Each call takes the next stream of numbers that its seed gives."""

    def __init__(self, seed: int) -> None:
        """Begin with the first stream."""
        self._seed = seed
        self._streams = 0

    def seed(self) -> int:
        """Return a seed of 64 bits, for a scenario."""
        self._streams += 1
        return (self._seed + self._streams - 1) % 2**64

    def normal(self, *shape: int) -> Recipe:
        """Return standard normal float32 values."""
        return randn(self.seed(), *shape)

    def normals(self, count: int, *shape: int) -> list[Recipe]:
        """Return `count` tensors of standard normal float32 values."""
        return [self.normal(*shape) for _ in range(count)]

    def uniform(self, *shape: int) -> Recipe:
        """Return float32 values, uniform in [0, 1)."""
        return rand(self.seed(), *shape)

    def generator(self) -> Recipe:
        """Return a torch.Generator; its next draw after the call is part of the answer."""
        return generator(self.seed())

    def whole(self, low: int, high: int) -> int:
        """Return a whole number, both ends included."""
        return low + self._bits() % (high - low + 1)

    def real(self, low: float, high: float) -> float:
        """Return a number between `low` and `high`, with three digits after the point of their distance."""
        return round(low + (high - low) * (self._bits() % 1001) / 1000, 10)

    def choice(self, values: Sequence[T]) -> T:
        """Return one of `values`."""
        return values[self._bits() % len(values)]

    def _bits(self) -> int:
        # Neighbouring streams, and neighbouring seeds, should differ in more than the last digit.
        return int.from_bytes(hashlib.blake2b(str(self.seed()).encode(), digest_size=8).digest(), "big")


def part(*keys: str) -> Callable[[Any], Any]:
    """Return a `view` that looks at some entries of a scenario's dict: the entry, or a dict of several."""

    def view(answer: Any) -> Any:
        return answer[keys[0]] if len(keys) == 1 else {key: answer[key] for key in keys}

    return view


def values(answer: Any, *shape: int) -> np.ndarray:
    """Return a student's tensor as a float64 array of the shape that it must have; AssertionError with a sentence."""
    array = getattr(answer, "array", None)
    assert array is not None, "A tensor is expected here."
    assert array.shape == shape, "A tensor of another shape is expected here."
    wide: np.ndarray = array.astype("float64")
    return wide


def entry(answer: Any, key: str) -> Any:
    """Return what a student's dict holds under `key`, or None."""
    return answer.get(key) if isinstance(answer, dict) else None


def beside(
    yours: Any, reference: Any, key: str | None = None, limit: float = 1.0
) -> list[tuple[str, Sequence[np.ndarray]]]:
    """Return the rows of an `ImageGrid`: the reference's pictures, then yours and the error, where there are any.

    `yours` and `reference` are answers: a tensor (N, 3, H, W) or (N, 1, H, W) in [-1, 1], or a dict with it at `key`.
    """
    theirs = entry(reference, key) if key else reference
    mine = entry(yours, key) if key else yours
    rows: list[tuple[str, Sequence[np.ndarray]]] = [("reference", to_images(theirs.array))]
    if getattr(mine, "array", None) is not None and mine.array.shape == theirs.array.shape:
        rows.append(("yours", to_images(mine.array)))
        rows.append((f"|error|, 0 to {limit:g}", error_images(mine.array, theirs.array, limit)))
    return rows


def figure(task: str) -> Callable[[F], F]:
    """Mark a function of `figures.py` that draws a task's picture: `def noising(play) -> ImageGrid | Chart`."""

    def mark(function: F) -> F:
        function.__figure__ = task  # type: ignore[attr-defined]
        return function

    return mark
