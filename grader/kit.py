"""What a lab's `checks.py` and `figures.py` import, and nothing else: recipes, the `check` mark, pictures.

@check("add_noise", visible=True)
def test_one_timestep(compare, seed):
    \"\"\"x_t is sqrt(ᾱ_t)·x0 + sqrt(1-ᾱ_t)·ε at one timestep.\"\"\"
    compare.add_noise(randn(seed, 2, 3, 8, 8), randn(seed + 1, 2, 3, 8, 8), tensor([500, 500]), linear_betas(1000))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

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
    zeros,
)

__all__ = [
    "Chart",
    "ImageGrid",
    "Recipe",
    "alphas_cumprod",
    "arange",
    "array",
    "check",
    "dtype",
    "error_images",
    "figure",
    "generator",
    "linear_betas",
    "linspace",
    "ones",
    "rand",
    "randn",
    "scaled_linear_betas",
    "tensor",
    "to_images",
    "zeros",
]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class CheckMark:
    """What `check` says of a function: its task, whether a student sees what was measured, its weight in the points."""

    task: str
    visible: bool
    weight: int


def check(task: str, *, visible: bool = False, weight: int = 1) -> Callable[[F], F]:
    """Mark a pytest function as a check of `task`. Its docstring is the sentence a student reads."""

    def mark(function: F) -> F:
        function.__check__ = CheckMark(task, visible, weight)  # type: ignore[attr-defined]
        return function

    return mark


def figure(task: str) -> Callable[[F], F]:
    """Mark a function of `figures.py` that draws a task's picture: `def noising(play) -> ImageGrid | Chart`."""

    def mark(function: F) -> F:
        function.__figure__ = task  # type: ignore[attr-defined]
        return function

    return mark
