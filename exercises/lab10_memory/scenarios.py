"""Public harness of lab 10: runs a student's function under the memory and FLOP meter. Runs in the worker."""

from __future__ import annotations

import torch
from alphabar_worker.meter import Meter

# Taken before the student's module is loaded.
_matmul, _softmax, _transpose = torch.matmul, torch.softmax, torch.transpose


def metered(student, *, q, k, v, chunk):
    """The output and what it cost, as plain integers; the bounds are applied where they cannot be argued with."""
    with Meter() as meter:
        out = student.query_chunked_attention(q, k, v, chunk)
    return {
        "out": out,
        "peak": meter.peak,
        "largest": meter.largest,
        "flops": meter.flops,
        "tensors": meter.count,
        "ops": sorted(meter.ops),
    }


def timelines(student, *, q, k, v, chunk):
    """Bytes alive after each operation: the student's function, and attention all at once for comparison."""
    with Meter() as meter:
        out = student.query_chunked_attention(q, k, v, chunk)
    with Meter() as full:
        scores = _matmul(q, _transpose(k, -2, -1)) / q.shape[-1] ** 0.5
        out = _matmul(_softmax(scores, -1), v)  # noqa: F841  (kept, so that the timeline ends with the output alive)
    return {"chunked": list(meter.timeline), "full": list(full.timeline)}
