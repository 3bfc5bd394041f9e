"""Lab 09, ControlNet and IP-Adapter: structure through residuals, a reference picture through attention."""

import math

import torch
import torch.nn.functional as F

# ---------------------------------------------------------------------------------------------------------------------
# Predictions
# ---------------------------------------------------------------------------------------------------------------------


def checkpoint_residuals() -> dict[str, int | tuple[int, ...]]:
    # 768 high, 512 wide -> latents 96 x 64; three downsamplers -> 12 x 8. Both halves of the guidance: batch 2.
    # conv_in 1, three levels of two layers and a downsampler 9, the last level's two layers 2.
    return {"down": 12, "first": (2, 320, 96, 64), "mid": (2, 1280, 12, 8)}


def checkpoint_places() -> tuple[str, ...]:
    return ("skips", "mid output", "decoder")


def checkpoint_evaluations() -> dict[str, int]:
    # UNet: 20 steps of two rows. ControlNet: every step, one row (guess mode). Steps 0..9 end at 0.5 or before.
    return {"unet_rows": 40, "control_calls": 20, "control_rows": 20, "controlled_steps": 10}


def checkpoint_zero_conv() -> tuple[str, ...]:
    return ("weight", "bias")


def checkpoint_adapters() -> dict[str, str]:
    return {"lora": "weights", "controlnet": "residuals", "ip_adapter": "tokens"}


def checkpoint_strength() -> dict[str, float | str]:
    return {"norm": 8.0, "at_zero": "prompt alone", "raises": "structure"}


# ---------------------------------------------------------------------------------------------------------------------
# Small helpers
# ---------------------------------------------------------------------------------------------------------------------


def _step_is_inside(i: int, n: int, start: float, end: float) -> bool:
    """Whether step i of n, from i/n to (i + 1)/n, lies in [start, end] as a whole."""
    return i / n >= start and (i + 1) / n <= end


def _depth_weights(n_down: int, guess: bool) -> list[float]:
    """n_down weights of the down features and, last, the one of the mid block."""
    if not guess:
        return [1.0] * (n_down + 1)
    return torch.logspace(-1, 0, n_down + 1).tolist()


def _split_heads(projected: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, heads * d) -> (B, heads, N, d); head h owns the channels h*d to (h + 1)*d."""
    batch, length, width = projected.shape
    return projected.reshape(batch, length, heads, width // heads).transpose(1, 2)


def _merge_heads(per_head: torch.Tensor) -> torch.Tensor:
    """(B, heads, N, d) -> (B, N, heads * d)."""
    return per_head.transpose(1, 2).flatten(2)


# ---------------------------------------------------------------------------------------------------------------------
# The code
# ---------------------------------------------------------------------------------------------------------------------


def control_residuals(
    feats: list[torch.Tensor],
    mid: torch.Tensor,
    zero_convs: list[tuple[torch.Tensor, torch.Tensor]],
    zero_mid: tuple[torch.Tensor, torch.Tensor],
    scale: float,
    guess: bool,
) -> dict[str, list[torch.Tensor] | torch.Tensor]:
    """Features through their zero convolutions, then times scale and depth weight."""
    if len(zero_convs) != len(feats):
        raise ValueError(f"{len(feats)} features, but {len(zero_convs)} zero convolutions")

    weights = _depth_weights(len(feats), guess)

    def hand_over(feature: torch.Tensor, conv: tuple[torch.Tensor, torch.Tensor], weight: float) -> torch.Tensor:
        kernel, bias = conv
        # A Python number as the factor: half precision stays half precision.
        return F.conv2d(feature, kernel, bias) * (scale * weight)

    down = [hand_over(h, conv, w) for h, conv, w in zip(feats, zero_convs, weights[:-1], strict=True)]
    return {"down": down, "mid": hand_over(mid, zero_mid, weights[-1])}


def unet_with_control(
    unet,
    x: torch.Tensor,
    t: torch.Tensor | int,
    ctx: torch.Tensor,
    down_res: list[torch.Tensor],
    mid_res: torch.Tensor,
) -> torch.Tensor:
    """The forward pass of a UNet, with residuals on the copies of the skips and on the mid block's output."""
    timesteps = torch.as_tensor(t, device=x.device).reshape(-1).expand(x.shape[0])
    emb = unet.time_embedding(unet.time_proj(timesteps).to(dtype=x.dtype))
    more = {"encoder_hidden_states": ctx}

    # Down: as if there were no ControlNet.
    h = unet.conv_in(x)
    skips = [h]
    for block in unet.down_blocks:
        h, left = block(h, emb, **more)
        skips.extend(left)

    if len(down_res) != len(skips):
        raise ValueError(f"the UNet leaves {len(skips)} skips, but {len(down_res)} residuals were given")
    # Out of place: the last skip is the very tensor that goes into the mid block.
    controlled = [skip + residual for skip, residual in zip(skips, down_res, strict=True)]

    # Middle: the encoder's own output in, the residual on what comes out.
    h = unet.mid_block(h, emb, **more) + mid_res

    # Up: the last skips first, as many as the block has resnets.
    left_over = len(controlled)
    for block in unet.up_blocks:
        first = left_over - len(block.resnets)
        taken = tuple(controlled[first:left_over])
        size = tuple(controlled[first - 1].shape[-2:]) if first > 0 else None
        h = block(h, taken, emb, upsample_size=size, **more)
        left_over = first

    return unet.conv_out(unet.conv_act(unet.conv_norm_out(h)))


