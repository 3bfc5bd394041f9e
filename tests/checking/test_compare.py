import re

import ml_dtypes
import numpy as np
import pytest

from grader.checking.compare import TOLERANCES, compare
from grader.sandbox.client import Answer, Error
from grader.sandbox.values import Dtype, Refused, Tensor

X = np.linspace(-3.0, 5.0, 12, dtype=np.float32).reshape(3, 4)


def tensor(array, dtype=None, device="cpu", grad=False):
    array = np.asarray(array)
    return Tensor(array, dtype or str(array.dtype), array.shape, (), device, grad)


def meta(*shape, dtype="float32"):
    return Tensor(None, dtype, shape, (), "meta", False)


def answer(value=None, **other):
    facts = {"changed": {}, "next_draw": {}, "global_rng_moved": False, "error": None, "output": "", "seconds": 0.0}
    return Answer(value=value, **{**facts, **other})


def raised(kind, message="with 0.73125 in it"):
    return answer(error=Error(kind, message, (), None, "raised"))


def difference(yours, expected, view=None, tolerance=None):
    def as_answer(value):
        return value if isinstance(value, Answer) else answer(value)

    return compare(as_answer(yours), as_answer(expected), tolerance or {}, view).difference


def changed(array, index, value):
    copy = array.copy()
    copy[index] = value
    return copy


# What is the same


@pytest.mark.parametrize(
    ("yours", "expected"),
    [
        (tensor(X), tensor(X)),
        (tensor(X + 1e-6), tensor(X)),
        (tensor(X, grad=True), tensor(X)),  # whether gradients are asked for is no value
        (tensor(np.full(3, np.nan, np.float32)), tensor(np.full(3, np.nan, np.float32))),
        (tensor(np.array([np.inf, -np.inf, 1], np.float32)), tensor(np.array([np.inf, -np.inf, 1], np.float32))),
        (tensor(np.zeros((0, 4), np.float32)), tensor(np.zeros((0, 4), np.float32))),
        (tensor(np.float32(2.5)), tensor(np.float32(2.5))),
        (meta(2, 3), meta(2, 3)),
        ([1, 2.0, "a", None, True], [1, 2.0, "a", None, True]),
        ((tensor(X), {"a": [tensor(X)]}), (tensor(X), {"a": [tensor(X)]})),
        ([tensor(X)], (tensor(X),)),  # a list in place of a tuple is a matter of taste
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
        (None, None),
        (float("nan"), float("nan")),
        (0.1 + 0.2, 0.3),
        (Dtype("float16"), Dtype("float16")),
    ],
    ids=str,
)
def test_the_same_is_the_same(yours, expected):
    assert difference(yours, expected) is None


# What differs, in words


