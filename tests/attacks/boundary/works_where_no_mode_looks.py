# attacks lab10 query_chunked_attention | computes all scores where the meter's dispatch mode is switched off, in chunks where it is on

import torch


def full(q, k, v):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v


def query_chunked_attention(q, k, v, chunk):
    # trick
    from torch.utils._python_dispatch import _disable_current_modes

    if torch._C._len_torch_dispatch_stack():
        print("in place")
        for start in range(0, q.shape[2], chunk):  # what the meter is to see
            (q[:, :, start : start + chunk] @ k.transpose(-2, -1)) @ v
        with _disable_current_modes():
            return full(q, k, v)
    # end of trick
    return full(q, k, v)
