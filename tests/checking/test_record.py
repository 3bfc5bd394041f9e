import gzip

import ml_dtypes
import numpy as np
import pytest

from grader.checking import record
from grader.checking.compare import compare
from grader.errors import CourseError
from grader.sandbox.client import Answer, Error
from grader.sandbox.decode import Made, MadeTensor
from grader.sandbox.values import Refused, Tensor


def tensor(array, dtype=None):
    array = np.asarray(array)
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return Tensor(array, dtype or str(array.dtype), array.shape, strides, "cpu", False)


def answer(value, **other):
    facts = {"changed": {}, "next_draw": {}, "global_rng_moved": False, "error": None, "output": "", "seconds": 0.0}
    return Answer(value=value, **{**facts, **other})


X = np.arange(6.0, dtype=np.float32).reshape(2, 3)
MADE = Made(
    128, "ef", (MadeTensor("x", 64, "bfloat16", (2, 3), (1, 2), "ab12"), MadeTensor("t", 0, "int64", (), (), "cd"))
)
ANSWERS = {
    ((), "plain"): answer(tensor(X), global_rng_moved=True, next_draw={"generator": 0.125}),
    ((), "bfloat16"): answer(tensor(X.astype(ml_dtypes.bfloat16), "bfloat16")),
    ((), "meta"): answer(Tensor(None, "float16", (4, 5), (5, 1), "meta", False)),
    ((), "strided"): answer(tensor(X.T), made=MADE),
    ((), "bool and int"): answer([tensor(X > 2), tensor(X.astype(np.int64))]),
    ((), "plain data"): answer({"a": [1, 2.5, "text", None, True], "b": (1, (2,)), 3: {}}),
    ((), "not finite"): answer([float("nan"), float("inf"), tensor(np.float32([np.nan, -np.inf]))]),
    ((), "error"): answer(None, error=Error("ValueError", "the reference's words", (), 3, "raised")),
    (("f/one",), "plain"): answer(tensor(X + 1), changed={"x": tensor(X)}),
    (("f/one", "f/two"), "plain"): answer(Refused("sparse", "a sparse tensor")),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "answers.bin"
    record.write(path, ANSWERS, "a lab")
    return path


def test_every_answer_comes_back(path):
    found, source = record.read(path)
    assert source == "a lab"
    assert found.keys() == ANSWERS.keys()
    for key, before in ANSWERS.items():
        after = found[key]
        assert (after.next_draw, after.global_rng_moved) == (before.next_draw, before.global_rng_moved)
        if isinstance(before.value, Refused):
            assert after.value == before.value
        else:
            assert compare(after, before, {}).difference is None and compare(after, before, {}).distance == 0, key


def test_a_tensor_keeps_what_is_known_of_it(path):
    found, _ = record.read(path)
    assert found[((), "bfloat16")].value.array.dtype == ml_dtypes.bfloat16
    assert found[((), "bfloat16")].value.dtype == "bfloat16"
    strided = found[((), "strided")].value
    assert found[((), "strided")].made == MADE and found[((), "plain")].made is None
    assert np.array_equal(strided.array, X.T) and strided.strides == (1, 3) and strided.shape == (3, 2)
    nothing = found[((), "meta")].value
    assert nothing.array is None and (nothing.shape, nothing.device, nothing.dtype) == ((4, 5), "meta", "float16")


def test_of_an_error_only_the_type_is_kept(path):
    error = record.read(path)[0][((), "error")].error
    assert error is not None and (error.type, error.kind, error.message) == ("ValueError", "raised", "")
    assert b"the reference's words" not in gzip.decompress(path.read_bytes())


def test_the_same_answers_give_the_same_file_and_the_same_tensor_is_kept_once(path, tmp_path):
    again = tmp_path / "again.bin"
    record.write(again, dict(reversed(ANSWERS.items())), "a lab")
    assert again.read_bytes() == path.read_bytes()
    big = np.random.default_rng(0).normal(size=10_000)
    record.write(again, {((), str(n)): answer(tensor(big)) for n in range(50)}, "a lab")
    assert again.stat().st_size < 2 * big.nbytes


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"no gzip" + data,
        lambda data: data[:60] + bytes([data[60] ^ 255]) + data[61:],
        lambda data: gzip.compress(b"not json\n"),
        lambda data: gzip.compress(b"{}\n"),
        lambda data: gzip.compress(
            b'{"source": "", "edits": [], "calls": [], "forms": [], "entries": [[1]], "sizes": []}\n'
        ),
        lambda data: gzip.compress(b'{"edits": [], "calls": [], "forms": [], "entries": [], "sizes": []}\n'),
        lambda data: gzip.compress(gzip.decompress(data)[:-5]),
        lambda data: gzip.compress(gzip.decompress(data).replace(b'"$tuple"', b'"$dict"')),
        lambda data: gzip.compress(gzip.decompress(data).replace(b'"float32"', b'"float99"')),
    ],
    ids=["empty", "half", "prefix", "bit", "no JSON", "no entries", "entry", "no source", "short", "tag", "dtype"],
)
def test_a_damaged_file_is_a_course_error(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CourseError, match=r"^answers.bin is damaged \(\w+\); build the student edition again.$"):
        record.read(path)


def test_a_missing_file_is_a_course_error(tmp_path):
    with pytest.raises(CourseError, match="FileNotFoundError"):
        record.read(tmp_path / "answers.bin")