def control_window(n: int, start: float, end: float) -> list[float]:
    """1.0 for each step that lies in [start, end] as a whole, 0.0 for the others."""
    if n < 1:
        raise ValueError(f"a loop has at least one step, not {n}")
    if not 0 <= start < end <= 1:
        raise ValueError(f"a window needs 0 <= start < end <= 1, not {start} and {end}")
    return [1.0 if i / n >= start and (i + 1) / n <= end else 0.0 for i in range(n)]


def multi_control(
    nets: list,
    x: torch.Tensor,
    t: torch.Tensor,
    ctx: torch.Tensor,
    hints: list[torch.Tensor],
    scales: list[float],
) -> dict[str, list[torch.Tensor] | torch.Tensor]:
    """The sum of what several ControlNets answer; each is asked once."""
    if not len(nets) == len(hints) == len(scales):
        raise ValueError(f"{len(nets)} nets, {len(hints)} hints and {len(scales)} scales")
    if not nets:
        raise ValueError("at least one ControlNet is needed")

    answers = [
        net(x, t, ctx, controlnet_cond=hint, conditioning_scale=scale, return_dict=False)
        for net, hint, scale in zip(nets, hints, scales, strict=True)
    ]
    downs = [down for down, _ in answers]
    mids = [mid for _, mid in answers]

    joint_down = []
    for at_one_place in zip(*downs, strict=True):
        total = at_one_place[0]
        for residual in at_one_place[1:]:
            total = total + residual
        joint_down.append(total)

    joint_mid = mids[0]
    for residual in mids[1:]:
        joint_mid = joint_mid + residual
    return {"down": joint_down, "mid": joint_mid}


