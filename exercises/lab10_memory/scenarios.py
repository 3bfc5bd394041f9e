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


class StudentAttention:
    """An attention processor of diffusers that leaves softmax(q kᵀ / √d) v to a function."""

    def __init__(self, attend):
        """Take attend(q, k, v), each (B, H, N, d)."""
        self._attend = attend

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        """Do what AttnProcessor2_0 does for the UNet of the figures: project, attend, project back."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        q, k, v = (_transpose(one.reshape(*one.shape[:2], attn.heads, -1), 1, 2) for one in projected)
        out = _transpose(self._attend(q, k, v), 1, 2)
        return attn.to_out[0](out.reshape(*out.shape[:2], -1))


def drawings(student, *, stack, prompts, chunk, noise):
    """Draw prompts with a trained model, for the figures: its own attention, and the student's in every layer of it."""
    usual = stack.decode(stack.sample(prompts, noise, 3.0, 10))
    stack.unet.set_attn_processor(StudentAttention(lambda q, k, v: student.query_chunked_attention(q, k, v, chunk)))
    return {"usual": usual, "chunked": stack.decode(stack.sample(prompts, noise, 3.0, 10))}
