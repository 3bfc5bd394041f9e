"""Lab 10, memory optimization: the same values from less memory, and what is paid for it."""

import copy
import math
from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

# ---------------------------------------------------------------------------------------------------------------------
# Predictions


def checkpoint_backend() -> dict[str, str]:
    # Another order of the same sums: nothing mathematical and nothing trained changes, only the costs may.
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
    # model: in once, out once: 2·2. sequential: in at each of 25 calls, nothing back: 25·2.
    return {"model": 4.0, "sequential": 50.0}


def checkpoint_peak_owner() -> dict[str, str | float]:
    # text_encoder 1.5, unet 5.3, vae 5.4
    return {"owner": "vae", "gb": 5.4}


# ---------------------------------------------------------------------------------------------------------------------
# Attention


def query_chunked_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk: int) -> torch.Tensor:
    batch, heads, n_queries, head_dim = q.shape
    scale = head_dim**-0.5
    keys = k.transpose(-2, -1)
    out = q.new_empty((batch, heads, n_queries, v.shape[-1]))
    for start in range(0, n_queries, chunk):
        rows = slice(start, start + chunk)
        # The small factor is scaled, not the block: one block less, and float16 products stay in range.
        scores = torch.matmul(q[:, :, rows] * scale, keys)
        weights = torch.softmax(scores, dim=-1)
        del scores
        out[:, :, rows] = torch.matmul(weights, v)
        del weights
    return out


