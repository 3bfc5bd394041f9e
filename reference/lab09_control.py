"""Lab 09, ControlNet and IP-Adapter: structure through residuals, a reference picture through attention.

Symbols are those of Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models" (2023), and Ye et al.,
"IP-Adapter" (2023). Each function stands by itself.
"""

import torch
import torch.nn.functional as F


def checkpoint_residuals() -> dict[str, int | tuple[int, ...]]:
    """Return how many residuals a ControlNet hands over, and two of their shapes, for one picture with guidance.

    One after conv_in, two a level for its two layers, one for each of the three downsamplers: 1 + 4·2 + 3. The picture
    is 512 wide and 768 high, so its latents are 96 high and 64 wide, and three levels halve them; guidance: two rows.
    """
    return {"down": 12, "first": (2, 320, 96, 64), "mid": (2, 1280, 12, 8)}


def checkpoint_places() -> tuple[str, ...]:
    """Return which tensors of the UNet a ControlNet changes: the decoder's copies, and what follows the mid block."""
    return ("skips", "mid output", "decoder")


def checkpoint_evaluations() -> dict[str, int]:
    """Return what 20 steps with guidance, guess mode and a window that ends halfway cost in diffusers.

    The window multiplies by 0 and skips nothing; guess mode leaves the unconditional row out of the ControlNet.
    """
    return {"unet_rows": 40, "control_calls": 20, "control_rows": 20, "controlled_steps": 10}


def checkpoint_zero_conv() -> tuple[str, ...]:
    """Return what learns in the first training step: y = w·h + b has dy/dw = h and dy/db = 1, but dy/dh = w = 0."""
    return ("weight", "bias")


def checkpoint_adapters() -> dict[str, str]:
    """Return what each of the three adapters brings into the denoiser."""
    return {"lora": "weights", "controlnet": "residuals", "ip_adapter": "tokens"}


def checkpoint_strength() -> dict[str, float | str]:
    """Return what the conditioning scale does: residuals are linear in it, and at 0 the prompt alone is left."""
    return {"norm": 8.0, "at_zero": "prompt alone", "raises": "structure"}


def control_residuals(
    feats: list[torch.Tensor],
    mid: torch.Tensor,
    zero_convs: list[tuple[torch.Tensor, torch.Tensor]],
    zero_mid: tuple[torch.Tensor, torch.Tensor],
    scale: float,
    guess: bool,
) -> dict[str, list[torch.Tensor] | torch.Tensor]:
    """Return what a ControlNet hands to the UNet: its features through the zero convolutions, times their weights.

    Zhang et al. 2023, section 3.1: y_c = Z(h; θ_z), a 1×1 convolution with bias. In guess mode the weights rise from
    0.1 at conv_in to 1 at the mid block, evenly in their logarithm. The last lines of `ControlNetModel.forward`.
    """
    count = len(feats) + 1
    weights = torch.logspace(-1.0, 0.0, count) if guess else torch.ones(count)
    # Single numbers, which leave the features' dtype as it is.
    *factors, factor_mid = scale * weights
    down = [factor * F.conv2d(h, *conv) for factor, h, conv in zip(factors, feats, zero_convs, strict=True)]
    return {"down": down, "mid": factor_mid * F.conv2d(mid, *zero_mid)}


def unet_with_control(
    unet,
    x: torch.Tensor,
    t: torch.Tensor | int,
    ctx: torch.Tensor,
    down_res: list[torch.Tensor],
    mid_res: torch.Tensor,
) -> torch.Tensor:
    """Return the UNet's prediction with a ControlNet's residuals (Zhang et al. 2023, figure 3).

    `UNet2DConditionModel.forward` with `down_block_additional_residuals` and `mid_block_additional_residual`.
    """
    # 1. Time: sinusoids, then two linear layers.
    emb = unet.time_embedding(unet.time_proj(torch.as_tensor(t).expand(len(x))))
    # 2. The encoder, which knows nothing of the residuals. It leaves a skip after conv_in, each layer and downsampler.
    # A block without cross-attention ignores the context.
    h = unet.conv_in(x)
    skips = (h,)
    for block in unet.down_blocks:
        h, outputs = block(h, emb, encoder_hidden_states=ctx)
        skips += outputs
    # 3. Residuals go to the copies that the decoder reads ...
    skips = tuple(skip + residual for skip, residual in zip(skips, down_res, strict=True))
    # 4. ... and to the mid block's output.
    h = unet.mid_block(h, emb, encoder_hidden_states=ctx)
    h = h + mid_res
    # 5. The decoder takes the skips back, last in, first out. What it enlarges has to fit the next skip.
    for block in unet.up_blocks:
        count = len(block.resnets)
        taken, skips = skips[-count:], skips[:-count]
        size = skips[-1].shape[2:] if skips else None
        h = block(h, taken, emb, encoder_hidden_states=ctx, upsample_size=size)
    # 6. Norm, activation, last convolution.
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(h)))


def control_window(n: int, start: float, end: float) -> list[float]:
    """Return for each of n steps whether the ControlNet counts, 1.0 or 0.0.

    Step i takes the loop from i/n to (i + 1)/n, and has to lie within [start, end] as a whole: `control_guidance_start`
    and `control_guidance_end` in diffusers.
    """
    if not 0.0 <= start < end <= 1.0:
        raise ValueError(f"no window: {start} to {end}")
    return [1.0 if i / n >= start and (i + 1) / n <= end else 0.0 for i in range(n)]


