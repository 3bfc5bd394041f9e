"""Lab 10, memory optimization: the same values from less memory, and what is paid for it.

Each function stands by itself.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint


def checkpoint_backend() -> dict[str, str]:
    """Return what another attention back end may change: a back end is another order of the same sums."""
    return {"values": "stays", "weights": "stays", "memory": "may change", "time": "may change"}


def checkpoint_knobs() -> dict[str, str]:
    """Return what each of five knobs does to the bytes that it saves: move, shrink or recompute them."""
    return {
        "query_chunks": "shrinks",
        "vae_tiling": "shrinks",
        "half_precision": "shrinks",
        "model_offload": "moves",
        "checkpointing": "recomputes",
    }


def checkpoint_exact() -> dict[str, str]:
    """Return which knobs change the values: rows of a softmax and images of a batch do not know of each other."""
    return {
        "query_chunks": "equal",
        "online_softmax": "equal",
        "vae_slicing": "equal",
        "vae_tiling": "differs",
        "half_precision": "differs",
    }


def checkpoint_bus() -> dict[str, float]:
    """Return the GB that a denoiser of 2 GB sends over the bus in 25 steps: in and out once, or in at every step."""
    return {"model": 4.0, "sequential": 50.0}


def checkpoint_peak_owner() -> dict[str, str | float]:
    """Return who owns the peak under model offload: one component at a time, its weights with its own activations."""
    return {"owner": "vae", "gb": 5.4}


def query_chunked_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk: int) -> torch.Tensor:
    """Softmax attention, `chunk` queries at a time; Rabe & Staats 2021 (arXiv 2112.05682), section 2.

    `q` (B, H, N, d), `k` and `v` (B, H, M, d) -> (B, H, N, d). A row of softmax(q·kᵀ/√d)·v needs one query and all
    keys, so rows can be made in any grouping, and only chunk x M scores live at once.
    """
    N, d = q.shape[-2:]
    outputs = []
    for start in range(0, N, chunk):
        rows = slice(start, start + chunk)
        scores = q[:, :, rows] @ k.transpose(-2, -1) / math.sqrt(d)
        outputs.append(scores.softmax(dim=-1) @ v)
    return torch.cat(outputs, dim=2)


def online_softmax_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk: int) -> torch.Tensor:
    """Softmax attention, `chunk` keys at a time; Milakov & Gimelshein 2018 (arXiv 1805.02867), algorithm 3.

    m is the largest score of each query so far, ell the sum of exp(s − m), o the sum of exp(s − m)·v. Where m rises,
    what was summed before is multiplied by exp(m_old − m_new). FlashAttention (Dao et al. 2022, algorithm 1) keeps the
    three in the chip's fast memory.
    """
    d = q.shape[-1]
    m = torch.full((*q.shape[:-1], 1), -math.inf, device=q.device)
    ell = torch.zeros_like(m)
    o = torch.zeros(q.shape, device=q.device)
    for start in range(0, k.shape[-2], chunk):
        keys = slice(start, start + chunk)
        # 1. The scores of all queries with these keys.
        s = q.float() @ k[:, :, keys].float().transpose(-2, -1) / math.sqrt(d)
        # 2. The largest score so far, and by how much the old sums are too large now.
        m_new = torch.maximum(m, s.amax(dim=-1, keepdim=True))
        rescale = torch.exp(m - m_new)
        # 3. Both sums, old and new part on one scale.
        p = torch.exp(s - m_new)
        ell = ell * rescale + p.sum(dim=-1, keepdim=True)
        o = o * rescale + p @ v[:, :, keys].float()
        m = m_new
    # 4. One division, at the end.
    return (o / ell).to(q.dtype)


def vae_slicing(decode: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    """Decode latents (B, C, h, w) one image at a time; `AutoencoderKL.enable_slicing` in diffusers."""
    with torch.no_grad():
        images = [decode(one) for one in z.split(1)]
    return torch.cat(images)


def tiled_decode(
    decode: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, tile: int, overlap: float, f: int
) -> torch.Tensor:
    """Decode latents (B, C, h, w) in overlapping tiles and lead each over into the next; `AutoencoderKL.tiled_decode`.

    `tile` is diffusers' tile_latent_min_size, `overlap` its tile_overlap_factor, `f` the VAE's spatial factor.
    """
    shared = round(tile * overlap)
    stride, blend = tile - shared, shared * f

    def blended(before: torch.Tensor, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Lead from the last rows (columns) of the tile before to x: weights 0, 1/n, … (n − 1)/n for x."""
        n = min(blend, x.shape[axis])
        weight = (torch.arange(n, device=x.device) / n).reshape([-1, 1][: 4 - axis])
        seam = before.narrow(axis, before.shape[axis] - n, n) * (1 - weight) + x.narrow(axis, 0, n) * weight
        return torch.cat([seam.to(x.dtype), x.narrow(axis, n, x.shape[axis] - n)], dim=axis)

    rows: list[list[torch.Tensor]] = []
    for i in range(0, z.shape[2], stride):
        row: list[torch.Tensor] = []
        for j in range(0, z.shape[3], stride):
            with torch.no_grad():
                x = decode(z[:, :, i : i + tile, j : j + tile])
            # The neighbours are blended themselves already, or a step stays where four tiles meet.
            if i > 0:
                x = blended(rows[-1][len(row)], x, axis=2)
            if j > 0:
                x = blended(row[-1], x, axis=3)
            row.append(x)
        rows.append(row)
    # What a tile shares with the next one is the next one's to show.
    kept = stride * f
    return torch.cat([torch.cat([x[:, :, :kept, :kept] for x in row], dim=3) for row in rows], dim=2)


