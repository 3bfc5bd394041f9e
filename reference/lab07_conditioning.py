"""Lab 07, UNet and DiT conditioning: how two kinds of denoiser are told the time and the prompt.

Symbols are those of Vaswani et al., "Attention Is All You Need" (2017), Rombach et al., "High-Resolution Image
Synthesis with Latent Diffusion Models" (2022), and Peebles and Xie, "Scalable Diffusion Models with Transformers"
(2023). Each function stands by itself.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F


def checkpoint_backbone() -> tuple[str, ...]:
    """Return what changes when a UNet is replaced by a DiT: the network and its bill, not what it is trained for."""
    return ("layers", "cost")


def checkpoint_context() -> dict[str, Any]:
    """Return the context's shape, and where its numbers enter.

    The encoder gives one vector of 768 numbers a token, and fills every prompt up to 77 tokens.
    """
    return {"shape": (2, 77, 768), "enters": ("keys", "values")}


def checkpoint_maps() -> dict[str, tuple[int, ...]]:
    """Return the attention weights' shapes: 64·48 places look at each other, or at 77 tokens."""
    return {"self": (2, 8, 3072, 3072), "cross": (2, 8, 3072, 77)}


def checkpoint_calls() -> dict[str, int]:
    """Return how often each part runs in 30 guided steps: prompts are encoded before the loop, in one batch."""
    return {"encoder": 1, "denoiser": 30, "rows": 4}


def checkpoint_skips() -> dict[str, int]:
    """Return what a UNet of four levels keeps: 1 + 4·2 + 3 tensors; the first comes last, the last comes first."""
    return {"skips": 12, "first": 2560, "last": 640}


def checkpoint_first_step() -> tuple[str, ...]:
    """Return what learns in the first step of adaLN-Zero: gates of 0 let no gradient through to what they close."""
    return ("modulation",)


def timestep_embedding(t: torch.Tensor, dim: int, flip_sin_to_cos: bool, downscale_freq_shift: float) -> torch.Tensor:
    """Return the sinusoidal embedding of timesteps (B,) as (B, dim) float32 (Vaswani et al. 2017, section 3.5).

    ω_i = 10000^(−i/(dim/2 − shift)), i = 0 … dim/2 − 1: first sin(t·ω), then cos(t·ω), or the other way round. An odd
    `dim` is filled up with a zero. `get_timestep_embedding` in diffusers.
    """
    half = dim // 2
    exponent = torch.arange(half, device=t.device) / (half - downscale_freq_shift)
    omega = torch.exp(-math.log(10000.0) * exponent)
    angle = t.float()[:, None] * omega
    sin, cos = torch.sin(angle), torch.cos(angle)
    embedding = torch.cat([cos, sin] if flip_sin_to_cos else [sin, cos], dim=1)
    return F.pad(embedding, (0, dim - 2 * half))


