"""Lab 07, UNet and DiT conditioning: how two kinds of denoiser are told the time and the prompt.

Read page.md first. Fill in each function and run `grade lab07`. Let each function stand by itself: one that calls
another of yours also inherits its mistakes. (Small helpers of your own are fine.) Inputs stay the caller's: none is
changed, lists and dicts included. Gradients flow through all functions of tensors, so nothing is detached, no function
runs under `no_grad`, and nothing that has a gradient is read back with `.item()` or `.numpy()`.

Tensors are float32 unless it says otherwise, their numbers finite, and sizes fit each other. Where half precision is
allowed, you may compute in float32 inside and round at the end: the tolerance has room for both.
"""

from collections.abc import Callable
from typing import Any

import torch

# Six predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_backbone() -> tuple[str, ...]:
    """A latent-diffusion model replaces its UNet by a DiT and is trained anew. Predict what cannot stay as it was.

    Returns:
        Those of "objective" (what is predicted, and the loss), "layers" (what the network consists of), "scheduler"
        (how a prediction becomes the next latents), "latents" (their shape, going in and coming out), "cost" (how time
        and memory grow with resolution) that become others by the exchange itself, in this order. What somebody might
        change on the same occasion does not count.
    """
    raise NotImplementedError


def checkpoint_context() -> dict[str, Any]:
    """Two prompts, of 5 and of 20 words, condition a UNet like Stable Diffusion 1's. Predict what it reads, and where.

    Its text encoder makes a vector of 768 numbers of every token and fills each prompt up to 77 tokens.

    Returns:
        {"shape": shape of the context that the UNet is given, without guidance, a tuple of ints, batch first,
         "enters": those of "latents", "queries", "keys", "values" that are computed from the context, in this order, as
         a tuple}.
    """
    raise NotImplementedError


def checkpoint_maps() -> dict[str, tuple[int, ...]]:
    """Latents of 64 × 48 (height × width), a batch of 2, 8 heads, a context of 77 tokens. Predict two shapes.

    Meant are the attention weights, after the softmax, of one layer at the UNet's full resolution, where every place of
    the latents is a query.

    Returns:
        {"self": their shape in self-attention, "cross": their shape in cross-attention}, (batch, heads, queries, keys).
    """
    raise NotImplementedError


def checkpoint_calls() -> dict[str, int]:
    """Two prompts are sampled in 30 steps with classifier-free guidance. Predict how often each part has to run.

    All four texts (the prompts, and the empty one for each) are encoded as one batch; a guided step is one call.

    Returns:
        {"encoder": calls of the text encoder, "denoiser": calls of the denoiser, "rows": batch size of one call of
        the denoiser}, three ints, as few as possible.
    """
    raise NotImplementedError


def checkpoint_skips() -> dict[str, int]:
    """A UNet has levels of 320, 640, 1280 and 1280 channels. Predict three numbers.

    On the way down each level has 2 ResNets. After each level but the last comes a downsampler. Kept are the output of
    the first convolution and of every ResNet and downsampler. On the way up each level has 3 ResNets; each takes one
    kept tensor.

    Returns:
        {"skips": how many tensors are kept, "first": channels that the first ResNet of the way up is given,
         "last": channels that the last one is given}, three ints.
    """
    raise NotImplementedError


def checkpoint_first_step() -> tuple[str, ...]:
    """A DiT block with adaLN-Zero takes its first step of training. Predict which of its parts gets a gradient.

    The linear layer that makes shift, scale and gate starts at zero, weight and bias; all else starts at random.

    Returns:
        Those of "modulation" (that linear layer), "attention", "mlp" of which any weight gets a gradient other than
        zero, in this order.
    """
    raise NotImplementedError


# Now the code.


def timestep_embedding(t: torch.Tensor, dim: int, flip_sin_to_cos: bool, downscale_freq_shift: float) -> torch.Tensor:
    """Return the sinusoidal embedding of timesteps, which the network's first two linear layers are given.

        ω_i = 10000^(−i / (dim/2 − shift)), i = 0 … dim/2 − 1        [sin(t·ω) | cos(t·ω)]

    Two blocks one after the other, not interleaved. For t = 2, dim = 4, shift = 0: ω = 1 and 0.01, so the embedding
    is sin 2, sin 0.02, cos 2, cos 0.02 = 0.909, 0.020, −0.416, 1.000.

    Args:
        t: (B,) of any dtype, whole or fractional, as it is: 0 … 1000, not 0 … 1.
        dim: width of the embedding. If it is odd, dim/2 is rounded down, in the exponent as well, and one zero comes
            last, behind both blocks. dim/2 − shift is above 0.
        flip_sin_to_cos: True puts the cosines first. (Stable Diffusion: True, and shift 0. DDPM: False, and 1.)
        downscale_freq_shift: shift.

    Returns:
        (B, dim) float32, on the device of `t`, whatever dtype `t` has; angles are computed in float32 or better.
    """
    raise NotImplementedError


