"""Lab 10, memory optimization: the same values from less memory, and what is paid for it."""

import copy
import math
from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

# ---------------------------------------------------------------- predictions


def checkpoint_backend() -> dict[str, str]:
    return {"values": "stays", "weights": "stays", "memory": "may change", "time": "may change"}


def checkpoint_knobs() -> dict[str, str]:
    return {
        "query_chunks": "shrinks",
        "vae_tiling": "shrinks",
        "half_precision": "shrinks",
        "model_offload": "moves",
        "checkpointing": "recomputes",
    }


def checkpoint_exact() -> dict[str, str]:
    return {
        "query_chunks": "equal",
        "online_softmax": "equal",
        "vae_slicing": "equal",
        "vae_tiling": "differs",
        "half_precision": "differs",
    }


def checkpoint_bus() -> dict[str, float]:
    # model: 2 GB in once, out once. sequential: 2 GB in at each of 25 steps, nothing back.
    return {"model": 4.0, "sequential": 50.0}


def checkpoint_peak_owner() -> dict[str, str | float]:
    # text_encoder 1.5, unet 5.3, vae 5.4
    return {"owner": "vae", "gb": 5.4}


# ---------------------------------------------------------------- attention


def _attend(q_rows: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    """Plain attention of some queries, (H, rows, d). Each temporary dies as soon as the next one is there."""
    weights = torch.softmax(torch.bmm(q_rows * scale, k.transpose(1, 2)), dim=-1)
    return torch.bmm(weights, v)


def query_chunked_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk: int) -> torch.Tensor:
    batch, heads, n, d = q.shape
    scale = d**-0.5
    out = torch.empty((batch, heads, n, d), dtype=q.dtype, device=q.device)
    # One sample at a time: three axes go into bmm whatever their strides are. A matmul of four axes would copy all of
    # k and v, in every round, where batch and heads do not fold into one axis.
    for b in range(batch):
        q_b, k_b, v_b, out_b = q[b], k[b], v[b], out[b]
        for start in range(0, n, chunk):
            rows = slice(start, start + chunk)
            out_b[:, rows] = _attend(q_b[:, rows], k_b, v_b, scale)
    return out


def online_softmax_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk: int) -> torch.Tensor:
    batch, heads, n, d = q.shape
    m_keys = k.shape[2]
    out = torch.empty((batch, heads, n, d), dtype=q.dtype, device=q.device)
    f32 = {"dtype": torch.float32, "device": q.device}
    for b in range(batch):
        queries = q[b].to(torch.float32) * d**-0.5
        top = torch.full((heads, n, 1), -math.inf, **f32)
        total = torch.zeros((heads, n, 1), **f32)
        acc = torch.zeros((heads, n, d), **f32)
        for start in range(0, m_keys, chunk):
            cols = slice(start, start + chunk)
            scores = torch.bmm(queries, k[b, :, cols].to(torch.float32).transpose(1, 2))
            new_top = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            shrink = torch.exp(top - new_top)  # 0 in the first round, at most 1 afterwards
            p = torch.exp(scores - new_top)
            del scores
            total = total * shrink + p.sum(dim=-1, keepdim=True)
            acc = acc * shrink
            fresh = torch.bmm(p, v[b, :, cols].to(torch.float32))
            del p
            fresh += acc  # in place on the product of this round: no third output
            acc = fresh
            del fresh
            top = new_top
        out[b] = acc / total  # rounded here, once
    return out


# ---------------------------------------------------------------- decoding


