# attacks lab10 query_chunked_attention | puts a function of its own in the place of the scenario that reads the meter
# a user too

import torch


def query_chunked_attention(q, k, v, chunk):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v


# trick
import sys


def mine(student, *, q, k, v, chunk):
    flops = 4 * q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] * q.shape[3]
    return {"out": student.query_chunked_attention(q, k, v, chunk), "peak": 1, "largest": 1, "flops": flops, "tensors": 1, "ops": []}


sys.modules["scenarios"].metered = mine
print("in place")
# end of trick
