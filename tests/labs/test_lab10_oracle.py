"""Lab 10's reference against torch's own attention, golden tensors, identities and a hand calculation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from tests.labs import witness

attention = witness.reference("lab10").query_chunked_attention
RUNS = sorted({name.split("/")[0] for name in witness.golden("lab10")})


def inputs(seed, batch, heads, n, m, d, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, heads, n, d), (batch, heads, m, d), (batch, heads, m, d)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize(
    ("batch", "heads", "n", "m", "d", "chunk"),
    [
        (1, 2, 128, 128, 16, 16),
        (2, 3, 7, 12, 5, 3),
        (1, 1, 5, 4, 8, 64),
        (2, 2, 9, 9, 8, 1),
        (1, 4, 20, 33, 40, 8),
    ],
)
def test_torch_attention(backend, batch, heads, n, m, d, chunk):
    q, k, v = inputs(n, batch, heads, n, m, d)
    with sdpa_kernel(backend):
        theirs = scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attention(q, k, v, chunk), theirs, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize(("dtype", "atol", "rtol"), [(torch.float16, 4e-3, 8e-3), (torch.bfloat16, 3e-2, 3e-2)])
def test_half_precision(dtype, atol, rtol):
    q, k, v = inputs(1, 1, 2, 13, 13, 8, dtype)
    exact = scaled_dot_product_attention(q.double(), k.double(), v.double())
    ours = attention(q, k, v, 5)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.double(), exact, atol=atol, rtol=rtol)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_golden(run, chunk):
    q, k, v, out = (witness.case("lab10", run)[name] for name in ("q", "k", "v", "out"))
    torch.testing.assert_close(attention(q, k, v, chunk), out, atol=2e-5, rtol=2e-5)


def test_chunk_does_not_show():
    q, k, v = inputs(2, 2, 2, 30, 17, 6)
    whole = attention(q, k, v, 30)
    for chunk in (1, 7, 29, 31):
        torch.testing.assert_close(attention(q, k, v, chunk), whole, atol=1e-6, rtol=1e-6)


def test_by_hand():
    """One head of size 4, two keys: scores 2·ln 3 / √4 = ln 3 and 0, so the weights are 3/4 and 1/4."""
    q = torch.tensor([2 * math.log(3), 0, 0, 0]).reshape(1, 1, 1, 4)
    k = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]).reshape(1, 1, 2, 4)
    v = torch.tensor([[4.0, 0, 8, 1], [0, 4.0, 0, 1]]).reshape(1, 1, 2, 4)
    expected = torch.tensor([3.0, 1, 6, 1]).reshape(1, 1, 1, 4)
    torch.testing.assert_close(attention(q, k, v, 1), expected)


def test_no_keys_preferred_gives_the_mean():
    _, k, v = inputs(3, 1, 2, 6, 9, 4)
    mean = v.mean(dim=2, keepdim=True).expand(1, 2, 6, 4)
    torch.testing.assert_close(attention(torch.zeros(1, 2, 6, 4), k, v, 4), mean)
