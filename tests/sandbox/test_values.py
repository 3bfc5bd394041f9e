"""Values over the wire and back: dtypes, layouts, containers, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from grader.recipes import arange, array, dtype, ones, randn, tensor, type_names, zeros
from grader.sandbox.launcher import Sandbox
from grader.sandbox.values import Dtype, Refused, Tensor, printable

from .conftest import call, once, running

SAME = "def same(x):\n    return x\n"


def numpy_type(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


@pytest.mark.parametrize("name", [*type_names, "int8", "int16", "complex64", "complex128"])
def test_every_dtype_survives_the_round_trip(open_sandbox: Sandbox, name: str) -> None:
    values = (np.arange(-4, 8).reshape(3, 4) * 1.5).astype("complex128" if "complex" in name else "float64")
    given = np.abs(values).astype("uint8") if name == "uint8" else values
    given = given.astype(numpy_type(name))
    back = once(open_sandbox, SAME, "same", array(given)).value
    assert isinstance(back, Tensor)
    assert (back.dtype, back.shape, back.strides, back.device) == (name, (3, 4), (4, 1), "cpu")
    assert back.array is not None
    assert back.array.dtype == given.dtype
    assert back.array.tobytes() == given.tobytes()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1)])
def test_odd_shapes_survive(open_sandbox: Sandbox, shape: tuple[int, ...]) -> None:
    given = np.full(shape, 2.5, np.float32)
    back = once(open_sandbox, SAME, "same", given).value
    assert back.array.shape == shape
    assert np.array_equal(back.array, given)


def test_strides_meta_and_requires_grad_survive(open_sandbox: Sandbox) -> None:
    with running(open_sandbox, SAME) as worker:
        turned = call(worker, "same", randn(0, 2, 3).transpose(0, 1)).value
        assert (turned.shape, turned.strides) == ((3, 2), (1, 3))
        straight = call(worker, "same", randn(0, 2, 3)).value
        assert np.array_equal(turned.array, straight.array.T)
        spread = call(worker, "same", ones(1).expand(4, 5)).value
        assert (spread.shape, spread.strides) == ((4, 5), (0, 0))
        meta = call(worker, "same", zeros(3, 4).to("bfloat16").on("meta")).value
        assert (meta.device, meta.array, meta.dtype, meta.shape) == ("meta", None, "bfloat16", (3, 4))
        assert call(worker, "same", zeros(2).requires_grad_()).value.requires_grad
        assert not straight.requires_grad


def test_a_float64_of_numpy_is_a_float_and_no_other_number_of_numpy_is(open_sandbox: Sandbox) -> None:
    source = "import numpy as np\ndef f(name):\n    return getattr(np, name)(0.25)\n"
    with running(open_sandbox, source) as worker:
        found = call(worker, "f", "float64").value
        assert type(found) is float and found == 0.25
        assert isinstance(call(worker, "f", "float32").value, Refused)


def test_huge_meta_tensors_cost_nothing(open_sandbox: Sandbox) -> None:
    source = "import torch\ndef f():\n    return torch.empty(1 << 20, 1 << 20, device='meta')\n"
    assert once(open_sandbox, source, "f").value.shape == (1 << 20, 1 << 20)


def test_plain_values_survive(open_sandbox: Sandbox) -> None:
    given = {"a": [1, -2.5, True, None, "ᾱ 😀"], 3: (1, (2, [])), (1, 2): math.inf, "b": {"c": -math.inf}}
    assert once(open_sandbox, SAME, "same", given).value == given
    assert math.isnan(once(open_sandbox, SAME, "same", math.nan).value)


def test_types_are_told_apart(open_sandbox: Sandbox) -> None:
    source = "def f():\n    return True, 1, 1.0, [1], (1,)\n"
    value = once(open_sandbox, source, "f").value
    assert [type(item) for item in value] == [bool, int, float, list, tuple]


def test_subclasses_of_plain_types_are_plain(open_sandbox: Sandbox) -> None:
    source = (
        "import collections, enum, torch\n"
        "class Color(enum.IntEnum):\n    RED = 1\n"
        "P = collections.namedtuple('P', 'a b')\n"
        "def f():\n"
        "    d = collections.OrderedDict(x=torch.nn.Parameter(torch.ones(2)))\n"
        "    return P(1, torch.Size([2, 3])), d, Color.RED, torch.bfloat16\n"
    )
    pair, mapping, color, kind = once(open_sandbox, source, "f").value
    assert pair == (1, (2, 3))
    assert type(color) is int
    assert kind == Dtype("bfloat16")
    assert mapping["x"].requires_grad
    assert np.array_equal(mapping["x"].array, [1, 1])


REFUSED = {
    "torch.ones(2, 2).to_sparse()": "sparse",
    "torch.ones(2, 2).to_sparse_csr()": "sparse",
    "torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)": "quantized",
    "torch.zeros(1).expand(1 << 34)": "too_large",
    "10 ** 30": "too_large",
    "'a' * 200_000": "too_large",
    "[0] * 60_000": "too_large",
    "torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])": "nested",
    "torch.ones(2).to(torch.float8_e4m3fn)": "dtype",
    "object()": "object",
    "{1, 2}": "object",
    "(i for i in range(3))": "object",
    "1j": "object",
    "torch.nn.Linear(2, 2)": "object",
    "torch.ones(2).numpy()": "foreign",
    "torch.ones(2).numpy().sum()": "foreign",
    "Evil()": "object",
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("expression", "kind"), REFUSED.items(), ids=list(REFUSED))
def test_what_cannot_travel_is_refused_with_a_phrase(open_sandbox: Sandbox, expression: str, kind: str) -> None:
    evil = "class Evil:\n    @property\n    def __class__(self):\n        raise SystemExit\n"
    answer = once(open_sandbox, f"import torch\n{evil}def f():\n    return {expression}\n", "f")
    assert isinstance(answer.value, Refused), answer
    assert answer.value.kind == kind
    assert answer.value.says


def test_a_refused_part_leaves_the_rest(open_sandbox: Sandbox) -> None:
    source = "import torch\ndef f():\n    return [torch.ones(2), object(), torch.zeros(1)]\n"
    first, middle, last = once(open_sandbox, source, "f").value
    assert np.array_equal(first.array, [1, 1])
    assert isinstance(middle, Refused)
    assert np.array_equal(last.array, [0])


def test_conjugated_views_are_resolved(open_sandbox: Sandbox) -> None:
    source = "import torch\ndef f():\n    return torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j]).conj().imag\n"
    whole, part = once(open_sandbox, source, "f").value
    assert whole.array[0] == 1 - 2j
    assert part.array[0] == -2


def test_recipes_make_what_torch_makes(open_sandbox: Sandbox) -> None:
    source = (
        "import torch\n"
        "def f(x, n, t, d):\n"
        "    same = torch.equal(x, torch.randn(2, 3, generator=torch.Generator().manual_seed(7)))\n"
        "    return same, n.dtype, t.dtype, d, t[1].item()\n"
    )
    answer = once(open_sandbox, source, "f", randn(7, 2, 3), arange(0, 5), tensor([1.5, 2]), dtype("float16"))
    assert answer.value == (True, Dtype("int64"), Dtype("float32"), Dtype("float16"), 2.0)


def test_printable_shows_what_would_act_on_a_terminal() -> None:
    assert printable("a\x1b[2J\r\u202e\x9b\u2066\ud800b", 100) == "a\\x1b[2J\\r\\u202e\\x9b\\u2066\\ud800b"
    assert printable("ᾱ\n\tε", 100) == "ᾱ\n\tε"
    assert printable("x" * 30, 10) == "x" * 10 + " … (20 more characters)"