def control_loop(
    unet,
    controlnet,
    scheduler,
    noise: torch.Tensor,
    cond: torch.Tensor,
    uncond: torch.Tensor,
    hint: torch.Tensor,
    guidance_scale: float,
    scale: float,
    start: float,
    end: float,
    steps: int,
    guess: bool,
) -> torch.Tensor:
    """Noise to latents under a control image; outside the window the ControlNet is not asked."""
    guided = guidance_scale > 1

    with torch.no_grad():
        scheduler.set_timesteps(steps, device=noise.device)
        n = len(scheduler.timesteps)
        latents = noise * scheduler.init_noise_sigma

        unet_ctx = torch.cat([uncond, cond]) if guided else cond
        both_halves = guided and not guess
        control_ctx = unet_ctx if both_halves else cond
        control_hint = torch.cat([hint, hint]) if both_halves else hint

        for i, t in enumerate(scheduler.timesteps):
            one = scheduler.scale_model_input(latents, t)
            two = torch.cat([one, one]) if guided else one

            residuals = {}
            if _step_is_inside(i, n, start, end):
                down, mid = controlnet(
                    two if both_halves else one,
                    t,
                    encoder_hidden_states=control_ctx,
                    controlnet_cond=control_hint,
                    conditioning_scale=scale,
                    guess_mode=guess,
                    return_dict=False,
                )
                if guided and guess:
                    # The unconditional half comes first, and is left alone.
                    down = [torch.cat([torch.zeros_like(r), r]) for r in down]
                    mid = torch.cat([torch.zeros_like(mid), mid])
                residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}

            eps = unet(two, t, encoder_hidden_states=unet_ctx, **residuals).sample
            if guided:
                eps_uncond, eps_cond = eps.chunk(2)
                eps = eps_uncond + guidance_scale * (eps_cond - eps_uncond)
            latents = scheduler.step(eps, t, latents).prev_sample

    return latents


def ip_adapter_attention(
    x: torch.Tensor,
    txt: torch.Tensor,
    img: torch.Tensor,
    w: dict[str, torch.Tensor],
    heads: int,
    scale: float,
) -> torch.Tensor:
    """One query, two contexts with a softmax each, one output projection."""
    query = _split_heads(F.linear(x, w["q"]), heads)
    root = math.sqrt(query.shape[-1])

    def read(context: torch.Tensor, w_key: torch.Tensor, w_value: torch.Tensor) -> torch.Tensor:
        key = _split_heads(F.linear(context, w_key), heads)
        value = _split_heads(F.linear(context, w_value), heads)
        weights = (query @ key.transpose(-1, -2) / root).softmax(dim=-1)
        return weights @ value

    z = read(txt, w["k"], w["v"]) + scale * read(img, w["ik"], w["iv"])
    return F.linear(_merge_heads(z), w["o"], w["ob"])


def control_overhead(
    unet: dict[str, int],
    control: dict[str, int],
    steps: int,
    window: tuple[float, float],
    cfg: bool,
    guess: bool,
    bytes_per_param: int,
) -> dict[str, int | float]:
    """Memory, steps that count, FLOPs and slowdown of a ControlNet in diffusers' pipeline."""
    start, end = window
    unet_rows = 2 if cfg else 1
    control_rows = 1 if guess else unet_rows

    unet_flops = steps * unet_rows * unet["flops"]
    extra_flops = steps * control_rows * control["flops"]  # asked in every step, the window saves nothing
    return {
        "extra_bytes": control["params"] * bytes_per_param,
        "controlled_steps": sum(_step_is_inside(i, steps, start, end) for i in range(steps)),
        "extra_flops": extra_flops,
        "slowdown": (unet_flops + extra_flops) / unet_flops,
    }


def control_image(u8: torch.Tensor, size: tuple[int, int], mask: torch.Tensor | None = None) -> torch.Tensor:
    """uint8 pictures, channels last or grey, to (B, 3, height, width) in [0, 1]; masked pixels are -1."""
    if u8.ndim == 3:
        channels_first = u8.unsqueeze(1).repeat(1, 3, 1, 1)
    else:
        channels_first = u8.permute(0, 3, 1, 2)
    target = tuple(size)
    picture = F.interpolate(channels_first.to(torch.float32) / 255, size=target, mode="nearest")

    if mask is not None:
        # As 0 and 1 over the same grid; nearest leaves nothing in between. The mark is set last.
        hole = F.interpolate(mask.unsqueeze(1).to(torch.float32), size=target, mode="nearest") > 0.5
        picture = picture.masked_fill(hole, -1.0)
    return picture
