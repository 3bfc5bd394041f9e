"""Checks of lab 10. What the meter says is made in the student's process: it explains, and earns next to nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from grader.kit import check


def attention_bounds(batch: int, heads: int, n: int, m: int, d: int, chunk: int) -> Callable[[Any], Any]:
    """Return the view of `metered` for float32 inputs of this size: what it cost, integers as words.

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
            "peak": "within" if value["peak"] <= 2 * out + 6 * block else "over",
            "largest": "within" if value["largest"] <= max(out, block) else "over",
            "flops": "missing" if flops < needed else "within" if flops <= 1.3 * needed else "too many",
            "tensors": "few" if value["tensors"] <= tensors else "too many",
            "library kernel": "used" if fused else "not used",
        }

    return view


@check("query_chunked_attention", visible=True, weight=4)
def test_exact(compare, draw):
    """The output is exact attention: softmax(q·kᵀ/√d)·v over all keys."""
    compare.query_chunked_attention(*draw.normals(3, 2, 3, 12, 8), 4)


@check("query_chunked_attention", visible=True, weight=4)
def test_last_chunk_is_shorter(compare, draw):
    """All queries are answered when the chunk does not divide their number."""
    compare.query_chunked_attention(*draw.normals(3, 1, 2, 11, 8), 4)


@check("query_chunked_attention", visible=True, weight=4)
def test_cross_attention(compare, draw):
    """There may be more or fewer keys than queries."""
    compare.query_chunked_attention(draw.normal(1, 2, 9, 8), *draw.normals(2, 1, 2, 20, 8), 3)


@check("query_chunked_attention", visible=True, weight=14, memory_mib=30)
def test_long_sequence(compare, draw):
    """4096 queries and keys are answered, 64 at a time, in a process that may use 30 MiB: all scores would be 64."""
    # Smallest limits, in MiB, with torch 2.13 on x86-64: right forms 11 to 13; all scores at once 66 in place, 136 to
    # 200 otherwise (tests/sandbox/test_tight.py).
    compare.query_chunked_attention(*draw.normals(3, 1, 1, 4096, 8), 64)


@check("query_chunked_attention", visible=True, subject="What it costs", reported=True)
def test_memory(compare, draw):
    """Memory stays within a few blocks of chunk x M scores, and the work is done once, by your own operations."""
    meter(compare, draw, 1, 2, 160, 400, 8, 2)


@check("query_chunked_attention", subject="What it costs", reported=True)
def test_memory_many_heads(compare, draw):
    """Memory stays within the bound when batch and heads are many."""
    meter(compare, draw, 2, 9, 1024, 64, 8, 128)


@check("query_chunked_attention", subject="What it costs", reported=True)
def test_memory_cross_attention(compare, draw):
    """Memory stays within the bound with another number of keys and a last chunk that is shorter."""
    meter(compare, draw, 1, 12, 870, 64, 10, 80)
    meter(compare, draw, 1, 2, 150, 260, 12, 16)


@check("query_chunked_attention", subject="What it costs", reported=True)
def test_few_large_chunks(compare, draw):
    """A chunk is worked on at once: few large chunks are few rounds, and few new tensors."""
    meter(compare, draw, 1, 2, 64, 90, 8, 32)
    meter(compare, draw, 1, 1, 240, 120, 8, 80)


@check("query_chunked_attention", weight=4)
def test_chunk_sizes(compare, draw):
    """Any chunk gives the same values: one query at a time, all but one, more than there are."""
    for n, m, chunk in [(7, 5, 1), (7, 9, 6), (5, 7, 64)]:
        compare.query_chunked_attention(draw.normal(2, 1, n, 5), *draw.normals(2, 2, 1, m, 5), chunk)


@check("query_chunked_attention", weight=4)
def test_memory_layout(compare, draw):
    """Heads that were split off without a copy, as a network hands them over, give the same values."""
    compare.query_chunked_attention(*(one.transpose(1, 2) for one in draw.normals(3, 2, 10, 3, 7)), 4)


@check("query_chunked_attention", weight=4)
def test_large_scores(compare, draw):
    """Large scores do not overflow: a softmax only depends on differences."""
    for chunk in (4, 32):
        compare.query_chunked_attention(draw.normal(1, 2, 10, 16) * 40.0, *draw.normals(2, 1, 2, 14, 16), chunk)


@check("query_chunked_attention", weight=4)
def test_half_precision(compare, draw):
    """Inputs in half precision give an output of the same type, call by call."""
    for dtype, n in (("bfloat16", 13), ("float16", 9)):
        compare.query_chunked_attention(*(one.to(dtype) for one in draw.normals(3, 1, 2, n, 8)), 5)


def meter(compare: Any, draw: Any, batch: int, heads: int, n: int, m: int, d: int, chunk: int) -> None:
    """Compare output and cost for n queries and m keys of size d, chunk by chunk."""
    q, (k, v) = draw.normal(batch, heads, n, d), draw.normals(2, batch, heads, m, d)
    compare.play("metered", view=attention_bounds(batch, heads, n, m, d, chunk), q=q, k=k, v=v, chunk=chunk)