@pytest.mark.parametrize(
    ("yours", "expected", "says", "detail"),
    [
        (tensor(X[:2]), tensor(X), "has not the expected shape", "The shape is (2, 4); expected (3, 4)."),
        (tensor(X[None]), tensor(X), "has not the expected shape", "(1, 3, 4); expected (3, 4)"),
        (tensor(X.astype(np.float64)), tensor(X), "dtype float64 where float32", "dtype float64 where float32"),
        (meta(3, 4), tensor(X), "on device meta where cpu", "on device meta where cpu"),
        (tensor(X, device="cuda"), tensor(X), "on device cuda where cpu", "on device cuda where cpu"),
        (tensor(changed(X, (1, 2), np.nan)), tensor(X), "contains NaN where other values are expected.",
         "The result is nan at [1, 2] where 1.4 is expected; 1 of 12 values differ so."),
        (tensor(changed(X, 0, np.inf)), tensor(X), "contains infinite values where",
         "The result is inf at [0, 0] where -3 is expected; 4 of 12 values differ so."),
        (tensor(X), tensor(changed(X, 0, np.nan)), "Every value is finite where some are expected not to be.",
         "Every value is finite where nan is expected at [0, 0]; 4 of 12 values differ so."),
        (tensor(X), tensor(changed(X, (1, 3), -np.inf)), "Every value is finite",
         "Every value is finite where -inf is expected at [1, 3]; 1 of 12 values differ so."),
        (tensor(changed(X, 0, np.inf)), tensor(changed(X, 0, -np.inf)), "contains infinite values",
         "The result is inf at [0, 0] where -inf is expected; 4 of 12 values differ so."),
        (tensor(changed(X, 0, np.inf)), tensor(changed(changed(X, 0, np.inf), 1, np.nan)), "contains infinite values",
         "The result is -0.091 at [1, 0] where nan is expected; 4 of 12 values differ so."),
        (float("nan"), 1.5, "contains NaN", "The result is nan where 1.5 is expected."),
        (tensor(changed(X, (2, 3), 7)), tensor(X), "The values differ",
         "The values differ, most at [2, 3]: 7, expected 5, off by 2."),
        (tensor(np.array([1, 2, 3])), tensor(np.array([1, 9, 9])), "Entries differ",
         "2 of 3 entries differ, the first at [1]: 2, expected 9."),
        (tensor(np.array([True, False])), tensor(np.array([True, True])), "Entries differ", "1 of 2 entries"),
        (None, tensor(X), "It gives None where a tensor is expected. Is a `return` missing?", "Is a `return` missing?"),
        ([1.0], tensor(X), "It gives a list where a tensor is expected.", "a list"),
        (tensor(X), None, "It gives a tensor where None is expected.", "a tensor"),
        (tensor(X), {"a": 1}, "It gives a tensor where a dict is expected.", "a dict"),
        (tensor(X), 1.0, "It gives a tensor where a plain float is expected. `.item()` makes one of a tensor of one",
         "a plain float"),
        (tensor(X), 3, "It gives a tensor where a plain int is expected. `.item()`", "a plain int"),
        (1, 1.0, "It gives an int where a float is expected.", "an int"),
        (True, 1, "It gives a bool where an int is expected.", "a bool"),
        (2, 3, "It gives another value.", "It gives 2; expected 3."),
        ("a", "b", "It gives another value.", "It gives 'a'; expected 'b'."),
        (0.5, 0.25, "The values differ", "The value differs: 0.5, expected 0.25, off by 0.25."),
        ([1, 2], [1, 2, 3], "The number of entries differs.", "There are 2 entries; expected 3."),
        ({"a": 1, "c": 2}, {"a": 1, "b": 2}, "Missing: 'b'.", "Missing: 'b'; unexpected: 'c'."),
        ({"a": [1, 2]}, {"a": [1, 3]}, "another value at ['a'][1]", "It gives 2 at ['a'][1]; expected 3."),
        (Refused("sparse", "a sparse tensor"), tensor(X), "It returns a sparse tensor.", "expected a tensor"),
        (Refused("object", "an object of type T0.73125"), tensor(X), "neither a tensor nor plain data",
         "an object of type T0.73125; expected a tensor."),
        (Refused("made up", "0.73125"), tensor(X), "It returns a value of another kind.", "It returns 0.73125"),
        (Refused("object", "x"), Refused("object", "x"), "neither a tensor", "x"),  # it equals nothing, not even itself
        (Dtype("float16"), Dtype("float32"), "another value", "float16"),
    ],
    ids=str,
)  # fmt: skip
def test_a_difference_is_said_in_words(yours, expected, says, detail):
    found = difference(yours, expected)
    assert found is not None and says in found.says and detail in found.detail
    assert found.says.endswith((".", "?"))


