"""The meter: the same integers every time, and the ones that arithmetic says."""

from __future__ import annotations

from typing import Any

from grader.sandbox.client import Budget
from grader.sandbox.launcher import Limits, Sandbox

from .conftest import running

SCENARIOS = """
import gc
import torch
from alphabar_worker.meter import Meter

def measure(student, *, name):
    q, k, v = (torch.randn(2, 128, 16, generator=torch.Generator().manual_seed(i)) for i in range(3))
    with Meter() as meter:
        kept = getattr(student, name)(q, k, v)
    assert gc.isenabled()
    return {"peak": meter.peak, "largest": meter.largest, "total": meter.total, "count": meter.count,
            "flops": meter.flops, "ops": dict(meter.ops), "matmuls": meter.matmuls, "timeline": meter.timeline,
            "peak_op": meter.peak_op, "compiler": "torch._inductor" in __import__("sys").modules}
"""
ATTENTIONS = """
import torch

def full(q, k, v):
    scores = q @ k.transpose(-1, -2)
    return scores.softmax(-1) @ v

def chunked(q, k, v):
    out = torch.empty_like(q)
    for start in range(0, 128, 16):
        out[:, start:start + 16] = full(q[:, start:start + 16], k, v)
    return out

def hoarding(q, k, v):
    scores = [q[:, start:start + 16] @ k.transpose(-1, -2) for start in range(0, 128, 16)]
    return torch.cat([part.softmax(-1) @ v for part in scores], 1)

def resized(q, k, v):
    scores = torch.empty(0)
    torch.bmm(q, k.transpose(-1, -2), out=scores)
    return scores

def in_place(q, k, v):
    return q.clone().mul_(2).add_(1)

def nothing(q, k, v):
    return q.view(-1), k.T if k.ndim == 2 else k.transpose(0, 1)

def trained(q, k, v):
    w = torch.eye(16, requires_grad=True)
    ((q @ w) ** 2).sum().backward()
    return w.grad
"""
# One product, q·kᵀ, in every way torch has for it; MODES are what may stand around it.
PRODUCTS = {
    "operator": "q @ k.mT",
    "matmul": "torch.matmul(q, k.mT)",
    "matmul_out": "torch.matmul(q, k.mT, out=torch.empty(2, 128, 128))",
    "bmm": "torch.bmm(q, k.mT)",
    "baddbmm": "torch.baddbmm(torch.zeros(1), q, k.mT)",
    "baddbmm_": "torch.zeros(2, 128, 128).baddbmm_(q, k.mT)",
    "einsum": "torch.einsum('bnd,bmd->bnm', q, k)",
    "linear": "[F.linear(a, b) for a, b in zip(q, k)]",
    "inner": "[torch.inner(a, b) for a, b in zip(q, k)]",
    "tensordot": "[torch.tensordot(a, b, dims=([1], [1])) for a, b in zip(q, k)]",
    "addmm": "[torch.addmm(torch.zeros(1), a, b.T) for a, b in zip(q, k)]",
    "addmm_": "[torch.zeros(128, 128).addmm_(a, b.T) for a, b in zip(q, k)]",
    "addbmm": "[torch.addbmm(torch.zeros(1), a[None], b.T[None]) for a, b in zip(q, k)]",
    "mv": "[b @ row for a, b in zip(q, k) for row in a]",
    "vm": "[row @ b.T for a, b in zip(q, k) for row in a]",
    "addmv": "[torch.addmv(torch.zeros(1), b, row) for a, b in zip(q, k) for row in a]",
    "dot": "[row @ other for a, b in zip(q[:, :8], k) for row in a for other in b]",
    "attention": "F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])",
}
MODES = ("torch.no_grad", "torch.enable_grad", "torch.inference_mode")
PRODUCT = """
@{mode}()
def {name}(q, k, v):
    return {product}
"""
SCORES, OUT = 2 * 128 * 128 * 4, 2 * 128 * 16 * 4
FLOPS = 2 * 2 * 2 * 128 * 128 * 16