def cross_attention(
    x: torch.Tensor, ctx: torch.Tensor, w: dict[str, torch.Tensor], heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Let every place of an image read a context.

        Q = x·W_Qᵀ, K = ctx·W_Kᵀ, V = ctx·W_Vᵀ        softmax(Q·Kᵀ/√d)·V, for each head        out: ·W_Oᵀ + bias

    The width I of queries, keys and values is heads·d; a head owns d neighbouring channels. With a single token of
    context all attention is on it: x plays no part, and every place gets W_O·W_V·token + bias.

    Args:
        x: (B, N, C), the image's tokens. float32, float16 or bfloat16; all tensors of a call have the same dtype.
        ctx: (B, L, D), the context.
        w: "q" (I, C), "k" (I, D), "v" (I, D), "o" (C, I), "ob" (C,), the output's bias. Linear layers store their
            weights as (out, in).
        heads: number of heads.
        mask: (B, L) bool, True where a token takes part, at least one in every sample; None: all take part.

    Returns:
        (B, N, C) of the dtype of `x`, without the residual: the caller adds it.
    """
    raise NotImplementedError


def patchify(x: torch.Tensor, p: int) -> torch.Tensor:
    """Cut latents into patches of p × p and make each one a token.

    Tokens run row by row. Within a token the numbers are ordered channel, row, column: as in a convolution's weight,
    so that tokens @ conv.weight.flatten(1).T is that convolution. One channel, p = 2: the picture [[1, 2, 3, 4],
    [5, 6, 7, 8]] becomes the tokens [1, 2, 5, 6] and [3, 4, 7, 8].

    Args:
        x: (B, C, H, W) of any dtype, whole numbers among them. If p does not divide each of H and W, raise a
            ValueError.
        p: side of a patch.

    Returns:
        (B, H/p · W/p, C·p·p).
    """
    raise NotImplementedError


def unpatchify(t: torch.Tensor, h: int, w: int, p: int) -> torch.Tensor:
    """Put a DiT's last tokens together to latents.

    Tokens run row by row. Within a token the numbers are ordered row, column, channel: that is how a DiT's last linear
    layer is read, so this is *not* the way back of `patchify`. Two channels, p = 1: the token [1, 2] is a pixel with 1
    in channel 0 and 2 in channel 1. p = 2: [1, 2, 3, 4, 5, 6, 7, 8] is [[1, 3], [5, 7]] and [[2, 4], [6, 8]].

    Args:
        t: (B, h·w, p·p·C) of any dtype.
        h, w: rows and columns of patches.
        p: side of a patch.

    Returns:
        (B, C, h·p, w·p), dtype of `t`.
    """
    raise NotImplementedError


def adaln_zero_block(
    x: torch.Tensor,
    c: torch.Tensor,
    w: dict[str, torch.Tensor],
    attn: Callable[[torch.Tensor], torch.Tensor],
    mlp: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Apply a DiT block, conditioned by six vectors for each sample.

        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = SiLU(c)·Wᵀ + b, cut in six along the channels
        y = x + gate_a·attn(LN(x)·(1 + scale_a) + shift_a)
        answer = y + gate_m·mlp(LN(y)·(1 + scale_m) + shift_m)

    LN is a layer norm over the channels without weight and bias; its eps is 1e-6 before attn and 1e-5 before mlp. With
    W = 0 and b = 0 the block hands x through unchanged, to the last bit.

    Args:
        x: (B, N, C) float32.
        c: (B, C), the condition: time and class, already embedded. One vector a sample, the same for all its tokens.
        w: "w" (6C, C) and "b" (6C,).
        attn, mlp: functions from (B, N, C) to (B, N, C). Each is called once.

    Returns:
        (B, N, C).
    """
    raise NotImplementedError


def sincos_2d(dim: int, H: int, W: int, base_size: int, interpolation_scale: float) -> torch.Tensor:
    """Return the fixed embedding of the places of H × W tokens.

        x = column·base_size/(W·interpolation)        y = row·base_size/(H·interpolation)
        ω_k = 10000^(−k/(dim/4))        [sin(x·ω) | cos(x·ω) | sin(y·ω) | cos(y·ω)], k = 0 … dim/4 − 1

    The column comes first, as in diffusers, and each axis is measured by its own size. For dim = 4, H = 2, W = 3,
    base_size = 2, interpolation 1: token 4 is row 1, column 1, so x = 2/3, y = 1, and its embedding is
    0.618, 0.786, 0.841, 0.540.

    Args:
        dim: channels. If 4 does not divide it, raise a ValueError.
        H, W: rows and columns of tokens.
        base_size: side of the grid on which the model was trained. Together the W columns take up a length of
            base_size/interpolation, however many they are, and so do the H rows.
        interpolation_scale: divides positions once more.

    Returns:
        (H·W, dim) float32, tokens row by row; on the CPU. Compute in float32 or better.
    """
    raise NotImplementedError


def rope_axial(x: torch.Tensor, ids: torch.Tensor, axes_dim: tuple[int, ...], theta: float = 10000.0) -> torch.Tensor:
    """Turn queries or keys by their positions (rotary embedding), each axis in channels of its own.

    Axis a owns axes_dim[a] channels, one axis after the other. In it the neighbours 2i and 2i + 1 are turned like a
    point of the plane, (u, v) → (u·cos φ − v·sin φ, u·sin φ + v·cos φ), by

        φ = id_a·θ^(−2i/axes_dim[a]), i = 0 … axes_dim[a]/2 − 1

    For one axis of 2 channels φ is the id: (1, 0) at id π/2 becomes (0, 1).

    Args:
        x: (B, heads, N, d), d the sum of `axes_dim`. float32, float16 or bfloat16.
        ids: (N, number of axes) of any real dtype, on the device of `x`: where each token is, in all samples and heads.
        axes_dim: even widths.
        theta: θ.

    Returns:
        Shape, dtype and device of `x`. Compute angles in float64 (ids may be large), take cosine and sine of them, turn
        in float32 or better, and round to the dtype of `x` at the end.
    """
    raise NotImplementedError


def joint_attention(
    x: torch.Tensor,
    c: torch.Tensor,
    w: dict[str, dict[str, torch.Tensor]],
    heads: int,
    mask: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Let image and text read both, in one attention over all N + L tokens (MM-DiT, as in Stable Diffusion 3).

    Each stream has weights of its own for everything. Q = y·W_Qᵀ, K = y·W_Kᵀ, V = y·W_Vᵀ; then every head's query
    and key is divided by its root mean square over the d channels of the head and multiplied by a weight (RMS norm,
    eps 1e-6, added to the mean square): for d = 2 the query (3, 4) has root mean square √12.5 and becomes
    (0.849, 1.131) times the weight. Values are not normalised. Then one softmax(Q·Kᵀ/√d)·V over the tokens of both,
    and for each stream its own output projection with bias.

    Args:
        x: (B, N, C), the image's tokens.
        c: (B, L, D), the text's tokens.
        w: w["x"] for the image and w["c"] for the text, each with "q", "k", "v" (I, C) or (I, D), "nq", "nk" (d,), the
            weights of the two norms, "o" (C, I) or (D, I), and "ob" (C,) or (D,).
        heads: number of heads; I = heads·d, the same for both streams, and a head owns d neighbouring channels.
        mask: (B, L) bool, of the text alone: True where a token may be read. Image tokens always may, so a sample may
            have no True at all. None: all may.

    Returns:
        {"x": (B, N, C), "c": (B, L, D)}, without residuals. What masked tokens read themselves is computed as for all.
    """
    raise NotImplementedError


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
    """Return what one joint attention of image and text costs.

    A picture of 64 × 96, VAE factor 8, patches of 2: 4·6 = 24 tokens, and 10 of text make 34. With 3 heads, 4 bytes and
    a batch of 2 the scores are 2·3·34²·4 = 27744 bytes; of width 48 the FLOPs are 2·(2·2·34²·48) = 443904.

    Args:
        H, W: of the picture, in pixels.
        vsf: how many pixels of a side are one latent. Where it does not divide, round down.
        patch: how many latents of a side are one token; round down again.
        d_model: width of queries, keys and values, all heads together, a multiple of heads.
        heads: number of heads.
        text_tokens: tokens of text that take part.
        bytes_per_el: bytes of a number.
        batch: rows that the network is given, guidance's doubling already in them.

    Returns:
        "tokens": of one row, image and text. "score_bytes": bytes of *one* set of scores, N × N for each head and row.
        "attn_flops": floating-point operations of Q·Kᵀ and of the weights times V, a multiplication and an addition
        counted as two; projections and softmax left out. Three ints.
    """
    raise NotImplementedError


def resnet_block(
    x: torch.Tensor,
    temb: torch.Tensor,
    weights: dict[str, torch.Tensor],
    time_scale_shift: bool,
    groups: int,
    eps: float,
    output_scale: float,
) -> torch.Tensor:
    """Apply a ResNet block of a UNet.

        h = conv1(SiLU(norm1(x)))        e = time_emb_proj(SiLU(temb))
        time_scale_shift False: h = norm2(h + e)
        time_scale_shift True:  h = norm2(h)·(1 + scale) + shift, where scale is the first half of e, shift the second
        y = (shortcut(x) + conv2(SiLU(h))) / output_scale

    e is one vector a sample, the same at every place. For x = 0, all weights 0 but conv2.bias = 3, and output_scale =
    2: y = 1.5 everywhere.

    Args:
        x: (B, C, H, W). float32, or all tensors bfloat16.
        temb: (B, E).
        weights: as `ResnetBlock2D` of diffusers names them. "norm1.weight", "norm1.bias" (C,); "conv1.weight"
            (C', C, 3, 3), "conv1.bias"; "time_emb_proj.weight" (C', E), or (2C', E) with time_scale_shift, and
            "time_emb_proj.bias"; "norm2.weight", "norm2.bias" (C',); "conv2.weight" (C', C', 3, 3), "conv2.bias". If,
            and only if, there are "conv_shortcut.weight" (C', C, 1, 1) and with it "conv_shortcut.bias", x goes through
            that convolution on its way past; else C' is C, and it goes past as it is.
        time_scale_shift: how the time enters.
        groups, eps: of both group norms.
        output_scale: divides the sum.

    Returns:
        (B, C', H, W), dtype of `x`. The 3 × 3 convolutions keep the size: a margin of one zero.
    """
    raise NotImplementedError


def unet_forward(sample: torch.Tensor, temb: torch.Tensor, blocks: dict[str, Any]) -> torch.Tensor:
    """Lead a sample down and up through the blocks of a UNet, and its skips across.

    Down: keep the output of conv_in, of every ResNet and of every downsampler. Up: every ResNet takes the last kept
    tensor that is left (last in, first out), concatenated on the channels *behind* its own input. With ResNets
    [r1], [r2] on the way down and one downsampler d between them, kept are conv_in, r1, d, r2: the first ResNet
    of the way up gets r2, the second d, and the next level's r1, then conv_in.

    Args:
        sample: (B, C, H, W). H and W need not be even: downsamplers round up.
        temb: (B, E), handed on to every ResNet and to the middle.
        blocks: functions of tensors, each called once. "conv_in"(sample). "down": a list of levels, each {"resnets":
            [r, ...], "downsampler": d or None}, called as r(h, temb) and, after them, d(h). "mid"(h, temb). "up": a
            list of levels in the order in which they are walked, each {"resnets": [r, ...], "upsampler": u or None},
            called as r(h, temb) and, after them, u(h, size), with size = (height, width) of the kept tensor that will
            be taken next, two ints. "conv_out"(h). There are as many ResNets on the way up as tensors are kept. The
            same blocks serve the next step: leave the lists as they are.

    Returns:
        What conv_out returns, the sample's height and width.
    """
    raise NotImplementedError


def two_backbones(
    sample: torch.Tensor,
    timesteps: torch.Tensor,
    tokens: torch.Tensor,
    encoder: Callable[[torch.Tensor], torch.Tensor],
    unet: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    dit: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    make_scheduler: Callable[[], Any],
) -> dict[str, torch.Tensor]:
    """Denoise the same noise with a UNet and with a DiT, by one loop.

    Each backbone walks all timesteps, in their order, from the same `sample`, with the same encoded prompt and without
    guidance: B rows, one call a step. It is called as backbone(x, t, context) with t (B,), the step's timestep once for
    each row. For 2 rows and timesteps [900, 300] it sees [900, 900], then [300, 300]. Which backbone walks first, or
    whether both go step by step together, is yours to choose.

    Args:
        sample: (B, C, H, W), pure noise.
        timesteps: (T,) int64, falling.
        tokens: (B, L) int64, the prompts.
        encoder: context = encoder(tokens), (B, L, D). It is costly, and the prompt never changes: one call is enough.
        unet: returns a prediction (B, C, H, W).
        dit: returns (B, 2C, H, W): the prediction, then variances, which this loop leaves aside.
        make_scheduler: returns a new scheduler. x = scheduler.step(prediction, t, x), with t the step's entry of
            `timesteps`. It remembers what it has seen, so that one scheduler serves one walk.

    Returns:
        {"unet": where the UNet's walk ends, "dit": where the DiT's ends}, both (B, C, H, W). Gradients flow from both
        ends back to the noise, as everywhere in this lab.
    """
    raise NotImplementedError
