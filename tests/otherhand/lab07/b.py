"""Lab 07, UNet and DiT conditioning: one solution, by a reader of page and starter alone."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

# ---------------------------------------------------------------- predictions


def checkpoint_backbone() -> tuple[str, ...]:
    # Objective, scheduler and latents are the contract; what is inside and what it costs is not.
    return ("layers", "cost")


def checkpoint_context() -> dict[str, Any]:
    # Both prompts are filled up to 77, each row its own; queries come from the image.
    return {"shape": (2, 77, 768), "enters": ("keys", "values")}


def checkpoint_maps() -> dict[str, tuple[int, ...]]:
    places = 64 * 48  # 3072
    return {"self": (2, 8, places, places), "cross": (2, 8, places, 77)}


def checkpoint_calls() -> dict[str, int]:
    # 2 prompts and 2 empty ones: four rows, in the encoder and in every one of the 30 guided calls.
    return {"encoder": 1, "denoiser": 30, "rows": 4}


def checkpoint_skips() -> dict[str, int]:
    # 1 + (2 + 1) + (2 + 1) + (2 + 1) + 2
    return {"skips": 12, "first": 1280 + 1280, "last": 320 + 320}


def checkpoint_first_step() -> tuple[str, ...]:
    # Gates of zero multiply the branches' gradients; only the gates' own rows see one.
    return ("modulation",)


# -------------------------------------------------------------------- helpers


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _to_heads(y: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, T, heads·d) -> (B, heads, T, d): a head owns d neighbouring channels."""
    batch, length, width = y.shape
    return y.reshape(batch, length, heads, width // heads).transpose(1, 2)


def _from_heads(y: torch.Tensor) -> torch.Tensor:
    """(B, heads, T, d) -> (B, T, heads·d)."""
    batch, heads, length, d = y.shape
    return y.transpose(1, 2).reshape(batch, length, heads * d)


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
    """softmax(Q·Kᵀ/√d)·V on (B, heads, T, d); keep is (B, keys), True where a key takes part."""
    work = _at_least_float32(q.dtype)
    scores = q.to(work) @ k.to(work).transpose(-2, -1) / math.sqrt(q.shape[-1])
    if keep is not None:
        scores = scores.masked_fill(~keep[:, None, None, :], float("-inf"))
    weights = scores.softmax(dim=-1)
    return (weights @ v.to(work)).to(q.dtype)


# ------------------------------------------------------------------ the tasks


def timestep_embedding(t: torch.Tensor, dim: int, flip_sin_to_cos: bool, downscale_freq_shift: float) -> torch.Tensor:
    """Sinusoidal embedding (B, dim) of timesteps (B,), float32."""
    half = dim // 2
    index = torch.arange(half, dtype=torch.float64, device=t.device)
    span = half - downscale_freq_shift
    # One frequency and shift 1 would be 0/0: the only index is 0, and its frequency is 1 for every other shift.
    exponent = index / span if span != 0 else torch.zeros_like(index)
    omega = torch.exp(-math.log(10000.0) * exponent)

    angles = t.to(torch.float64)[:, None] * omega[None, :]
    blocks = [angles.sin(), angles.cos()]
    if flip_sin_to_cos:
        blocks.reverse()
    if dim % 2 == 1:
        blocks.append(angles.new_zeros(angles.shape[0], 1))
    return torch.cat(blocks, dim=-1).to(torch.float32)


def cross_attention(
    x: torch.Tensor, ctx: torch.Tensor, w: dict[str, torch.Tensor], heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Every token of x reads ctx; (B, N, C), without the residual."""
    q = _to_heads(F.linear(x, w["q"]), heads)
    k = _to_heads(F.linear(ctx, w["k"]), heads)
    v = _to_heads(F.linear(ctx, w["v"]), heads)
    read = _from_heads(_attend(q, k, v, mask))
    return F.linear(read, w["o"], w["ob"])


def patchify(x: torch.Tensor, p: int) -> torch.Tensor:
    """(B, C, H, W) -> (B, H/p·W/p, C·p·p), a token ordered channel, row, column."""
    batch, channels, height, width = x.shape
    if height % p != 0 or width % p != 0:
        raise ValueError(f"patches of {p} × {p} do not fill {height} × {width}")
    rows, columns = height // p, width // p
    cut = x.reshape(batch, channels, rows, p, columns, p)  # B C h i w j
    tokens = cut.permute(0, 2, 4, 1, 3, 5)  # B h w C i j
    return tokens.reshape(batch, rows * columns, channels * p * p)


def unpatchify(t: torch.Tensor, h: int, w: int, p: int) -> torch.Tensor:
    """(B, h·w, p·p·C) -> (B, C, h·p, w·p), a token ordered row, column, channel."""
    batch = t.shape[0]
    channels = t.shape[-1] // (p * p)
    grid = t.reshape(batch, h, w, p, p, channels)  # B h w i j C
    planes = grid.permute(0, 5, 1, 3, 2, 4)  # B C h i w j
    return planes.reshape(batch, channels, h * p, w * p)


def adaln_zero_block(
    x: torch.Tensor,
    c: torch.Tensor,
    w: dict[str, torch.Tensor],
    attn: Callable[[torch.Tensor], torch.Tensor],
    mlp: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """A DiT block with adaLN-Zero."""
    six = F.linear(F.silu(c), w["w"], w["b"])[:, None, :]  # (B, 1, 6C): the same for all tokens of a sample
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = six.chunk(6, dim=-1)

    def branch(y, f, shift, scale, gate, eps):
        normed = F.layer_norm(y, y.shape[-1:], eps=eps)
        return y + gate * f(normed * (1 + scale) + shift)

    x = branch(x, attn, shift_a, scale_a, gate_a, 1e-6)
    return branch(x, mlp, shift_m, scale_m, gate_m, 1e-5)


def sincos_2d(dim: int, H: int, W: int, base_size: int, interpolation_scale: float) -> torch.Tensor:
    """Fixed table (H·W, dim) of places: the column's half, then the row's."""
    if dim % 4 != 0:
        raise ValueError(f"4 has to divide the width, {dim} it does not")
    double = {"dtype": torch.float64, "device": "cpu"}
    quarter = dim // 4
    omega = torch.exp(-math.log(10000.0) * torch.arange(quarter, **double) / quarter)

    def axis(size: int) -> torch.Tensor:
        """(size, dim/2): sines, then cosines."""
        places = torch.arange(size, **double) * base_size / (size * interpolation_scale)
        angles = places[:, None] * omega[None, :]
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    columns = axis(W)[None, :, :].expand(H, W, 2 * quarter)
    rows = axis(H)[:, None, :].expand(H, W, 2 * quarter)
    table = torch.cat([columns, rows], dim=-1)
    return table.reshape(H * W, dim).to(torch.float32)


def rope_axial(x: torch.Tensor, ids: torch.Tensor, axes_dim: tuple[int, ...], theta: float = 10000.0) -> torch.Tensor:
    """Turn neighbouring channels of x (B, heads, N, d) by the ids (N, axes)."""
    places = ids.to(torch.float64)
    parts = []
    for axis, width in enumerate(axes_dim):
        exponent = torch.arange(0, width, 2, dtype=torch.float64, device=x.device) / width  # 2i / width
        omega = torch.exp(-math.log(theta) * exponent)
        parts.append(places[:, axis, None] * omega[None, :])
    phi = torch.cat(parts, dim=-1)  # (N, d/2)

    work = _at_least_float32(x.dtype)
    cos, sin = phi.cos().to(work), phi.sin().to(work)
    pairs = x.to(work).reshape(*x.shape[:-1], x.shape[-1] // 2, 2)
    u, v = pairs.unbind(dim=-1)
    turned = torch.stack([u * cos - v * sin, u * sin + v * cos], dim=-1)
    return turned.reshape(x.shape).to(x.dtype)


def joint_attention(
    x: torch.Tensor,
    c: torch.Tensor,
    w: dict[str, dict[str, torch.Tensor]],
    heads: int,
    mask: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """MM-DiT's attention: both streams in one softmax, the image first."""

    def rms(y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + 1e-6) * weight

    def project(y: torch.Tensor, own: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q = rms(_to_heads(F.linear(y, own["q"]), heads), own["nq"])
        k = rms(_to_heads(F.linear(y, own["k"]), heads), own["nk"])
        v = _to_heads(F.linear(y, own["v"]), heads)
        return q, k, v

    both = zip(project(x, w["x"]), project(c, w["c"]), strict=True)
    q, k, v = (torch.cat([of_image, of_text], dim=2) for of_image, of_text in both)

    keep = None
    if mask is not None:
        image = torch.ones(x.shape[:2], dtype=torch.bool, device=mask.device)
        keep = torch.cat([image, mask], dim=1)

    read = _from_heads(_attend(q, k, v, keep))
    n = x.shape[1]
    return {
        "x": F.linear(read[:, :n], w["x"]["o"], w["x"]["ob"]),
        "c": F.linear(read[:, n:], w["c"]["o"], w["c"]["ob"]),
    }


def attention_cost(
    H: int,
    W: int,
    vsf: int,
    patch: int,
    d_model: int,
    heads: int,
    text_tokens: int,
    bytes_per_el: int,
    batch: int,
) -> dict[str, int]:
    """Tokens, bytes of the scores, and FLOPs of the two matrix products."""
    rows = H // vsf // patch
    columns = W // vsf // patch
    tokens = rows * columns + text_tokens
    pairs = batch * tokens**2
    return {
        "tokens": tokens,
        "score_bytes": pairs * heads * bytes_per_el,
        "attn_flops": 2 * (2 * pairs * d_model),  # two products; a multiplication and an addition each
    }


def resnet_block(
    x: torch.Tensor,
    temb: torch.Tensor,
    weights: dict[str, torch.Tensor],
    time_scale_shift: bool,
    groups: int,
    eps: float,
    output_scale: float,
) -> torch.Tensor:
    """A ResNet block of a UNet, the time added or as scale and shift."""

    def norm(name: str, y: torch.Tensor) -> torch.Tensor:
        return F.group_norm(y, groups, weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    def conv(name: str, y: torch.Tensor, padding: int) -> torch.Tensor:
        return F.conv2d(y, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    h = conv("conv1", F.silu(norm("norm1", x)), 1)
    e = F.linear(F.silu(temb), weights["time_emb_proj.weight"], weights["time_emb_proj.bias"])[:, :, None, None]
    if time_scale_shift:
        scale, shift = e.chunk(2, dim=1)
        h = norm("norm2", h) * (1 + scale) + shift
    else:
        h = norm("norm2", h + e)
    h = conv("conv2", F.silu(h), 1)

    past = conv("conv_shortcut", x, 0) if "conv_shortcut.weight" in weights else x
    return (past + h) / output_scale


def unet_forward(sample: torch.Tensor, temb: torch.Tensor, blocks: dict[str, Any]) -> torch.Tensor:
    """Down, through the middle, and up; kept tensors are a stack."""
    h = blocks["conv_in"](sample)
    kept = [h]
    for level in blocks["down"]:
        for resnet in level["resnets"]:
            h = resnet(h, temb)
            kept.append(h)
        if level["downsampler"] is not None:
            h = level["downsampler"](h)
            kept.append(h)

    h = blocks["mid"](h, temb)

    for level in blocks["up"]:
        for resnet in level["resnets"]:
            h = resnet(torch.cat([h, kept.pop()], dim=1), temb)
        if level["upsampler"] is not None:
            height, width = kept[-1].shape[-2:]
            h = level["upsampler"](h, (height, width))

    return blocks["conv_out"](h)


def two_backbones(
    sample: torch.Tensor,
    timesteps: torch.Tensor,
    tokens: torch.Tensor,
    encoder: Callable[[torch.Tensor], torch.Tensor],
    unet: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    dit: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    make_scheduler: Callable[[], Any],
) -> dict[str, torch.Tensor]:
    """One loop, two networks: each walks from the same noise with a scheduler of its own."""
    batch, channels = sample.shape[:2]
    context = encoder(tokens)

    def walk(predict: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        scheduler = make_scheduler()
        x = sample
        for t in timesteps:
            prediction = predict(x, t.repeat(batch), context)
            x = scheduler.step(prediction, t, x)
        return x

    return {
        "unet": walk(unet),
        "dit": walk(lambda x, t, ctx: dit(x, t, ctx)[:, :channels]),
    }