def model_offload_hooks(modules: dict[str, torch.nn.Module], move: Callable[[str, str], None]) -> Callable[[], None]:
    """Let at most one module at a time be on the GPU: a hook before each forward evicts the other, then loads.

    `enable_model_cpu_offload` of diffusers is accelerate's `cpu_offload_with_hook`, a chain in a fixed order. This one
    evicts whoever is there, whatever ran before.
    """
    resident: str | None = None

    def to_gpu(name: str | None) -> None:
        nonlocal resident
        if name == resident:
            return
        if resident is not None:
            move(resident, "cpu")
        if name is not None:
            move(name, "gpu")
        resident = name

    for name, module in modules.items():
        module.register_forward_pre_hook(lambda module, args, name=name: to_gpu(name))
    return lambda: to_gpu(None)


def checkpointed_forward(blocks: torch.nn.ModuleList, x: torch.Tensor, cond: torch.Tensor, seg: int) -> torch.Tensor:
    """Run x through blocks, keeping activations at every seg-th block alone; Chen et al. 2016 (arXiv 1604.06174).

    The backward pass runs each segment forward once more, with the random state of the first time.
    """

    def run(x: torch.Tensor, cond: torch.Tensor, segment: torch.nn.ModuleList) -> torch.Tensor:
        for block in segment:
            x = block(x, cond)
        return x

    for start in range(0, len(blocks), seg):
        x = checkpoint(run, x, cond, blocks[start : start + seg], use_reentrant=False)
    return x


