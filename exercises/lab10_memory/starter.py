"""Lab 10, memory optimization. Fill in the stubs; `grade lab10` tells you how far you are.

The grader sees this one file. It may import the standard library, torch and numpy.
"""

import torch


def query_chunked_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk: int) -> torch.Tensor:
    """Exact softmax attention that never holds the whole score matrix.

        out = softmax(q·kᵀ/√d)·v        softmax over the M keys, for each query by itself

    Work on `chunk` queries at a time, each against all keys, so that no more than a few blocks of chunk x M
    scores exist at any moment (Rabe & Staats 2021, arXiv 2112.05682, section 2). The last chunk may be shorter.

    A meter watches every tensor that your code makes, and counts the floating point operations of matrix products,
    however they are written (`@`, matmul, bmm, einsum, with gradients or without):

        peak       <= 2·(bytes of out) + 6·(bytes of one block of B x H x chunk x M scores)
        one tensor <= the larger of out and one block
        FLOPs      between 1 and 1.3 times the 4·B·H·N·M·d that the two products need
        new tensors <= 12·B·H for each chunk of queries

    Write it with plain torch operations: the blocks of a fused kernel (scaled_dot_product_attention) are hidden from
    the meter. Numbers that are multiplied one by one and then summed are tensors, and no matrix product.

    Args:
        q: (B, H, N, d) queries, float32, float16 or bfloat16, any strides; leave it as it is.
        k: (B, H, M, d) keys.
        v: (B, H, M, d) values.
        chunk: how many queries to work on at a time, at least 1; may be larger than N, and need not divide it. It is
            the caller's choice between memory and rounds: neither smaller nor larger blocks are asked for.

    Returns:
        (B, H, N, d), in the dtype of `q`.
    """
    raise NotImplementedError