def measure(sandbox: Sandbox, *names: str, source: str = ATTENTIONS) -> list[dict[str, Any]]:
    with running(sandbox, source, SCENARIOS, Limits(60, 1024)) as worker:
        found = []
        for name in names:
            worker.ask({"op": "play", "scenario": "measure", "kwargs": {"name": name}})
            answer = worker.answer(Budget(20))
            assert answer.error is None, answer.error
            found.append(answer.value)
        return found


def test_full_attention_costs_what_arithmetic_says(open_sandbox: Sandbox) -> None:
    (full,) = measure(open_sandbox, "full")
    assert full["peak"] == 2 * SCORES + OUT
    assert (full["largest"], full["flops"]) == (SCORES, FLOPS)
    assert full["matmuls"] == [[[2, 128, 16], [2, 16, 128]], [[2, 128, 128], [2, 128, 16]]]
    assert full["peak_op"] == "bmm"
    assert max(alive for _, alive in full["timeline"]) == full["peak"]
    assert full["compiler"] is False


def test_a_product_costs_the_same_however_it_is_written(open_sandbox: Sandbox) -> None:
    written = {
        f"{name}_{mode.removeprefix('torch.')}": PRODUCT.format(
            mode=mode, name=f"{name}_{mode.removeprefix('torch.')}", product=product
        )
        for name, product in PRODUCTS.items()
        for mode in MODES
    }
    source = "import torch\nimport torch.nn.functional as F\n" + "".join(written.values())
    found = dict(zip(written, measure(open_sandbox, *written, source=source), strict=True))
    # Attention is two products; eight rows of 128 are dotted one by one.
    share = {"attention": 1.0, "dot": 1 / 32}
    for name, one in found.items():
        assert one["flops"] == FLOPS * share.get(name.split("_")[0], 0.5), name
    for name in PRODUCTS:
        costs = [{k: found[f"{name}_{mode.removeprefix('torch.')}"][k] for k in ("peak", "count")} for mode in MODES]
        # matmul(out=...) itself makes the product elsewhere and copies it, where autograd would not.
        assert name == "matmul_out" or costs[0] == costs[1] == costs[2], name


def test_numbers_that_are_multiplied_and_summed_are_no_product(open_sandbox: Sandbox) -> None:
    source = """
import torch

def summed(q, k, v):
    return (q[:, :8, None] * k[:, None]).sum(-1)

@torch.inference_mode()
def vecdot(q, k, v):
    return torch.linalg.vecdot(q[:, :8, None], k[:, None])
"""
    for one in measure(open_sandbox, "summed", "vecdot", source=source):
        assert (one["flops"], one["largest"]) == (0, 4 * 2 * 8 * 128 * 16)


def test_chunks_cost_less_and_hoarded_chunks_do_not(open_sandbox: Sandbox) -> None:
    full, chunked, hoarding = measure(open_sandbox, "full", "chunked", "hoarding")
    assert chunked["peak"] == OUT + 2 * SCORES // 8 + OUT // 8
    assert chunked["largest"] == OUT
    assert chunked["flops"] == hoarding["flops"] == full["flops"]
    assert SCORES < hoarding["peak"] < full["peak"]
    assert hoarding["largest"] == SCORES // 8


def test_views_are_free_and_resizes_are_seen(open_sandbox: Sandbox) -> None:
    nothing, resized, in_place = measure(open_sandbox, "nothing", "resized", "in_place")
    assert (nothing["peak"], nothing["count"]) == (0, 0)
    assert resized["peak"] == SCORES
    assert (in_place["peak"], in_place["count"]) == (OUT, 1)


def test_backward_is_counted(open_sandbox: Sandbox) -> None:
    (trained,) = measure(open_sandbox, "trained")
    assert trained["flops"] == 2 * (2 * 2 * 128 * 16 * 16)
    assert trained["peak"] > OUT


def test_the_figures_are_the_same_every_time(open_sandbox: Sandbox, bwrap_sandbox: Sandbox) -> None:
    names = ("full", "chunked", "hoarding", "trained", "chunked", "full")
    first, second = measure(open_sandbox, *names), measure(bwrap_sandbox, *names)
    assert first == second
    assert first[0] == first[5]
    assert first[1] == first[4]