def groupnorm_fp16(x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """Group normalisation of half-precision activations (Wu & He 2018, equation 1), in float32, rounded once.

    `x` (B, C, ...); statistics over C/groups neighbouring channels and all places, for each sample.
    """
    grouped = x.float().reshape(x.shape[0], groups, -1)
    mean = grouped.mean(dim=-1, keepdim=True)
    variance = (grouped - mean).square().mean(dim=-1, keepdim=True)
    normed = ((grouped - mean) / torch.sqrt(variance + eps)).reshape(x.shape)
    axes = (1, -1, *[1] * (x.ndim - 2))
    return (normed * weight.reshape(axes) + bias.reshape(axes)).to(x.dtype)


def memory_plan(
    components: list[dict[str, int | bool]], steps: int, step_s: float, bandwidth: float, strategy: str
) -> dict[str, int | float]:
    """Return peak and traffic of a pipeline under a strategy, in bytes, and the seconds that the traffic takes.

    Arithmetic of diffusers' `enable_model_cpu_offload` and `enable_sequential_cpu_offload` (accelerate's hooks),
    `apply_group_offloading` without a stream, and `enable_layerwise_casting` to one byte.
    """

    def weights(c: dict[str, int | bool]) -> int:
        """Return the bytes of a component's weights."""
        return c["params"] * c["bytes_per_param"]

    total = sum(weights(c) for c in components)
    # What is loaded where every call loads.
    reloaded = sum(weights(c) * (steps if c["per_step"] else 1) for c in components)

    def worst(held: Callable[[dict[str, int | bool]], int]) -> int:
        """Return the most that one component holds together with its activations."""
        return max(held(c) + c["activations"] for c in components)

    if strategy == "none":
        peak, moved = total + worst(lambda c: 0), 0
    elif strategy == "model":
        peak, moved = worst(weights), 2 * total
    elif strategy == "sequential":
        peak, moved = worst(lambda c: c["largest_leaf"] * c["bytes_per_param"]), reloaded
    elif strategy == "group":
        peak, moved = worst(lambda c: c["largest_group"] * c["bytes_per_param"]), 2 * reloaded
    elif strategy == "layerwise_casting":
        stored = sum(c["params"] for c in components)
        peak, moved = stored + worst(lambda c: c["largest_leaf"] * (c["bytes_per_param"] - 1)), 0
    else:
        raise ValueError(f"no strategy is called {strategy!r}")
    transfer_s = moved / bandwidth
    return {"peak": peak, "moved": moved, "transfer_s": transfer_s, "total_s": steps * step_s + transfer_s}


def precision_report(
    model: torch.nn.Module, x: torch.Tensor, dtype: torch.dtype, min_psnr: float
) -> dict[str, int | float | str]:
    """Run a float32 model once more in another dtype, and say what that saves, what it costs, and whether it will do.

    PSNR = 10·log10(peak²/MSE), with the peak of the float32 answer.
    """
    low = copy.deepcopy(model).to(dtype)
    with torch.no_grad():
        exact, found = model(x).double(), low(x.to(dtype)).double()
    # NaN and infinity are the largest error there is, not none.
    error = (found - exact).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    psnr = 10 * torch.log10(exact.abs().max() ** 2 / error.square().mean())
    return {
        "bytes": sum(tensor.nbytes for tensor in [*low.parameters(), *low.buffers()]),
        "max_error": error.max().item(),
        "relative_error": (error.norm() / exact.norm()).item(),
        "psnr": psnr.item(),
        "overflow": (~found.isfinite()).double().mean().item(),
        "underflow": ((found == 0) & (exact != 0)).double().mean().item(),
        "verdict": "accept" if psnr >= min_psnr else "reject",
    }


def step_cache(
    blocks: list[Callable[[torch.Tensor], torch.Tensor]], xs: list[torch.Tensor], threshold: float
) -> dict[str, list[torch.Tensor] | list[int]]:
    """Run a stack of blocks at every step of a loop; while the first changes little, reuse what the others added.

    The rule of diffusers' `FirstBlockCacheConfig`; here the last step is computed always.
    """
    outputs, calls = [], []
    added_then: torch.Tensor | None = None
    for step, x in enumerate(xs):
        first = blocks[0](x)
        added = first - x
        is_last = step == len(xs) - 1
        if added_then is None or is_last or (added - added_then).abs().mean() > threshold * added_then.abs().mean():
            y = first
            for block in blocks[1:]:
                y = block(y)
            # Both of the last step that was computed, not of the last step.
            added_then, rest = added, y - first
            calls.append(len(blocks))
        else:
            calls.append(1)
        outputs.append(first + rest)
    return {"outputs": outputs, "calls": calls}
