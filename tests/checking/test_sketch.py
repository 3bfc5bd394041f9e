"""Sketches of tensors: what is the same stays the same, and what differs is seen, wherever it differs."""

import ml_dtypes
import numpy as np
import pytest

from grader.checking import record
from grader.checking.compare import TOLERANCES, compare
from grader.checking.sketch import FLOATS, SMALL, Sketch, Viewed, is_plain, sketched
from grader.sandbox.client import Answer
from grader.sandbox.values import Tensor

TYPES = {"bfloat16": ml_dtypes.bfloat16} | {name: np.dtype(name) for name in ("float64", "float32", "float16")}


def tensor(array, dtype=None):
    array = np.ascontiguousarray(array)
    return Tensor(array, dtype or str(array.dtype), array.shape, (1,) * array.ndim, "cpu", False)


def answer(value):
    return Answer(
        value=value, changed={}, next_draw={}, global_rng_moved=False, error=None, output="", seconds=0.0, calls={}
    )


def floats(name, *shape, seed=0):
    return tensor(np.random.default_rng(seed).normal(size=shape).astype(TYPES[name]), name)


def agrees(yours, expected, tmp_path):
    """Compare with a sketch that was written and read again."""
    path = tmp_path / "answers.bin"
    path.unlink(missing_ok=True)
    record.write(path, {((), "call"): answer(sketched(expected))}, "a lab")
    (kept,) = record.read(path)[0].values()
    return compare(answer(yours), kept, {}).difference is None


@pytest.mark.parametrize("name", FLOATS)
def test_a_tensor_is_like_its_own_sketch_and_rounding_stays_within_tolerance(name, tmp_path):
    x = floats(name, 3, 5, 7)
    assert isinstance(sketched(x), Sketch) and sketched(x).array is None
    assert agrees(x, x, tmp_path)
    atol, rtol = TOLERANCES[name]
    draws = np.random.default_rng(1).uniform(-1, 1, size=x.shape)
    wide = x.array.astype(np.float64)
    near = (wide + draws * 0.5 * (atol + rtol * np.abs(wide))).astype(TYPES[name])
    assert agrees(tensor(near, name), x, tmp_path)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("at", [0, 50, 104])
def test_one_entry_that_is_off_is_seen_wherever_it_lies(name, at, tmp_path):
    x = floats(name, 3, 5, 7)
    wide = x.array.astype(np.float64).reshape(-1)
    atol, rtol = TOLERANCES[name]
    wide[at] += 2 * np.sqrt(wide.size) * (atol + rtol * np.abs(wide).max())
    other = tensor(wide.reshape(x.shape).astype(TYPES[name]), name)
    assert not agrees(other, x, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a * 1.001,
        lambda a: a + 1e-3,
        lambda a: -a,
        lambda a: a[::-1],
        lambda a: np.roll(a, 1, axis=-1),
        lambda a: np.where(a > 1, 1, a),
        lambda a: np.sort(a, axis=0),
        lambda a: a * 0,
    ],
    ids=["scaled", "shifted", "negative", "reversed", "rolled", "clipped", "sorted", "zeros"],
)
def test_usual_mistakes_are_seen(change, tmp_path):
    x = floats("float32", 2, 4, 8, 8)
    assert not agrees(tensor(change(x.array).astype(np.float32)), x, tmp_path)


def test_a_thousand_other_tensors_are_none_of_them_the_same(tmp_path):
    x = sketched(floats("float32", 64))
    others = [compare(answer(floats("float32", 64, seed=seed)), answer(x), {}).difference for seed in range(1, 1001)]
    assert None not in others


def test_values_that_are_not_finite_count_by_place_and_kind(tmp_path):
    x = floats("float32", 40)
    x.array[[3, 7]] = np.nan, -np.inf
    assert agrees(x, x, tmp_path)
    for place, value in ((4, np.nan), (7, np.inf), (3, 0.0), (7, np.nan)):
        other = x.array.copy()
        other[place] = value
        assert not agrees(tensor(other), x, tmp_path)


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64", "uint8"])
def test_other_types_are_exact(dtype, tmp_path):
    x = tensor((np.arange(120) % 3).astype(dtype))
    assert isinstance(sketched(x), Sketch) and sketched(x).sums is None
    assert agrees(x, x, tmp_path)
    other = x.array.copy()
    other[60] = 1 - other[60]
    assert not agrees(tensor(other), x, tmp_path)


def test_shape_dtype_and_device_count(tmp_path):
    x = floats("float32", 6, 8)
    assert not agrees(tensor(x.array.reshape(8, 6)), x, tmp_path)
    assert not agrees(tensor(x.array.astype(np.float64)), x, tmp_path)
    assert not agrees(Tensor(None, "float32", x.shape, (8, 1), "meta", False), x, tmp_path)
    assert not agrees([x], x, tmp_path)


def test_small_tensors_plain_values_and_what_overflows_are_kept_whole():
    small = tensor(np.zeros(SMALL // 4, np.float32))
    huge = tensor(np.full(101, 3e38, np.float32))  # an odd number of them: no sum of theirs is small
    meta = Tensor(None, "float32", (100,), (1,), "meta", False)
    value = {"a": [small, 1.5, (huge, "text")], "b": meta}
    kept = sketched(value)
    assert kept == {"a": [small, 1.5, (huge, "text")], "b": meta}


def test_what_a_view_has_made_of_an_answer_stands_for_it(tmp_path):
    def view(value):
        return [float(value["a"].array.std()), value["b"]]

    whole = {"a": floats("float32", 50), "b": floats("float32", 6, 8, seed=1)}
    path = tmp_path / "answers.bin"
    record.write(path, {((), "call"): answer(Viewed(sketched(view(whole))))}, "a lab")
    (kept,) = record.read(path)[0].values()
    assert isinstance(kept.value, Viewed) and isinstance(kept.value.value[1], Sketch)
    assert compare(answer(whole), kept, {}, view).difference is None
    for other in ({**whole, "a": floats("float32", 50, seed=3)}, {**whole, "b": whole["a"]}, whole["a"], None):
        assert compare(answer(other), kept, {}, view).difference is not None


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ([1, 2.5, "a", None, (True,)], True),
        ({"a": [1]}, True),
        ([np.float64(1)], False),
        (np.zeros(3), False),
        ({1}, False),
    ],
)
def test_what_comes_back_as_it_was_is_plain(value, plain):
    assert is_plain(value) is plain


def test_a_sketch_is_a_small_part_of_what_it_stands_for(tmp_path):
    tensors = {((str(seed),), "call"): answer(floats("float32", 2, 4, 8, 8, seed=seed)) for seed in range(50)}
    small = {key: answer(sketched(one.value)) for key, one in tensors.items()}
    for name, answers in (("whole", tensors), ("small", small)):
        record.write(tmp_path / name, answers, "a lab")
    assert 20 * (tmp_path / "small").stat().st_size < (tmp_path / "whole").stat().st_size
