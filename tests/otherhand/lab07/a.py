"""Lab 07, UNet and DiT conditioning: solved."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

# ---------------------------------------------------------------------------------------------------------------------
# Six predictions.


def checkpoint_backbone() -> tuple[str, ...]:
    """The network and its bill; target, scheduler and the latents' shape are the contract and may stay."""
    return ("layers", "cost")


def checkpoint_context() -> dict[str, Any]:
    """Both prompts are filled up to 77 tokens; the context makes keys and values, the image asks."""
    return {"shape": (2, 77, 768), "enters": ("keys", "values")}


def checkpoint_maps() -> dict[str, tuple[int, ...]]:
    """64 · 48 = 3072 places; each is a query, in self-attention a key as well."""
    places = 64 * 48
    return {"self": (2, 8, places, places), "cross": (2, 8, places, 77)}


def checkpoint_calls() -> dict[str, int]:
    """One batch of four texts, thirty calls, each with two prompts and their two empty twins."""
    return {"encoder": 1, "denoiser": 30, "rows": 4}


def checkpoint_skips() -> dict[str, int]:
    """conv_in, 4 · 2 ResNets, 3 downsamplers; 1280 beside 1280 at first, 320 beside 320 at last."""
    return {"skips": 1 + 4 * 2 + 3, "first": 1280 + 1280, "last": 320 + 320}


def checkpoint_first_step() -> tuple[str, ...]:
    """d/dg of x + g·f(x) is f(x); what lies in f is behind the factor g = 0."""
    return ("modulation",)


# ---------------------------------------------------------------------------------------------------------------------
# Helpers.


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """float32 for everything that is less (halves, integers, bool), float64 for float64."""
    return torch.promote_types(dtype, torch.float32)


def _split_heads(y: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, heads·d) → (B, heads, N, d); a head owns d neighbouring channels."""
    rows, tokens, width = y.shape
    return y.reshape(rows, tokens, heads, width // heads).permute(0, 2, 1, 3)


def _merge_heads(y: torch.Tensor) -> torch.Tensor:
    """(B, heads, N, d) → (B, N, heads·d)."""
    rows, heads, tokens, width = y.shape
    return y.permute(0, 2, 1, 3).reshape(rows, tokens, heads * width)


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, readable: torch.Tensor | None) -> torch.Tensor:
    """softmax(q·kᵀ/√d)·v of (B, heads, N, d) and (B, heads, M, d); readable is (B, M), True where a key counts."""
    working = _at_least_float32(q.dtype)
    scores = (q.to(working) @ k.to(working).transpose(-2, -1)) / math.sqrt(q.shape[-1])
    if readable is not None:
        scores = scores.masked_fill(~readable[:, None, None, :], float("-inf"))
    weights = scores.softmax(dim=-1)
    return (weights @ v.to(working)).to(v.dtype)


def _rms_norm(y: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Divide by the root mean square over the last axis, multiply by the weight."""
    mean_square = y.pow(2).mean(dim=-1, keepdim=True)
    return y * torch.rsqrt(mean_square + eps) * weight