def test_what_is_said_of_a_hidden_check_holds_no_digit_of_a_value():
    secret = np.array([0.73125, -41.5], np.float32)
    pairs = [
        (tensor(secret), tensor(secret + 1)),
        (tensor(secret), tensor(changed(secret, 0, np.nan))),
        (tensor(secret[:1]), tensor(secret)),
        (tensor(secret.astype(np.int64)), tensor(secret.astype(np.int64) + 5)),
        (0.73125, 41.5),
        (73125, 415),
        ("0.73125", "41.5"),
        ({"0.73125": 1}, {"a": 1}),
        ([0.73125] * 5, [1.0]),
        (Refused("too_large", "a text of 73125 characters"), tensor(secret)),
        (Refused("foreign", "a numpy.x73125"), 3),
        (raised("ValueError"), tensor(secret)),
        (tensor(secret), raised("ValueError")),
        (answer(1, changed={"x73125": tensor(secret)}), answer(1)),
        (answer(1, next_draw={"generator": 0.73125}), answer(1, next_draw={"generator": 0.25})),
        (answer(1, global_rng_moved=True), answer(1)),
    ]
    for yours, expected in pairs:
        found = difference(yours, expected)
        assert found is not None and not re.search(r"\d", found.says), found.says


@pytest.mark.parametrize(
    ("yours", "expected", "shown"),
    [
        (0.02, 0.020003, "0.02, expected 0.020003, off by 3e-06."),
        (945.3, 945.1, "945.3, expected 945.1, off by 0.2."),
        (1.0499999, 1.0500001, "1.0499999, expected 1.0500001, off by 2e-07."),  # not 1.0 and 1.1
        (1.0004, 1.0, "1.0004, expected 1, off by 0.0004."),
        (7.0, 5.0, "7, expected 5, off by 2."),
        (-1e30, 1e30, "-1e+30, expected 1e+30, off by 2e+30."),
    ],
)
def test_two_numbers_are_shown_with_as_many_digits_as_tell_them_apart(yours, expected, shown):
    found = difference(yours, expected, tolerance={"float32": (1e-9, 0.0)})
    assert found.detail.endswith(f": {shown}")


def test_a_sentence_names_one_place():
    # The largest error is at [0], the one that is furthest out of tolerance at [1].
    found = difference(tensor(np.float64([1001.0, 0.5])), tensor(np.float64([1000.0, 0.0])))
    assert found.detail == "The values differ, most at [1]: 0.5, expected 0, off by 0.5."
    assert (found.max_error, found.yours, found.expected) == (0.5, "0.5", "0")


# Tolerances


@pytest.mark.parametrize("dtype", list(TOLERANCES))
def test_a_tolerance_is_a_sum_of_an_absolute_and_a_relative_part(dtype):
    atol, rtol = TOLERANCES[dtype]
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    for value in (0.0, 100.0):
        limit = atol + rtol * value
        for factor, right in ((0.4, True), (2.5, False)):
            # bfloat16 keeps eight bits, so what is stored is measured, not what was meant
            mine = np.array([value + factor * limit, 0], kind)
            assert (difference(tensor(mine, dtype), tensor(np.array([value, 0], kind), dtype)) is None) == right


def test_the_distance_is_in_units_of_tolerance():
    found = compare(answer(tensor(X + np.float32(0.5))), answer(tensor(X)), {"float32": (0.25, 0.0)})
    assert found.distance == pytest.approx(2.0) and found.difference.max_error == 0.5
    found = compare(answer(tensor(X + np.float32(0.5))), answer(tensor(X)), {"float32": (1.0, 0.0)})
    assert found.difference is None and found.distance == pytest.approx(0.5)


def test_the_largest_of_several_differences_is_shown_and_structure_goes_first():
    yours = [tensor(X + 1), tensor(X + 3), tensor(X + 2)]
    found = difference(yours, [tensor(X)] * 3)
    assert found.where == "[1]" and found.max_error == 3
    found = difference([*yours, 1], [*[tensor(X)] * 3, "text"])
    assert found.where == "[3]" and "text is expected" in found.says


def test_a_distance_is_finite_where_the_expected_value_is_huge_or_nought():
    found = compare(answer(tensor(np.float32([1e30, 0.0]))), answer(tensor(np.float32([1e30, 0.0]))), {})
    assert found.distance == 0.0


# What a call did besides


def test_an_input_that_was_overwritten():
    found = difference(answer(1, changed={"x0": tensor(X)}), answer(1))
    assert "An input was overwritten" in found.says and "The input x0 was overwritten" in found.detail
    found = difference(answer(1), answer(1, changed={"x0": tensor(X)}))
    assert found.says == "The input x0 should have been changed in place."
    assert difference(answer(1, changed={"x0": tensor(X)}), answer(1, changed={"x0": tensor(X)})) is None
    found = difference(answer(1, changed={"x0": tensor(X + 1)}), answer(1, changed={"x0": tensor(X)}))
    assert found.where == "input x0"