def cross_attention(
    x: torch.Tensor, ctx: torch.Tensor, w: dict[str, torch.Tensor], heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Let every place of the image read the context (Rombach et al. 2022, section 3.3).

    Q = x·W_Qᵀ, K = ctx·W_Kᵀ, V = ctx·W_Vᵀ, softmax(Q·Kᵀ/√d)·V for each head, then the output projection with its bias.
    A head owns d neighbouring channels. `mask` (B, L) is True where a token takes part.
    """
    # (B, tokens, heads·d) -> (B, heads, tokens, d)
    query, key, value = (
        (y @ w[name].T).unflatten(2, (heads, -1)).transpose(1, 2) for y, name in ((x, "q"), (ctx, "k"), (ctx, "v"))
    )
    scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], -torch.inf)
    read = torch.softmax(scores, dim=3) @ value
    return read.transpose(1, 2).flatten(2) @ w["o"].T + w["ob"]


def patchify(x: torch.Tensor, p: int) -> torch.Tensor:
    """Cut (B, C, H, W) into tokens (B, H/p · W/p, C·p·p) (Peebles & Xie 2023, section 3.2).

    Tokens run row by row. Within a token the order is that of a convolution's weight: channel, row, column.
    """
    if x.shape[2] % p or x.shape[3] % p:
        raise ValueError(f"patches of {p} do not divide {x.shape[2]}×{x.shape[3]}")
    # (B, C, h, p, w, p) -> (B, h, w, C, p, p)
    cut = x.unflatten(3, (-1, p)).unflatten(2, (-1, p)).permute(0, 2, 4, 1, 3, 5)
    return cut.flatten(3).flatten(1, 2)


def unpatchify(t: torch.Tensor, h: int, w: int, p: int) -> torch.Tensor:
    """Put tokens (B, h·w, p·p·C) together to (B, C, h·p, w·p).

    Within a token the order is that of the last linear layer of a DiT: row, column, channel.
    """
    # (B, h, w, p, p, C) -> (B, C, h, p, w, p)
    cut = t.unflatten(2, (p, p, -1)).unflatten(1, (h, w)).permute(0, 5, 1, 3, 2, 4)
    return cut.flatten(4).flatten(2, 3)


def adaln_zero_block(
    x: torch.Tensor,
    c: torch.Tensor,
    w: dict[str, torch.Tensor],
    attn: Callable[[torch.Tensor], torch.Tensor],
    mlp: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Apply one DiT block with adaLN-Zero (Peebles & Xie 2023, section 3.2 and figure 3).

    Six vectors a sample come from c (B, C): shift, scale and gate for each of the two branches.
    x + gate·f(LN(x)·(1 + scale) + shift). `BasicTransformerBlock` with "ada_norm_zero" in diffusers, whose two norms
    have different eps.
    """
    six = F.silu(c) @ w["w"].T + w["b"]
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = six[:, None].chunk(6, dim=2)
    width = (x.shape[2],)
    x = x + gate_a * attn(F.layer_norm(x, width, eps=1e-6) * (1.0 + scale_a) + shift_a)
    return x + gate_m * mlp(F.layer_norm(x, width, eps=1e-5) * (1.0 + scale_m) + shift_m)


def sincos_2d(dim: int, H: int, W: int, base_size: int, interpolation_scale: float) -> torch.Tensor:
    """Return the fixed position embedding of H·W tokens, (H·W, dim) float32.

    A position is i·base/(size·interpolation) along its own axis; ω_k = 10000^(−k/(dim/4)). The first half of the
    channels holds sin and cos of the column, the second of the row. `get_2d_sincos_pos_embed` in diffusers.
    """
    if dim % 4:
        raise ValueError(f"{dim} channels cannot hold sine and cosine of two axes")
    k = dim // 4
    omega = 10000.0 ** (-torch.arange(k).double() / k)
    row = torch.arange(H) * (base_size / H / interpolation_scale)
    column = torch.arange(W) * (base_size / W / interpolation_scale)
    # Row by row: the column runs fastest.
    angle_x = (column[:, None] * omega).repeat(H, 1)
    angle_y = (row[:, None] * omega).repeat_interleave(W, dim=0)
    halves = [torch.sin(angle_x), torch.cos(angle_x), torch.sin(angle_y), torch.cos(angle_y)]
    return torch.cat(halves, dim=1).float()


def rope_axial(x: torch.Tensor, ids: torch.Tensor, axes_dim: tuple[int, ...], theta: float = 10000.0) -> torch.Tensor:
    """Rotate queries or keys (B, heads, N, d) by their positions (Su et al. 2021, section 3.2), axis by axis.

    Axis a owns axes_dim[a] channels. In it, the neighbours 2i and 2i + 1 are turned by id_a·θ^(−2i/axes_dim[a]).
    """
    angles = []
    for axis, axis_dim in enumerate(axes_dim):
        # float64: at large positions float32 loses the angle's last turns.
        step = torch.arange(0, axis_dim, 2, dtype=torch.float64, device=x.device)
        angles.append(ids[:, axis, None] * theta ** (-step / axis_dim))
    angle = torch.cat(angles, dim=1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Any precision times float64 is float64.
    even, odd = x.unflatten(3, (-1, 2)).unbind(4)
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=4)
    return turned.flatten(3).to(x.dtype)


def joint_attention(
    x: torch.Tensor,
    c: torch.Tensor,
    w: dict[str, dict[str, torch.Tensor]],
    heads: int,
    mask: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Let image and text read both, in one attention (Esser et al. 2024, section 4, figure 2: MM-DiT).

    Each stream has its own projections w["x"], w["c"] and its own RMS norms of query and key, per head. One softmax
    runs over all N + L keys. `JointAttnProcessor2_0` in diffusers.
    """
    rows = []
    for y, own in ((x, w["x"]), (c, w["c"])):
        query, key, value = ((y @ own[name].T).unflatten(2, (heads, -1)).transpose(1, 2) for name in ("q", "k", "v"))
        width = (query.shape[3],)
        query, key = F.rms_norm(query, width, own["nq"], eps=1e-6), F.rms_norm(key, width, own["nk"], eps=1e-6)
        rows.append((query, key, value))
    # Image first, then text.
    query, key, value = (torch.cat([rows[0][i], rows[1][i]], dim=2) for i in range(3))
    scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
    if mask is not None:
        # The mask is the text's; places of the image always take part.
        keep = F.pad(mask, (x.shape[1], 0), value=True)
        scores = scores.masked_fill(~keep[:, None, None, :], -torch.inf)
    read = (torch.softmax(scores, dim=3) @ value).transpose(1, 2).flatten(2)
    image, text = read.split([x.shape[1], c.shape[1]], dim=1)
    return {"x": image @ w["x"]["o"].T + w["x"]["ob"], "c": text @ w["c"]["o"].T + w["c"]["ob"]}


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
    """Return tokens, bytes of the scores and FLOPs of one joint attention over a picture of H × W pixels.

    N = H/(vsf·p) · W/(vsf·p) + text. Scores hold B·heads·N² numbers; Q·Kᵀ, and the weights times V, take 2·B·N²·d FLOPs
    each.
    """
    tokens = (H // vsf // patch) * (W // vsf // patch) + text_tokens
    pairs = batch * tokens**2
    return {"tokens": tokens, "score_bytes": pairs * heads * bytes_per_el, "attn_flops": 4 * pairs * d_model}


def resnet_block(
    x: torch.Tensor,
    temb: torch.Tensor,
    weights: dict[str, torch.Tensor],
    time_scale_shift: bool,
    groups: int,
    eps: float,
    output_scale: float,
) -> torch.Tensor:
    """Apply a UNet's ResNet block (Ho et al. 2020, appendix B; Dhariwal & Nichol 2021, section 3, equation 6).

    Norm, SiLU, convolution, the time, norm, SiLU, convolution, then the way past them. The time is added before the
    second norm, or scales and shifts what comes out of it. Weights are named as in `ResnetBlock2D` of diffusers.
    """

    def norm(h: torch.Tensor, name: str) -> torch.Tensor:
        return F.group_norm(h, groups, weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    def conv(h: torch.Tensor, name: str, padding: int) -> torch.Tensor:
        return F.conv2d(h, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    h = conv(F.silu(norm(x, "norm1")), "conv1", 1)
    time = (F.silu(temb) @ weights["time_emb_proj.weight"].T + weights["time_emb_proj.bias"])[:, :, None, None]
    if time_scale_shift:
        scale, shift = time.chunk(2, dim=1)
        h = norm(h, "norm2") * (1.0 + scale) + shift
    else:
        h = norm(h + time, "norm2")
    h = conv(F.silu(h), "conv2", 1)
    if "conv_shortcut.weight" in weights:
        x = conv(x, "conv_shortcut", 0)
    return (x + h) / output_scale


def unet_forward(sample: torch.Tensor, temb: torch.Tensor, blocks: dict[str, Any]) -> torch.Tensor:
    """Lead a sample down and up through the blocks of a UNet (Ronneberger et al. 2015, figure 1; Ho et al. 2020).

    Every output of the way down is kept; every ResNet of the way up takes the last one that is left, behind its own
    input on the channel axis. `UNet2DModel.forward` in diffusers.
    """
    # 1. Down: keep what each layer makes, the convolution at the entrance and the downsamplers included.
    h = blocks["conv_in"](sample)
    skips = [h]
    for level in blocks["down"]:
        for resnet in level["resnets"]:
            h = resnet(h, temb)
            skips.append(h)
        if level["downsampler"] is not None:
            h = level["downsampler"](h)
            skips.append(h)
    # 2. The middle.
    h = blocks["mid"](h, temb)
    # 3. Up: last in, first out.
    for level in blocks["up"]:
        for resnet in level["resnets"]:
            h = resnet(torch.cat([h, skips.pop()], dim=1), temb)
        if level["upsampler"] is not None:
            # An odd size was rounded up on the way down, so twice the size is not always right.
            h = level["upsampler"](h, skips[-1].shape[2:])
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
    """Drive a UNet and a DiT with one loop, from the same noise and the same encoded prompt.

    The contract of both is one: latents, a timestep for each of them, the condition. The DiT also predicts variances in
    a second half of its channels (Peebles & Xie 2023, section 3.2: Σ), which this loop leaves aside.
    """
    context = encoder(tokens)
    ends = {}
    for name, backbone in (("unet", unet), ("dit", dit)):
        scheduler, x = make_scheduler(), sample
        for t in timesteps:
            prediction = backbone(x, t.expand(x.shape[0]), context)[:, : x.shape[1]]
            x = scheduler.step(prediction, t, x)
        ends[name] = x
    return ends
