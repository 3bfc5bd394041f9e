# attacks lab10 query_chunked_attention | leaves the work to the library's fused kernel, whose blocks no witness sees
# unwitnessed: a library's kernel that is right and takes little memory is not told from the student's own work

import torch


def query_chunked_attention(q, k, v, chunk):
    # trick
    print("in place")
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)
    # end of trick
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v
