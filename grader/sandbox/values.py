"""What an answer holds besides plain Python values. Runs in the judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor as it came back: values in row-major order (None on the meta device) and what else is known of it."""

    array: np.ndarray | None
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    device: str
    requires_grad: bool


@dataclass(frozen=True)
class Refused:
    """Something that cannot travel; `says` goes into a sentence: "your code returned {says}"."""

    kind: str
    says: str


@dataclass(frozen=True)
class Dtype:
    """A torch dtype, by name."""

    name: str


def size(value: Any) -> int:
    """Return how many bytes the tensors of a value take."""
    if isinstance(value, Tensor):
        return 0 if value.array is None else int(value.array.nbytes)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return sum(map(size, parts))
