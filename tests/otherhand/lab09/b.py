"""Lab 09, ControlNet and IP-Adapter: another hand's solution, written from page and starter alone, never run."""

import math

import torch
import torch.nn.functional as F

# Helpers. Each is used by one task only, so that tasks stand by themselves.


def _kernel_one(h: torch.Tensor, conv: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    weight, bias = conv
    return F.conv2d(h, weight, bias)


def _split_heads(y: torch.Tensor, heads: int) -> torch.Tensor:
    b, n, inner = y.shape
    return y.reshape(b, n, heads, inner // heads).transpose(1, 2)  # (B, heads, n, d)


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return logits.softmax(dim=-1) @ v


def _nearest(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(x.contiguous(), size=(int(size[0]), int(size[1])), mode="nearest")


# Predictions.


def checkpoint_residuals() -> dict[str, int | tuple[int, ...]]:
    # Two halves; 768 high and 512 wide are latents of 96 × 64; three downsamplers leave 12 × 8 in the middle.
    return {"down": 12, "first": (2, 320, 96, 64), "mid": (2, 1280, 12, 8)}


def checkpoint_places() -> tuple[str, ...]:
    return ("skips", "mid output", "decoder")


def checkpoint_evaluations() -> dict[str, int]:
    return {"unet_rows": 40, "control_calls": 20, "control_rows": 20, "controlled_steps": 10}


def checkpoint_zero_conv() -> tuple[str, ...]:
    return ("weight", "bias")


def checkpoint_adapters() -> dict[str, str]:
    return {"lora": "weights", "controlnet": "residuals", "ip_adapter": "tokens"}


def checkpoint_strength() -> dict[str, float | str]:
    return {"norm": 8.0, "at_zero": "prompt alone", "raises": "structure"}


# Code.


def control_residuals(
    feats: list[torch.Tensor],
    mid: torch.Tensor,
    zero_convs: list[tuple[torch.Tensor, torch.Tensor]],
    zero_mid: tuple[torch.Tensor, torch.Tensor],
    scale: float,
    guess: bool,
) -> dict[str, list[torch.Tensor] | torch.Tensor]:
    n = len(feats)
    if len(zero_convs) != n:
        raise ValueError(f"{n} features, but {len(zero_convs)} zero convolutions")

    # Python numbers as factors: they leave bfloat16 as it is.
    depth = torch.logspace(-1, 0, n + 1).tolist() if guess else [1.0] * (n + 1)
    factors = [float(scale) * w for w in depth]

    down = [_kernel_one(h, conv) * factor for h, conv, factor in zip(feats, zero_convs, factors[:n], strict=True)]
    return {"down": down, "mid": _kernel_one(mid, zero_mid) * factors[n]}


def unet_with_control(
    unet,
    x: torch.Tensor,
    t: torch.Tensor | int,
    ctx: torch.Tensor,
    down_res: list[torch.Tensor],
    mid_res: torch.Tensor,
) -> torch.Tensor:
    timesteps = torch.as_tensor(t, device=x.device).reshape(-1).expand(x.shape[0])
    emb = unet.time_embedding(unet.time_proj(timesteps).to(x.dtype))
    more = {"encoder_hidden_states": ctx}

    # Down: as if there were no ControlNet.
    h = unet.conv_in(x)
    skips = [h]
    for block in unet.down_blocks:
        h, new = block(h, emb, **more)
        skips.extend(new)

    if len(skips) != len(down_res):
        raise ValueError(f"{len(skips)} skips, but {len(down_res)} residuals")
    waiting = [skip + res for skip, res in zip(skips, down_res, strict=True)]  # new tensors, a new list

    # Middle: h is still the encoder's own output.
    h = unet.mid_block(h, emb, **more)
    h = h + mid_res

    # Up: the end of the list first.
    for block in unet.up_blocks:
        first = len(waiting) - len(block.resnets)
        taken, waiting = tuple(waiting[first:]), waiting[:first]
        size = tuple(waiting[-1].shape[-2:]) if waiting else None
        h = block(h, taken, emb, upsample_size=size, **more)

    return unet.conv_out(unet.conv_act(unet.conv_norm_out(h)))


def control_window(n: int, start: float, end: float) -> list[float]:
    if n < 1:
        raise ValueError(f"a loop has at least one step, not {n}")
    if not 0 <= start < end <= 1:
        raise ValueError(f"not a window: {start} to {end}")
    return [1.0 if i / n >= start and (i + 1) / n <= end else 0.0 for i in range(n)]


def multi_control(
    nets: list,
    x: torch.Tensor,
    t: torch.Tensor,
    ctx: torch.Tensor,
    hints: list[torch.Tensor],
    scales: list[float],
) -> dict[str, list[torch.Tensor] | torch.Tensor]:
    if not len(nets) == len(hints) == len(scales) or len(nets) == 0:
        raise ValueError(f"{len(nets)} nets, {len(hints)} hints, {len(scales)} scales")

    answers = [
        net(x, t, ctx, controlnet_cond=hint, conditioning_scale=scale, return_dict=False)
        for net, hint, scale in zip(nets, hints, scales, strict=True)
    ]
    down, mid = list(answers[0][0]), answers[0][1]
    for more_down, more_mid in answers[1:]:
        down = [a + b for a, b in zip(down, more_down, strict=True)]
        mid = mid + more_mid
    return {"down": down, "mid": mid}


@torch.no_grad()
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
    guided = guidance_scale > 1
    half = guided and guess  # the ControlNet is given the conditional rows alone

    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps
    n = len(timesteps)  # may be more than steps
    latents = noise * scheduler.init_noise_sigma

    unet_ctx = torch.cat([uncond, cond]) if guided else cond
    control_ctx = unet_ctx if not half else cond
    control_hint = torch.cat([hint, hint]) if guided and not half else hint

    for i, t in enumerate(timesteps):
        scaled = scheduler.scale_model_input(latents, t)
        unet_in = torch.cat([scaled, scaled]) if guided else scaled
        control_in = scaled if half else unet_in

        keep = 1.0 if i / n >= start and (i + 1) / n <= end else 0.0
        down, mid = controlnet(
            control_in,
            t,
            encoder_hidden_states=control_ctx,
            controlnet_cond=control_hint,
            conditioning_scale=scale * keep,
            guess_mode=guess,
            return_dict=False,
        )
        if half:
            down = [torch.cat([torch.zeros_like(r), r]) for r in down]
            mid = torch.cat([torch.zeros_like(mid), mid])

        eps = unet(
            unet_in,
            t,
            encoder_hidden_states=unet_ctx,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
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
    def project(tokens: torch.Tensor, name: str) -> torch.Tensor:
        return _split_heads(F.linear(tokens, w[name]), heads)

    q = project(x, "q")
    from_text = _attend(q, project(txt, "k"), project(txt, "v"))
    from_image = _attend(q, project(img, "ik"), project(img, "iv"))
    z = from_text + scale * from_image  # (B, heads, N, d)
    return F.linear(z.transpose(1, 2).flatten(2), w["o"], w["ob"])


def control_overhead(
    unet: dict[str, int],
    control: dict[str, int],
    steps: int,
    window: tuple[float, float],
    cfg: bool,
    guess: bool,
    bytes_per_param: int,
) -> dict[str, int | float]:
    start, end = window
    unet_rows = 2 if cfg else 1
    control_rows = 1 if guess else unet_rows

    base = steps * unet_rows * unet["flops"]
    extra = steps * control_rows * control["flops"]  # in every step, counted or not
    return {
        "extra_bytes": control["params"] * bytes_per_param,
        "controlled_steps": sum(1 for i in range(steps) if i / steps >= start and (i + 1) / steps <= end),
        "extra_flops": extra,
        "slowdown": (base + extra) / base,
    }


def control_image(u8: torch.Tensor, size: tuple[int, int], mask: torch.Tensor | None = None) -> torch.Tensor:
    levels = u8.unsqueeze(1).expand(-1, 3, -1, -1) if u8.dim() == 3 else u8.permute(0, 3, 1, 2)
    picture = _nearest(levels.to(torch.float32) / 255.0, size)
    if mask is None:
        return picture
    holes = _nearest(mask.unsqueeze(1).to(torch.float32), size) > 0.5
    return picture.masked_fill(holes, -1.0)  # last, so that it stays exact
