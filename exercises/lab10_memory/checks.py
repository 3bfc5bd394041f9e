"""Hidden checks of lab 10. Runs in the judge; sees no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from grader.kit import check, randn


def attention_bounds(batch: int, heads: int, n: int, m: int, d: int, chunk: int) -> Callable[[Any], Any]:
    """Return the view of `metered` for float32 inputs of this size: integers become words, the output stays.

    Six blocks, where the plainest form needs three: a softmax written out by hand, with the last chunk's names still
    bound, holds five. The next worse thing, all scores at once, needs 2·N/chunk of them.
    """
    out, block = 4 * batch * heads * n * d, 4 * batch * heads * chunk * m
    needed = 4 * batch * heads * n * m * d
    tensors = 12 * batch * heads * math.ceil(n / chunk)

    def view(value: Any) -> Any:
        flops = value["flops"]
        fused = any("scaled_dot_product" in name for name in value["ops"])
        return {
            "out": value["out"],
            "peak": "within" if value["peak"] <= 2 * out + 6 * block else "over",
            "largest": "within" if value["largest"] <= max(out, block) else "over",
            "flops": "missing" if flops < needed else "within" if flops <= 1.3 * needed else "too many",
            "tensors": "few" if value["tensors"] <= tensors else "too many",
            "library kernel": "used" if fused else "not used",
        }

    return view


@check("query_chunked_attention", visible=True)
def test_exact(compare, draw):
    """The output is exact attention: softmax(q·kᵀ/√d)·v over all keys."""
    seed = draw.seed()
    q, k, v = (randn(seed + i, 2, 3, 12, 8) for i in range(3))
    compare.query_chunked_attention(q, k, v, 4)


@check("query_chunked_attention", visible=True)
def test_last_chunk_is_shorter(compare, draw):
    """All queries are answered when the chunk does not divide their number."""
    seed = draw.seed()
    q, k, v = (randn(seed + i, 1, 2, 11, 8) for i in range(3))
    compare.query_chunked_attention(q, k, v, 4)


@check("query_chunked_attention", visible=True)
def test_cross_attention(compare, draw):
    """There may be more or fewer keys than queries."""
    seed = draw.seed()
    compare.query_chunked_attention(
        randn(seed, 1, 2, 9, 8), randn(seed + 1, 1, 2, 20, 8), randn(seed + 2, 1, 2, 20, 8), 3
    )


@check("query_chunked_attention", visible=True, weight=2)
def test_memory(compare, draw):
    """Memory stays within a few blocks of chunk x M scores, and the work is done once, by your own operations."""
    seed = draw.seed()
    q, k, v = (randn(seed + i, 1, 2, 256, 24) for i in range(3))
    compare.play("metered", view=attention_bounds(1, 2, 256, 256, 24, 16), q=q, k=k, v=v, chunk=16)


@check("query_chunked_attention", weight=2)
def test_memory_many_heads(compare, draw):
    """Memory stays within the bound when batch and heads are many."""
    seed = draw.seed()
    q, k, v = randn(seed, 2, 9, 1024, 8), randn(seed + 1, 2, 9, 64, 8), randn(seed + 2, 2, 9, 64, 8)
    compare.play("metered", view=attention_bounds(2, 9, 1024, 64, 8, 128), q=q, k=k, v=v, chunk=128)


@check("query_chunked_attention")
def test_memory_cross_attention(compare, draw):
    """Memory stays within the bound with another number of keys and a last chunk that is shorter."""
    seed = draw.seed()
    for heads, n, m, d, chunk in [(12, 870, 64, 10, 80), (2, 150, 260, 12, 16)]:
        q, k, v = (
            randn(seed, 1, heads, n, d),
            randn(seed + 1, 1, heads, m, d),
            randn(seed + 2, 1, heads, m, d),
        )
        compare.play("metered", view=attention_bounds(1, heads, n, m, d, chunk), q=q, k=k, v=v, chunk=chunk)


@check("query_chunked_attention")
def test_chunk_sizes(compare, draw):
    """Any chunk gives the same values: one query at a time, all but one, more than there are."""
    seed = draw.seed()
    for n, m, chunk in [(7, 5, 1), (7, 9, 6), (5, 7, 64)]:
        compare.query_chunked_attention(
            randn(seed, 2, 1, n, 5), randn(seed + 1, 2, 1, m, 5), randn(seed + 2, 2, 1, m, 5), chunk
        )


@check("query_chunked_attention")
def test_memory_layout(compare, draw):
    """Heads that were split off without a copy, as a network hands them over, give the same values."""
    seed = draw.seed()
    q, k, v = (randn(seed + i, 2, 10, 3, 7).transpose(1, 2) for i in range(3))
    compare.query_chunked_attention(q, k, v, 4)


@check("query_chunked_attention")
def test_large_scores(compare, draw):
    """Large scores do not overflow: a softmax only depends on differences."""
    seed = draw.seed()
    for chunk in (4, 32):
        compare.query_chunked_attention(
            randn(seed, 1, 2, 10, 16) * 40.0,
            randn(seed + 1, 1, 2, 14, 16),
            randn(seed + 2, 1, 2, 14, 16),
            chunk,
        )


@check("query_chunked_attention")
def test_half_precision(compare, draw):
    """Inputs in half precision give an output of the same type."""
    seed = draw.seed()
    for dtype in ("bfloat16", "float16"):
        q, k, v = (randn(seed + i, 1, 2, 13, 8).to(dtype) for i in range(3))
        compare.query_chunked_attention(q, k, v, 5)
