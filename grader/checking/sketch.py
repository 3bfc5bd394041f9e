"""What a student edition keeps of a wrong tensor: enough to tell whether another is the same, in a few bytes.

Of what an edited reference answers nothing is shown; it only has to be known whether a student's code answers the same.
So of floats four sums are kept, each of all entries with signs of its own: two tensors that differ by d have sums that
differ by some |d| (Achlioptas 2003, on random projections with signs). Of other tensors a digest does. Runs in the
judge.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from grader.sandbox.values import Tensor

SUMS = 4
SMALL = 64  # bytes; what is no larger is kept whole
FLOATS = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True, eq=False)
class Sketch(Tensor):
    """A tensor without its values. `digest` is of where which are not finite, or of all where they are exact."""

    digest: str
    sums: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Viewed:
    """What the view of a check has made of an answer, where that check is the only one to look at it."""

    value: Any


def is_plain(value: Any) -> bool:
    """Tell whether a value comes back from a recording as what it was."""
    if isinstance(value, dict):
        return all(type(key) in (str, int) and is_plain(item) for key, item in value.items())
    if type(value) in (list, tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, Tensor) or type(value) in (bool, int, float, str)


def sketched(value: Any) -> Any:
    """Return `value` with a sketch in the place of every tensor that is not small."""
    if isinstance(value, Tensor):
        return value if value.array is None or value.array.nbytes <= SMALL else _sketch(value)
    if isinstance(value, dict):
        return {key: sketched(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(sketched(item) for item in value)
    return value


def _sketch(tensor: Tensor) -> Tensor:
    array = tensor.array
    assert array is not None
    sums = None
    if tensor.dtype in FLOATS:
        sums = _sums(_finite(array))
        if tensor.dtype != "float64":
            with np.errstate(over="ignore"):
                sums = sums.astype(np.float32)
    if sums is not None and not np.isfinite(sums).all():
        return tensor
    return Sketch(
        None,
        tensor.dtype,
        tensor.shape,
        tensor.strides,
        tensor.device,
        tensor.requires_grad,
        _digest(array, tensor.dtype),
        sums,
    )


def distance(array: np.ndarray, sketch: Sketch, limits: tuple[float, float]) -> float:
    """Return how far a tensor of the same shape and dtype is from the sketched one, in units of tolerance.

    Where each entry is off by no more than the tolerance, and not all by the same, the sums are off by no more than
    the root of the sum of its squares. One entry that is far off shows in each sum.
    """
    if _digest(array, sketch.dtype) != sketch.digest:
        return np.inf
    if sketch.sums is None:
        return 0.0
    values = _finite(array)
    with np.errstate(over="ignore"):
        allowed = float(np.sqrt(np.sum((limits[0] + limits[1] * np.abs(values)) ** 2)))
        off = float(np.abs(_sums(values) - sketch.sums.astype(np.float64)).max())
    return off / allowed if np.isfinite(off) and allowed else np.inf


def _finite(array: np.ndarray) -> np.ndarray:
    values = array.astype(np.float64).reshape(-1)
    return np.where(np.isfinite(values), values, 0.0)


def _digest(array: np.ndarray, dtype: str) -> str:
    if dtype in FLOATS:
        values = array.astype(np.float64)
        kinds = np.isnan(values) + 2 * np.isposinf(values) + 4 * np.isneginf(values)
        if not kinds.any():
            return ""
        array = kinds.astype(np.uint8)
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _sums(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(_signs(values.size) @ values)


@functools.lru_cache(maxsize=64)
def _signs(count: int) -> np.ndarray:
    """Return SUMS rows of +1 and -1, the same on every machine."""
    drawn = hashlib.shake_128(f"signs {count}".encode()).digest(SUMS * ((count + 7) // 8))
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8)).reshape(SUMS, -1)[:, :count]
    return bits.astype(np.float64) * 2 - 1
