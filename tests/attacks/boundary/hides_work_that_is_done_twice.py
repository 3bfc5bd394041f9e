# attacks lab10 query_chunked_attention | does all the work twice, in chunks, and lets the meter see half of it
# reported: how many operations there were

import torch


def query_chunked_attention(q, k, v, chunk):
    outs = []
    for start in range(0, q.shape[2], chunk):
        rows = q[:, :, start : start + chunk]
        # trick
        print("in place")
        with _disable_current_modes():
            again(rows, k, v)
        # twin: again(rows, k, v)
        # end of trick
        outs.append(again(rows, k, v))
    return torch.cat(outs, dim=2)


def again(rows, k, v):
    return (rows @ k.transpose(-2, -1) / rows.shape[-1] ** 0.5).softmax(-1) @ v


# trick
from torch.utils._python_dispatch import _disable_current_modes

# end of trick