def _sines_and_cosines(positions: torch.Tensor, frequencies: int) -> torch.Tensor:
    """(n,) float64 → (n, 2·frequencies): sines, then cosines."""
    k = torch.arange(frequencies, dtype=torch.float64, device=positions.device)
    omega = torch.pow(10000.0, -k / frequencies)
    angles = positions[:, None] * omega[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _walk(
    backbone: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    sample: torch.Tensor,
    timesteps: torch.Tensor,
    context: torch.Tensor,
    scheduler: Any,
) -> torch.Tensor:
    """One walk from noise to latents. Channels beyond the latents' own (variances) are left aside."""
    rows, channels = sample.shape[0], sample.shape[1]
    x = sample.clone()  # the caller's noise stays the caller's, whatever the scheduler does
    for t in timesteps:
        answer = backbone(x, t.repeat(rows), context)
        x = scheduler.step(answer[:, :channels], t, x)
    return x


# ---------------------------------------------------------------------------------------------------------------------
# The code.


def timestep_embedding(t: torch.Tensor, dim: int, flip_sin_to_cos: bool, downscale_freq_shift: float) -> torch.Tensor:
    """Return the sinusoidal embedding of timesteps, (B, dim) float32, on the device of `t`."""
    working = _at_least_float32(t.dtype)
    half = dim // 2

    i = torch.arange(half, dtype=working, device=t.device)
    span = (half - downscale_freq_shift) or 1.0  # dim 2 and shift 1: the only frequency is 10000^0
    omega = torch.exp(-math.log(10000.0) * i / span)

    angles = t.to(working)[:, None] * omega[None, :]
    sines, cosines = angles.sin(), angles.cos()
    blocks = [cosines, sines] if flip_sin_to_cos else [sines, cosines]
    if dim % 2 == 1:
        blocks.append(torch.zeros(t.shape[0], 1, dtype=working, device=t.device))
    return torch.cat(blocks, dim=1).to(torch.float32)


def cross_attention(
    x: torch.Tensor, ctx: torch.Tensor, w: dict[str, torch.Tensor], heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Let every place of an image read a context; (B, N, C), without the residual."""
    q = _split_heads(F.linear(x, w["q"]), heads)
    k = _split_heads(F.linear(ctx, w["k"]), heads)
    v = _split_heads(F.linear(ctx, w["v"]), heads)
    return F.linear(_merge_heads(_attend(q, k, v, mask)), w["o"], w["ob"])


def patchify(x: torch.Tensor, p: int) -> torch.Tensor:
    """Cut latents into patches of p × p; tokens row by row, each ordered channel, row, column."""
    rows, channels, height, width = x.shape
    if height % p != 0 or width % p != 0:
        raise ValueError(f"patches of {p} x {p} do not divide latents of {height} x {width}")
    down, across = height // p, width // p
    cut = x.reshape(rows, channels, down, p, across, p)
    # batch, channel, patch row, row, patch column, column → batch, patch row, patch column, channel, row, column
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(rows, down * across, channels * p * p)


def unpatchify(t: torch.Tensor, h: int, w: int, p: int) -> torch.Tensor:
    """Put tokens, each ordered row, column, channel, together to latents."""
    rows = t.shape[0]
    channels = t.shape[2] // (p * p)
    cut = t.reshape(rows, h, w, p, p, channels)
    # batch, patch row, patch column, row, column, channel → batch, channel, patch row, row, patch column, column
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(rows, channels, h * p, w * p)


def adaln_zero_block(
    x: torch.Tensor,
    c: torch.Tensor,
    w: dict[str, torch.Tensor],
    attn: Callable[[torch.Tensor], torch.Tensor],
    mlp: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Apply a DiT block, conditioned by six vectors for each sample."""
    six = F.linear(F.silu(c), w["w"], w["b"])
    # (B, 1, C) each: the middle axis is the tokens', for all of which they are the same
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = six.unsqueeze(1).chunk(6, dim=-1)

    channels = (x.shape[-1],)
    entered = F.layer_norm(x, channels, eps=1e-6) * (1 + scale_a) + shift_a
    x = x + gate_a * attn(entered)
    entered = F.layer_norm(x, channels, eps=1e-5) * (1 + scale_m) + shift_m
    return x + gate_m * mlp(entered)


def sincos_2d(dim: int, H: int, W: int, base_size: int, interpolation_scale: float) -> torch.Tensor:
    """Return the fixed embedding of the places of H × W tokens, (H·W, dim) float32: column first, then row."""
    if dim % 4 != 0:
        raise ValueError(f"a width of {dim} is not divisible by 4")
    columns = torch.arange(W, dtype=torch.float64, device="cpu") * base_size / (W * interpolation_scale)
    rows = torch.arange(H, dtype=torch.float64, device="cpu") * base_size / (H * interpolation_scale)
    of_columns = _sines_and_cosines(columns, dim // 4)[None, :, :].expand(H, W, dim // 2)
    of_rows = _sines_and_cosines(rows, dim // 4)[:, None, :].expand(H, W, dim // 2)
    return torch.cat([of_columns, of_rows], dim=-1).reshape(H * W, dim).to(torch.float32)


def rope_axial(x: torch.Tensor, ids: torch.Tensor, axes_dim: tuple[int, ...], theta: float = 10000.0) -> torch.Tensor:
    """Turn queries or keys by their positions, each axis in channels of its own, neighbours together."""
    angles = []
    for axis, width in enumerate(axes_dim):
        exponents = torch.arange(0, width, 2, dtype=torch.float64, device=ids.device) / width  # 2i/width
        omega = torch.pow(theta, -exponents)
        angles.append(ids[:, axis].to(torch.float64)[:, None] * omega[None, :])
    phi = torch.cat(angles, dim=1)  # (N, d/2), float64: one angle a pair

    working = _at_least_float32(x.dtype)
    cos, sin = phi.cos().to(working), phi.sin().to(working)  # (N, d/2) beside (B, heads, N, d/2)
    pairs = x.to(working).reshape(*x.shape[:-1], x.shape[-1] // 2, 2)
    u, v = pairs[..., 0], pairs[..., 1]
    turned = torch.stack([u * cos - v * sin, u * sin + v * cos], dim=-1)
    return turned.reshape(x.shape).to(x.dtype)


def joint_attention(
    x: torch.Tensor,
    c: torch.Tensor,
    w: dict[str, dict[str, torch.Tensor]],
    heads: int,
    mask: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Let image and text read both, in one attention over all N + L tokens; the image comes first in the list."""
    queries, keys, values = [], [], []
    for name, stream in (("x", x), ("c", c)):
        own = w[name]
        queries.append(_rms_norm(_split_heads(F.linear(stream, own["q"]), heads), own["nq"], eps=1e-6))
        keys.append(_rms_norm(_split_heads(F.linear(stream, own["k"]), heads), own["nk"], eps=1e-6))
        values.append(_split_heads(F.linear(stream, own["v"]), heads))

    readable = None
    if mask is not None:
        of_the_image = torch.ones(x.shape[0], x.shape[1], dtype=torch.bool, device=mask.device)
        readable = torch.cat([of_the_image, mask], dim=1)

    read = _merge_heads(_attend(torch.cat(queries, dim=2), torch.cat(keys, dim=2), torch.cat(values, dim=2), readable))
    image, text = read[:, : x.shape[1]], read[:, x.shape[1] :]
    return {
        "x": F.linear(image, w["x"]["o"], w["x"]["ob"]),
        "c": F.linear(text, w["c"]["o"], w["c"]["ob"]),
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
    """Return what one joint attention of image and text costs."""
    down = H // vsf // patch
    across = W // vsf // patch
    tokens = down * across + text_tokens
    pairs = batch * tokens * tokens
    one_product = 2 * pairs * d_model  # heads·d = d_model: more heads are narrower heads
    return {
        "tokens": tokens,
        "score_bytes": pairs * heads * bytes_per_el,
        "attn_flops": 2 * one_product,
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
    """Apply a ResNet block of a UNet."""

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        return F.group_norm(y, groups, weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    def conv(y: torch.Tensor, name: str, margin: int) -> torch.Tensor:
        return F.conv2d(y, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=margin)

    h = conv(F.silu(norm(x, "norm1")), "conv1", 1)

    e = F.linear(F.silu(temb), weights["time_emb_proj.weight"], weights["time_emb_proj.bias"])
    e = e[:, :, None, None]  # the same at every place
    if time_scale_shift:
        scale, shift = e.chunk(2, dim=1)
        h = norm(h, "norm2") * (1 + scale) + shift
    else:
        h = norm(h + e, "norm2")

    h = conv(F.silu(h), "conv2", 1)
    past = conv(x, "conv_shortcut", 0) if "conv_shortcut.weight" in weights else x
    return (past + h) / output_scale


def unet_forward(sample: torch.Tensor, temb: torch.Tensor, blocks: dict[str, Any]) -> torch.Tensor:
    """Lead a sample down and up through the blocks of a UNet, and its skips across."""
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
    """Denoise the same noise with a UNet and with a DiT, by one loop."""
    context = encoder(tokens)
    return {
        name: _walk(backbone, sample, timesteps, context, make_scheduler())
        for name, backbone in (("unet", unet), ("dit", dit))
    }