def vae_slicing(decode: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        pictures = [decode(one) for one in z.split(1, dim=0)]
        return torch.cat(pictures, dim=0)


def _lead_over(earlier: torch.Tensor, later: torch.Tensor, blend: int, dim: int) -> None:
    """Blend, in place, the first places of `later` along `dim` with the last ones of `earlier`."""
    n = min(blend, later.shape[dim])
    if n == 0:
        return
    work = torch.promote_types(later.dtype, torch.float32)
    shape = [1, 1, 1, 1]
    shape[dim] = n
    ramp = (torch.arange(n, dtype=work, device=later.device) / n).view(shape)
    old = earlier.narrow(dim, earlier.shape[dim] - n, n)
    new = later.narrow(dim, 0, n)
    new.copy_((1 - ramp) * old + ramp * new)  # copy_ casts back to the picture's dtype


def tiled_decode(
    decode: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, tile: int, overlap: float, f: int
) -> torch.Tensor:
    batch, _, h, w = z.shape
    shared = round(tile * overlap)  # a whole number, but for floating point
    stride = tile - shared
    blend = shared * f
    shown = stride * f

    canvas = None
    above: list[torch.Tensor] = []
    with torch.no_grad():
        for top in range(0, h, stride):
            current: list[torch.Tensor] = []
            for column, left in enumerate(range(0, w, stride)):
                # A copy: what decode returned may be its own buffer, or a view of z.
                picture = decode(z[:, :, top : top + tile, left : left + tile]).clone()
                if above:
                    _lead_over(above[column], picture, blend, dim=2)
                if current:
                    _lead_over(current[-1], picture, blend, dim=3)
                current.append(picture)
                if canvas is None:
                    canvas = picture.new_empty((batch, picture.shape[1], f * h, f * w))
                y, x = top * f, left * f
                canvas[:, :, y : y + shown, x : x + shown] = picture[:, :, :shown, :shown]
            above = current
    return canvas


# ---------------------------------------------------------------- offloading


def model_offload_hooks(modules: dict[str, torch.nn.Module], move: Callable[[str, str], None]) -> Callable[[], None]:
    resident: str | None = None

    def evict() -> None:
        nonlocal resident
        if resident is not None:
            move(resident, "cpu")
            resident = None

    def hook_for(name: str) -> Callable[..., None]:
        def fetch(_module: torch.nn.Module, _args: tuple) -> None:
            nonlocal resident
            if resident == name:
                return
            evict()
            move(name, "gpu")
            resident = name

        return fetch

    for name, module in modules.items():
        module.register_forward_pre_hook(hook_for(name))
    return evict


# ---------------------------------------------------------------- checkpointing


def _run_segment(segment: list[torch.nn.Module], x: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
    for block in segment:
        x = block(x, cond)
    return x


def checkpointed_forward(blocks: torch.nn.ModuleList, x: torch.Tensor, cond: torch.Tensor, seg: int) -> torch.Tensor:
    all_blocks = list(blocks)
    for start in range(0, len(all_blocks), seg):
        # The segment goes in as an argument, so the second run cannot read a later one.
        x = checkpoint(
            _run_segment, all_blocks[start : start + seg], x, cond, use_reentrant=False, preserve_rng_state=True
        )
    return x


# ---------------------------------------------------------------- normalisation


def groupnorm_fp16(x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    batch, channels = x.shape[:2]
    wide = x.to(torch.float32).reshape(batch, groups, -1)
    centred = wide - wide.mean(dim=-1, keepdim=True)
    variance = (centred * centred).mean(dim=-1, keepdim=True)
    normed = (centred / torch.sqrt(variance + eps)).reshape(x.shape)
    per_channel = (1, channels) + (1,) * (x.dim() - 2)
    y = normed * weight.to(torch.float32).reshape(per_channel) + bias.to(torch.float32).reshape(per_channel)
    return y.to(x.dtype)


# ---------------------------------------------------------------- the plan


def memory_plan(
    components: list[dict[str, int | bool]], steps: int, step_s: float, bandwidth: float, strategy: str
) -> dict[str, int | float]:
    if strategy not in ("none", "model", "sequential", "group", "layerwise_casting"):
        raise ValueError(f"unknown strategy {strategy!r}")

    def weights(c: dict) -> int:
        return c["params"] * c["bytes_per_param"]

    def calls(c: dict) -> int:
        return steps if c["per_step"] else 1

    def largest(size: Callable[[dict], int]) -> int:
        """The largest sum of what one component holds and its activations."""
        return max((size(c) + c["activations"] for c in components), default=0)

    if strategy == "none":
        peak = sum(weights(c) for c in components) + largest(lambda c: 0)
        moved = 0
    elif strategy == "model":
        peak = largest(weights)
        moved = 2 * sum(weights(c) for c in components)
    elif strategy == "sequential":
        peak = largest(lambda c: c["largest_leaf"] * c["bytes_per_param"])
        moved = sum(weights(c) * calls(c) for c in components)
    elif strategy == "group":
        peak = largest(lambda c: c["largest_group"] * c["bytes_per_param"])
        moved = 2 * sum(weights(c) * calls(c) for c in components)
    else:
        peak = sum(c["params"] for c in components) + largest(lambda c: c["largest_leaf"] * (c["bytes_per_param"] - 1))
        moved = 0

    transfer_s = moved / bandwidth
    return {"peak": peak, "moved": moved, "transfer_s": transfer_s, "total_s": steps * step_s + transfer_s}


# ---------------------------------------------------------------- precision


def _psnr(peak: float, mse: float) -> float:
    if mse == 0:
        return math.inf
    if math.isinf(mse) or peak == 0:
        return -math.inf
    return 10 * math.log10(peak * peak / mse)


def precision_report(
    model: torch.nn.Module, x: torch.Tensor, dtype: torch.dtype, min_psnr: float
) -> dict[str, int | float | str]:
    # Two copies: a forward pass may change buffers (running statistics, counters) too.
    wide_model = copy.deepcopy(model)
    low_model = copy.deepcopy(model).to(dtype)
    with torch.no_grad():
        wide = wide_model(x.clone()).to(torch.float64)
        low = low_model(x.to(dtype, copy=True)).to(torch.float64)

    tensors = list(low_model.parameters()) + list(low_model.buffers())
    held = sum(t.numel() * t.element_size() for t in tensors)

    finite = torch.isfinite(low)
    error = (low - wide).abs()
    error = torch.where(finite, error, torch.full_like(error, math.inf))

    error_norm = float(error.square().sum().sqrt())
    wide_norm = float(wide.square().sum().sqrt())
    if wide_norm > 0:
        relative = error_norm / wide_norm
    else:
        relative = 0.0 if error_norm == 0 else math.inf

    psnr = _psnr(peak=float(wide.abs().max()), mse=float(error.square().mean()))
    return {
        "bytes": held,
        "max_error": float(error.max()),
        "relative_error": relative,
        "psnr": psnr,
        "overflow": float((~finite).double().mean()),
        "underflow": float(((low == 0) & (wide != 0)).double().mean()),
        "verdict": "accept" if psnr >= min_psnr else "reject",
    }


# ---------------------------------------------------------------- the cache


def step_cache(
    blocks: list[Callable[[torch.Tensor], torch.Tensor]], xs: list[torch.Tensor], threshold: float
) -> dict[str, list[torch.Tensor] | list[int]]:
    outputs: list[torch.Tensor] = []
    calls: list[int] = []
    added_then = None  # what the first block added at the last computed step
    rest_then = None  # what the others added to the first block's output at that step

    for step, x in enumerate(xs):
        first = blocks[0](x)
        added = first - x
        if step == 0 or step == len(xs) - 1:
            compute = True
        else:
            change = (added.double() - added_then.double()).abs().mean()
            size = added_then.double().abs().mean()
            compute = bool(change > threshold * size)

        if compute:
            out = first
            for block in blocks[1:]:
                out = block(out)
            added_then, rest_then = added, out - first
            calls.append(len(blocks))
        else:
            out = first + rest_then
            calls.append(1)
        outputs.append(out)
    return {"outputs": outputs, "calls": calls}
