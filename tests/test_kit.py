import numpy as np
import pytest

from grader.kit import Draw, beside, entry, part, values
from grader.recipes import randn
from grader.sandbox.values import Tensor


def tensor(array):
    array = np.asarray(array, dtype=np.float32)
    return Tensor(array, "float32", array.shape, array.strides, "cpu", False)


def test_each_draw_takes_the_next_stream():
    draw = Draw(100)
    drawn = [draw.normal(2, 3), *draw.normals(2, 4), draw.uniform(5), draw.generator(), draw.seed()]
    shown = [str(d) for d in drawn]
    assert shown == ["randn(100, 2, 3)", "randn(101, 4)", "randn(102, 4)", "rand(103, 5)", "generator(104)", "105"]
    assert str(Draw(2**64 - 1).normals(2, 1)[1]) == str(randn(0, 1))


def test_numbers_lie_in_their_range_and_reach_both_ends():
    wholes = {Draw(seed).whole(3, 7) for seed in range(200)}
    assert wholes == set(range(3, 8))
    reals = [Draw(seed).real(-1.0, 2.0) for seed in range(300)]
    assert min(reals) < -0.9 and max(reals) > 1.9 and all(-1 <= r <= 2 for r in reals)
    assert {Draw(seed).choice("abc") for seed in range(100)} == set("abc")
    draw = Draw(5)
    assert len({draw.whole(0, 10**9) for _ in range(50)}) == 50


def test_a_part_of_an_answer():
    answer = {"loss": 1, "gradient": 2, "calls": 3}
    assert part("calls")(answer) == 3 and part("loss", "gradient")(answer) == {"loss": 1, "gradient": 2}
    with pytest.raises(KeyError):
        part("other")(answer)


def test_what_is_no_tensor_of_the_shape_fails_with_a_sentence():
    assert values(tensor([1, 2]), 2).dtype == np.float64
    for answer, says in ((None, "A tensor is expected"), (3.0, "A tensor is expected"), (tensor([1]), "another shape")):
        with pytest.raises(AssertionError, match=says):
            values(answer, 2)
    assert entry({"a": 1}, "a") == 1 and entry({"a": 1}, "b") is None and entry([1], "a") is None


def test_rows_of_a_picture_are_the_reference_alone_where_the_student_has_none():
    picture = tensor(np.zeros((2, 3, 4, 4)))
    for yours in (None, tensor(np.zeros((2, 3, 4, 5))), 3.0):
        assert [label for label, _ in beside(yours, picture)] == ["reference"]
    rows = beside({"film": picture}, {"film": picture}, "film", 0.5)
    assert [label for label, _ in rows] == ["reference", "yours", "|error|, 0 to 0.5"]