def multi_control(
    nets: list,
    x: torch.Tensor,
    t: torch.Tensor,
    ctx: torch.Tensor,
    hints: list[torch.Tensor],
    scales: list[float],
) -> dict[str, list[torch.Tensor] | torch.Tensor]:
    """Return the residuals of several ControlNets: each reads the same latents, and their residuals are summed.

    `MultiControlNetModel.forward` in diffusers.
    """
    answers = [
        net(x, t, ctx, controlnet_cond=hint, conditioning_scale=scale, return_dict=False)
        for net, hint, scale in zip(nets, hints, scales, strict=True)
    ]
    places = range(len(answers[0][0]))
    return {
        "down": [sum(down[place] for down, _ in answers) for place in places],
        "mid": sum(mid for _, mid in answers),
    }


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
    """Turn noise into latents under a control image: the denoising loop of StableDiffusionControlNetPipeline.

    Ho & Salimans 2022: eps~ = eps_uncond + s·(eps_cond − eps_uncond), here with residuals of both halves, or, in guess
    mode, of the conditional half alone (Zhang et al. 2023, section 3.4).
    """
    guided = guidance_scale > 1.0
    one_half = guided and guess
    context = torch.cat([uncond, cond]) if guided else cond
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps
    latents = noise * scheduler.init_noise_sigma
    for i, t in enumerate(timesteps):
        # 1. Both networks are given the latents in the units that they were trained on.
        scaled = scheduler.scale_model_input(latents, t)
        model_input = torch.cat([scaled, scaled]) if guided else scaled
        # 2. The window runs over the loop, noisiest step first.
        keep = i / len(timesteps) >= start and (i + 1) / len(timesteps) <= end
        with torch.no_grad():
            # 3. The ControlNet: both halves, or the conditional one.
            down, mid = controlnet(
                scaled if one_half else model_input,
                t,
                encoder_hidden_states=cond if one_half else context,
                controlnet_cond=torch.cat([hint, hint]) if guided and not guess else hint,
                conditioning_scale=scale if keep else 0.0,
                guess_mode=guess,
                return_dict=False,
            )
            if one_half:
                # 4. The unconditional half, which comes first, gets nothing.
                down = [torch.cat([torch.zeros_like(residual), residual]) for residual in down]
                mid = torch.cat([torch.zeros_like(mid), mid])
            # 5. The UNet.
            prediction = unet(
                model_input,
                t,
                encoder_hidden_states=context,
                down_block_additional_residuals=down,
                mid_block_additional_residual=mid,
            ).sample
        if guided:
            prediction_uncond, prediction_cond = prediction.chunk(2)
            prediction = prediction_uncond + guidance_scale * (prediction_cond - prediction_uncond)
        latents = scheduler.step(prediction, t, latents).prev_sample
    return latents


def ip_adapter_attention(
    x: torch.Tensor,
    txt: torch.Tensor,
    img: torch.Tensor,
    w: dict[str, torch.Tensor],
    heads: int,
    scale: float,
) -> torch.Tensor:
    """Return decoupled cross-attention (Ye et al. 2023, equation 5, with the paper's λ).

    Z = Softmax(Q·Kᵀ/√d)·V + λ·Softmax(Q·K'ᵀ/√d)·V', with K' and V' from the image tokens by projections of their own;
    then the output projection, once. `IPAdapterAttnProcessor2_0` in diffusers; λ is its `scale`.
    """

    def split(projected: torch.Tensor) -> torch.Tensor:
        return projected.unflatten(-1, (heads, -1)).transpose(1, 2)

    def attend(context: torch.Tensor, to_k: torch.Tensor, to_v: torch.Tensor) -> torch.Tensor:
        k, v = split(F.linear(context, to_k)), split(F.linear(context, to_v))
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        return (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)

    q = split(F.linear(x, w["q"]))
    z = attend(txt, w["k"], w["v"]) + scale * attend(img, w["ik"], w["iv"])
    return F.linear(z, w["o"], w["ob"])


def control_overhead(
    unet: dict[str, int],
    control: dict[str, int],
    steps: int,
    window: tuple[float, float],
    cfg: bool,
    guess: bool,
    bytes_per_param: int,
) -> dict[str, int | float]:
    """Return what a ControlNet adds to a run of diffusers' pipeline: memory, steps under control, work, slowdown.

    It runs in every step, also outside the window, where its scale is 0. In guess mode it is given the conditional
    half alone.
    """
    start, end = window
    unet_rows = 2 if cfg else 1
    control_rows = 1 if guess else unet_rows
    base_flops = steps * unet_rows * unet["flops"]
    extra_flops = steps * control_rows * control["flops"]
    return {
        "extra_bytes": control["params"] * bytes_per_param,
        "controlled_steps": sum(i / steps >= start and (i + 1) / steps <= end for i in range(steps)),
        "extra_flops": extra_flops,
        "slowdown": (base_flops + extra_flops) / base_flops,
    }


def control_image(u8: torch.Tensor, size: tuple[int, int], mask: torch.Tensor | None = None) -> torch.Tensor:
    """Return pictures as a ControlNet takes them: channels first, in [0, 1], −1 where they are to be filled in.

    `VaeImageProcessor(do_normalize=False)` in diffusers, and the masked pixels of its inpainting ControlNet.
    """
    if u8.ndim < 4:
        # A grey map: three equal channels.
        u8 = u8[..., None].expand(-1, -1, -1, 3)
    image = F.interpolate(u8.permute(0, 3, 1, 2) / 255.0, size=size)
    if mask is not None:
        hole = F.interpolate(mask[:, None].float(), size=size).bool()
        image = torch.where(hole, -1.0, image)
    return image