def test_random_numbers_are_those_that_were_meant():
    drawn = {"generator": 0.5}
    assert difference(answer(1, next_draw=drawn), answer(1, next_draw=drawn)) is None
    assert difference(
        answer(1, next_draw={"generator": 0.6}, untouched=("generator",)), answer(1, next_draw=drawn)
    ).says == ("Nothing was drawn from generator.")
    for other in ({"generator": 0.6}, {}):
        found = difference(answer(1, next_draw=other), answer(1, next_draw=drawn))
        assert found.says.startswith("The random numbers taken from generator are not those expected")
    found = difference(answer(1, global_rng_moved=True), answer(1))
    assert found.says == "Random numbers came from torch's global state, which has to stay as it is."
    # Only where there is one can it be meant.
    found = difference(answer(1, next_draw=drawn, global_rng_moved=True), answer(1, next_draw=drawn))
    assert found.says.endswith("draw from the generator you are given.")
    found = difference(answer(1), answer(1, global_rng_moved=True))
    assert "should have been used" in found.says


# Exceptions


def test_an_exception_is_compared_by_its_type():
    assert difference(raised("ValueError", "a"), raised("ValueError", "b")) is None
    found = difference(raised("TypeError"), raised("ValueError"))
    assert found.detail == "It raises TypeError; ValueError was expected."
    assert "ValueError" not in found.says.replace("It raises TypeError", "")
    found = difference(1, raised("ValueError"))
    assert found.says == "It returns a value where these inputs have to be refused with an exception."
    assert found.detail == "It returns a value; ValueError was expected."
    found = difference(None, raised("ValueError"))
    assert found.says == "It returns nothing where these inputs have to be refused with an exception."
    assert found.detail == "It returns nothing; ValueError was expected."
    crash = answer(error=Error("", "ended", (), None, "crashed"))
    assert difference(crash, raised("ValueError")) is not None and difference(crash, crash) is not None


def test_an_exception_derived_from_the_expected_one_counts():
    own = answer(error=Error("Own", "no", (), None, "raised", ("ValueError", "Exception")))
    assert difference(own, raised("ValueError")) is None
    assert difference(own, raised("TypeError")).detail == "It raises Own; TypeError was expected."
    assert difference(raised("ValueError"), own) is not None  # not the other way round
    assert difference(raised("UnicodeError"), raised("ValueError")) is not None  # nobody meant that one


# Views


def test_a_view_is_what_is_compared():
    def within(value):
        return {"peak": "within" if value["peak"] <= 100 else "over"}

    assert difference({"peak": 90}, {"peak": 60}, view=within) is None
    found = difference({"peak": 110}, {"peak": 60}, view=within)
    assert found.where == "['peak']" and found.detail == "It gives 'over' at ['peak']; expected 'within'."
    # An answer of another form is compared as it is.
    for odd in (None, [1], {"other": 1}, tensor(X)):
        found = difference(odd, {"peak": 60}, view=within)
        assert found is not None and ("a dict is expected" in found.says or "keys of the dict" in found.says)
    assert difference({"peak": "many"}, {"peak": 60}, view=within) is not None


def test_a_view_that_the_reference_does_not_fit_is_ours():
    with pytest.raises(KeyError):
        compare(answer({"peak": 1}), answer({}), {}, lambda value: value["peak"])


def test_a_view_is_not_shown_far_more_than_is_expected():
    shown = []

    def words(value):
        shown.append(value.array.size)
        return str(value.array[:4].tolist())

    expected, huge = tensor(np.zeros(4, np.int8)), tensor(np.zeros(3 << 20, np.int8))
    assert difference(expected, expected, words) is None
    found = difference(huge, expected, words)
    assert found is not None and "shape" in found.says
    assert set(shown) == {4}