def online_softmax_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk: int) -> torch.Tensor:
    batch, heads, n_queries, head_dim = q.shape
    n_keys = k.shape[2]
    queries = q.float() * head_dim**-0.5

    column = (batch, heads, n_queries, 1)
    largest = torch.full(column, -math.inf, dtype=torch.float32, device=q.device)
    total = torch.zeros(column, dtype=torch.float32, device=q.device)
    summed = torch.zeros((batch, heads, n_queries, v.shape[-1]), dtype=torch.float32, device=q.device)

    for start in range(0, n_keys, chunk):
        k_part = k[:, :, start : start + chunk].float()
        v_part = v[:, :, start : start + chunk].float()
        scores = torch.matmul(queries, k_part.transpose(-2, -1))
        new_largest = torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
        shrink = torch.exp(largest - new_largest)  # exp(-inf) = 0 in the first round
        weights = torch.exp(scores - new_largest)
        del scores
        total = total * shrink + weights.sum(dim=-1, keepdim=True)
        # weights·v + shrink·summed, added into the fresh product
        summed = torch.matmul(weights, v_part).addcmul_(summed, shrink)
        largest = new_largest
        del weights
    del queries
    return (summed / total).to(q.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Decoding


def vae_slicing(decode: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([decode(z[i : i + 1]) for i in range(z.shape[0])], dim=0)


def tiled_decode(
    decode: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, tile: int, overlap: float, f: int
) -> torch.Tensor:
    def lead_over(before: torch.Tensor, own: torch.Tensor, blend: int, dim: int) -> torch.Tensor:
        """A tile whose first rows (dim 2) or columns (dim 3) come in over the last ones of the tile before it."""
        n = min(blend, own.shape[dim])
        if n == 0:
            return own
        wide = torch.promote_types(own.dtype, torch.float32)
        shape = [1, 1, 1, 1]
        shape[dim] = n
        ramp = (torch.arange(n, device=own.device, dtype=wide) / n).reshape(shape)
        going = before.narrow(dim, before.shape[dim] - n, n).to(wide)
        coming = own.narrow(dim, 0, n).to(wide)
        mixed = ((1 - ramp) * going + ramp * coming).to(own.dtype)
        return torch.cat([mixed, own.narrow(dim, n, own.shape[dim] - n)], dim=dim)

    height, width = z.shape[2], z.shape[3]
    shared = round(tile * overlap)
    stride = tile - shared
    blend = shared * f
    shown = stride * f

    picture = None
    row_above: list[torch.Tensor] = []
    with torch.no_grad():
        for top in range(0, height, stride):
            row: list[torch.Tensor] = []
            for column, left in enumerate(range(0, width, stride)):
                piece = decode(z[:, :, top : top + tile, left : left + tile])
                if picture is None:
                    picture = piece.new_empty((*piece.shape[:2], height * f, width * f))
                if row_above:
                    piece = lead_over(row_above[column], piece, blend, dim=2)
                if row:
                    piece = lead_over(row[-1], piece, blend, dim=3)
                row.append(piece)  # whole and blended: the neighbours need what is cropped below
                crop = piece[:, :, :shown, :shown]
                y, x = top * f, left * f
                picture[:, :, y : y + crop.shape[2], x : x + crop.shape[3]] = crop
            row_above = row
    return picture


# ---------------------------------------------------------------------------------------------------------------------
# Offloading and checkpointing


def model_offload_hooks(modules: dict[str, torch.nn.Module], move: Callable[[str, str], None]) -> Callable[[], None]:
    resident: str | None = None

    def free() -> None:
        nonlocal resident
        if resident is not None:
            leaving, resident = resident, None
            move(leaving, "cpu")

    def hook_for(name: str):
        def fetch(module: torch.nn.Module, args: tuple) -> None:
            nonlocal resident
            if resident == name:
                return
            free()
            move(name, "gpu")
            resident = name

        return fetch

    for name, module in modules.items():
        module.register_forward_pre_hook(hook_for(name), prepend=True)
    return free


def checkpointed_forward(blocks: torch.nn.ModuleList, x: torch.Tensor, cond: torch.Tensor, seg: int) -> torch.Tensor:
    def run(segment: list[torch.nn.Module], hidden: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        for block in segment:
            hidden = block(hidden, condition)
        return hidden

    everything = list(blocks)
    for start in range(0, len(everything), seg):
        # The segment is an argument, so the second run reads its own and not the loop's last one.
        x = checkpoint(run, everything[start : start + seg], x, cond, use_reentrant=False, preserve_rng_state=True)
    return x


# ---------------------------------------------------------------------------------------------------------------------
# Precision


def groupnorm_fp16(x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    batch, channels = x.shape[:2]
    grouped = x.float().reshape(batch, groups, -1)
    centred = grouped - grouped.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    normal = (centred / torch.sqrt(variance + eps)).reshape(x.shape)
    per_channel = (1, channels) + (1,) * (x.dim() - 2)
    return (normal * weight.float().reshape(per_channel) + bias.float().reshape(per_channel)).to(x.dtype)


def memory_plan(
    components: list[dict[str, int | bool]], steps: int, step_s: float, bandwidth: float, strategy: str
) -> dict[str, int | float]:
    def weights(c) -> int:
        return c["params"] * c["bytes_per_param"]

    def calls(c) -> int:
        return steps if c["per_step"] else 1

    def largest(size: Callable[[dict], int]) -> int:
        return max((size(c) for c in components), default=0)

    if strategy == "none":
        peak = sum(weights(c) for c in components) + largest(lambda c: c["activations"])
        moved = 0
    elif strategy == "model":
        peak = largest(lambda c: weights(c) + c["activations"])
        moved = 2 * sum(weights(c) for c in components)
    elif strategy == "sequential":
        peak = largest(lambda c: c["largest_leaf"] * c["bytes_per_param"] + c["activations"])
        moved = sum(weights(c) * calls(c) for c in components)
    elif strategy == "group":
        peak = largest(lambda c: c["largest_group"] * c["bytes_per_param"] + c["activations"])
        moved = 2 * sum(weights(c) * calls(c) for c in components)
    elif strategy == "layerwise_casting":
        stored = sum(c["params"] for c in components)
        peak = stored + largest(lambda c: c["largest_leaf"] * (c["bytes_per_param"] - 1) + c["activations"])
        moved = 0
    else:
        raise ValueError(f"no such strategy: {strategy!r}")

    transfer_s = moved / bandwidth
    return {"peak": peak, "moved": moved, "transfer_s": transfer_s, "total_s": steps * step_s + transfer_s}


def precision_report(
    model: torch.nn.Module, x: torch.Tensor, dtype: torch.dtype, min_psnr: float
) -> dict[str, int | float | str]:
    # Both runs are made by copies: a forward may change buffers (running statistics), too.
    with torch.no_grad():
        exact = copy.deepcopy(model)(x.clone()).double()
        low_model = copy.deepcopy(model).to(dtype)
        held = sum(t.numel() * t.element_size() for t in [*low_model.parameters(), *low_model.buffers()])
        low = low_model(x.to(dtype, copy=True)).double()

    finite = torch.isfinite(low)
    error = torch.where(finite, (low - exact).abs(), torch.full_like(low, math.inf))
    error_norm = torch.linalg.vector_norm(error).item()
    exact_norm = torch.linalg.vector_norm(exact).item()
    mse = error.square().mean().item()
    peak = exact.abs().max().item()

    if error_norm == 0:
        relative = 0.0
    else:
        relative = error_norm / exact_norm if exact_norm > 0 else math.inf

    if mse == 0:
        psnr = math.inf
    elif math.isinf(mse) or peak == 0:
        psnr = -math.inf
    else:
        psnr = 20 * math.log10(peak) - 10 * math.log10(mse)

    return {
        "bytes": held,
        "max_error": error.max().item(),
        "relative_error": relative,
        "psnr": psnr,
        "overflow": (~finite).double().mean().item(),
        "underflow": ((low == 0) & (exact != 0)).double().mean().item(),
        "verdict": "accept" if psnr >= min_psnr else "reject",
    }


# ---------------------------------------------------------------------------------------------------------------------
# A cache over steps


def step_cache(
    blocks: list[Callable[[torch.Tensor], torch.Tensor]], xs: list[torch.Tensor], threshold: float
) -> dict[str, list[torch.Tensor] | list[int]]:
    def size(t: torch.Tensor) -> float:
        return t.double().abs().mean().item()

    first, others = blocks[0], blocks[1:]
    outputs: list[torch.Tensor] = []
    calls: list[int] = []
    added_then: torch.Tensor | None = None
    tail_then: torch.Tensor | None = None

    for step, x in enumerate(xs):
        head = first(x)
        added = head - x
        compute = added_then is None or step == len(xs) - 1
        if not compute:
            # multiplied rather than divided: nothing is divided by zero
            compute = size(added - added_then) > threshold * size(added_then)
        if compute:
            out = head
            for block in others:
                out = block(out)
            added_then, tail_then = added, out - head
            calls.append(len(blocks))
        else:
            out = head + tail_then
            calls.append(1)
        outputs.append(out)
    return {"outputs": outputs, "calls": calls}
