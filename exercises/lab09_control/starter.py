"""Lab 09, ControlNet and IP-Adapter: structure through residuals, a reference picture through attention.

Read page.md first. Fill in each function and run `grade lab09`. Let each function stand by itself: one that calls
another task's function also inherits its mistakes; small helpers of your own are welcome. Inputs stay the caller's: no
tensor, list or dict is changed. All floats are float32 unless a line says otherwise.
"""

import torch

# Six predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_residuals() -> dict[str, int | tuple[int, ...]]:
    """Predict what Stable Diffusion 1.5's ControlNet hands to the UNet for one picture, 512 wide and 768 high.

    block_out_channels = (320, 640, 1280, 1280), two layers a level, a downsampler after each level but the last; the
    VAE shrinks sides by 8. Guidance is on, guess mode is off, and both halves go through in one call.

    Returns:
        {"down": how many down residuals there are,
         "first": shape of the first of them,
         "mid": shape of the mid residual}, an int and two tuples, batch first.
    """
    raise NotImplementedError


def checkpoint_places() -> tuple[str, ...]:
    """Predict which tensors of a UNet a ControlNet changes, within one call.

    "encoder": what each down block hands to the next. "skips": the copies that the up blocks read. "mid input": what
    the mid block is given. "mid output": what the first up block is given by it. "decoder": what each up block hands
    on.

    Returns:
        Those of the five that are other numbers than without a ControlNet, in the order above.
    """
    raise NotImplementedError


def checkpoint_evaluations() -> dict[str, int]:
    """Predict what diffusers' pipeline does in 20 DDIM steps for one picture.

    guidance_scale = 7.5, guess_mode = True, control_guidance_start = 0.0, control_guidance_end = 0.5. A row is one
    entry of the batch of one call.

    Returns:
        {"unet_rows": rows that the UNet is given in all, "control_calls": calls of the ControlNet,
         "control_rows": rows that the ControlNet is given in all, "controlled_steps": steps whose residuals are not
         multiplied by 0}, four ints.
    """
    raise NotImplementedError


def checkpoint_zero_conv() -> tuple[str, ...]:
    """Predict which parameters have a gradient other than zero in the very first training step of a ControlNet.

    The zero convolutions through which it hands its residuals over begin with weight and bias at 0; take everything
    before them, and the gradient that arrives from behind, for not zero. "weight", "bias": of these zero convolutions.
    "branch": of the copied encoder before them. "hint": of the layers that read the control image.

    Returns:
        Those of the four whose gradient is not zero, in the order above.
    """
    raise NotImplementedError


def checkpoint_adapters() -> dict[str, str]:
    """Predict what each of three adapters brings into the denoiser.

    "weights": a change of its parameters. "residuals": tensors that are added to its activations. "tokens": further
    entries that its cross-attention reads.

    Returns:
        {"lora": ..., "controlnet": ..., "ip_adapter": ...}, each one of the three words.
    """
    raise NotImplementedError


def checkpoint_strength() -> dict[str, float | str]:
    """At conditioning scale 1 a ControlNet's mid residual has norm 4. Predict three things about the scale.

    Returns:
        {"norm": norm of the mid residual of the same call at scale 2, a float,
         "at_zero": what the picture follows at scale 0: "prompt alone", "negative prompt" or "nothing",
         "raises": what a larger scale enforces: "quality", "structure" or "prompt"}.
    """
    raise NotImplementedError


# Now the code.


def control_residuals(
    feats: list[torch.Tensor],
    mid: torch.Tensor,
    zero_convs: list[tuple[torch.Tensor, torch.Tensor]],
    zero_mid: tuple[torch.Tensor, torch.Tensor],
    scale: float,
    guess: bool,
) -> dict[str, list[torch.Tensor] | torch.Tensor]:
    """Return what a ControlNet hands to the UNet: its features through their zero convolutions, times their weights.

        r_j = scale · w_j · (W_j * h_j + b_j)        * is a convolution of kernel 1

    Without guess mode every w_j is 1. In guess mode, n down features h_0 … h_(n−1) and the mid, h_n, have n + 1 weights
    in this order, which rise from 0.1 to 1 in equal ratios: torch.logspace(-1, 0, n + 1). For n = 2: 0.1, 0.316, 1.
    With one channel, h = 3, W = 2, b = 1, scale 0.5 and no guess mode: r = 0.5·(2·3 + 1) = 3.5.

    Args:
        feats: h_0 … h_(n−1), at least one, each (B, C_j, height_j, width_j), all float32 or all bfloat16; from conv_in
            to the last layer.
        mid: h_n, (B, C, height, width), of the mid block.
        zero_convs: (W_j, b_j) for each of `feats`: (C_j, C_j, 1, 1) and (C_j,), in the dtype of `feats`. Another number
            of them, too few or too many, is refused with a ValueError.
        zero_mid: the same for `mid`.
        scale: the conditioning scale; 0 gives zeros.
        guess: whether guess mode is on.

    Returns:
        "down": a list of n tensors, "mid": one tensor, each of the shape and dtype of its feature. Gradients flow to
        features, weights and biases.
    """
    raise NotImplementedError


def unet_with_control(
    unet,
    x: torch.Tensor,
    t: torch.Tensor | int,
    ctx: torch.Tensor,
    down_res: list[torch.Tensor],
    mid_res: torch.Tensor,
) -> torch.Tensor:
    """Write the forward pass of a UNet that takes in a ControlNet's residuals, from the UNet's own parts.

    The parts: `unet.time_proj(timesteps (B,))`, `unet.time_embedding(...)`, `unet.conv_in`, `unet.down_blocks`,
    `unet.mid_block`, `unet.up_blocks`, `unet.conv_norm_out`, `unet.conv_act`, `unet.conv_out`. Let emb be the time's
    embedding and more = {"encoder_hidden_states": ctx}, which a block without cross-attention ignores:

        down block:  h, skips = block(h, emb, **more)          skips: a tuple, one for each layer and downsampler
        mid block:   h = block(h, emb, **more)
        up block:    h = block(h, skips, emb, upsample_size=size, **more)

    An up block takes as many skips as it has `resnets`: the last ones that are left, in their order. `size` is the
    (height, width) of the skips that come after those, which decides where a side does not halve evenly; None for the
    last block. The skip of `conv_in` is the first of all, and has a residual too.

    The residuals: one for each skip is added to the copy that the up blocks read, and mid_res to the mid block's
    *output*. The down blocks and the mid block itself are given what they would be given without a ControlNet. If
    every residual is 0, the answer is that of the plain UNet. With skips (1, 2) and residuals (10, 20) the up blocks
    read (11, 22); a mid block that turns 3 into 5, with the residual 30, is left with 35.

    Args:
        unet: a UNet2DConditionModel of one to three levels, whose mid block reads ctx. Calling it raises: that is the
            task.
        x: (B, C, h, w), any sizes that the levels can halve, also unevenly.
        t: one timestep for the whole batch, an int or a tensor of no axes; or (B,), one for each sample.
        ctx: (B, L, D), what the cross-attention reads.
        down_res: a list of residuals, one for each skip, in the order in which the encoder leaves the skips, conv_in's
            first. A list of another length is refused with a ValueError.
        mid_res: the residual of the mid block.

    Returns:
        The prediction, of the shape of `x`. Gradients flow to the residuals. The list stays as it is.
    """
    raise NotImplementedError


def control_window(n: int, start: float, end: float) -> list[float]:
    """Return for each of n steps of a loop whether the ControlNet counts in it.

    Step i, from 0 for the noisiest, takes the loop from the fraction i/n to (i + 1)/n. It counts where all of that
    lies within [start, end], ends included. With n = 4 and the window 0.2 to 0.75: step 0 begins too early, steps 1
    and 2 count, step 3 ends too late: [0.0, 1.0, 1.0, 0.0]. An edge lies on a step's begin or end exactly, or clearly
    beside it: no case hangs on how i/n is rounded.

    Args:
        n: number of steps, at least 1.
        start, end: 0 ≤ start < end ≤ 1; anything else is refused with a ValueError.

    Returns:
        n floats, 1.0 where control counts and 0.0 elsewhere.
    """
    raise NotImplementedError


def multi_control(
    nets: list,
    x: torch.Tensor,
    t: torch.Tensor,
    ctx: torch.Tensor,
    hints: list[torch.Tensor],
    scales: list[float],
) -> dict[str, list[torch.Tensor] | torch.Tensor]:
    """Return the joint residuals of several ControlNets: each is asked once, and what they answer is summed.

    A net answers net(x, t, ctx, controlnet_cond=hint, conditioning_scale=scale, return_dict=False) with its down
    residuals, a list, and its mid residual, both scaled already. Two nets whose mid residuals are 2 and 5 at their
    scales have the joint mid residual 7.

    Args:
        nets: one to three ControlNetModels of the same shape, whose calls are counted; each is stopped after 3 calls.
            What a net answers is yours to change.
        x: (B, C, h, w), what all of them read.
        t: the timestep, a tensor of no axes.
        ctx: (B, L, D).
        hints: one control image a net, (B, 3, H, W).
        scales: one conditioning scale a net, of any sign. A net at scale 0 adds nothing and need not be asked; where
            all scales are 0 the residuals are zeros.

    Hints, scales and nets are as many as each other; anything else is refused with a ValueError.

    Returns:
        "down": a list of as many residuals as one net answers, "mid": one tensor.
    """
    raise NotImplementedError


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
    """Turn noise into latents under a control image, the way StableDiffusionControlNetPipeline does.

    As in lab 06 the scheduler comes without timesteps (`set_timesteps`) and the noise at unit variance: after that call
    `init_noise_sigma` says how large the scheduler wants it. The code has to work with every scheduler that has these
    two and `scale_model_input`. In each step, with t as `scheduler.timesteps` lists it:

    1. Both networks are given the latents as the scheduler's `scale_model_input` makes them.
    2. The ControlNet answers with residuals, `controlnet(sample, t, encoder_hidden_states=..., controlnet_cond=...,
       conditioning_scale=..., guess_mode=guess, return_dict=False)` -> (list, tensor).
    3. The UNet takes them in, `unet(sample, t, encoder_hidden_states=..., down_block_additional_residuals=...,
       mid_block_additional_residual=...)`; it answers with `.sample`.
    4. Guidance, where `guidance_scale > 1`: eps~ = eps_uncond + guidance_scale·(eps_cond − eps_uncond). Then the UNet
       is called once a step, with both conditions as one batch of 2B, one half after the other, and so is the
       ControlNet; otherwise both are given B rows with `cond`.

    Guess mode under guidance: the ControlNet is given the B conditional rows alone, and the unconditional rows of the
    UNet get residuals of 0. Without guidance guess mode changes only what the ControlNet is told.

    Window: with n = len(scheduler.timesteps), step i is controlled where i/n ≥ start and (i + 1)/n ≤ end. In the other
    steps the residuals count nothing: ask the ControlNet with a scale of 0, as diffusers does, or do not ask it and
    call the UNet without residuals. With n = 4 and the window 0 to 0.5: steps 0 and 1.

    Args:
        unet, controlnet: a UNet2DConditionModel and its ControlNetModel, whose calls are counted; each is stopped after
            20 calls, which is more than any right loop here needs.
        scheduler: one of diffusers' schedulers, that draws no noise of its own. Its timesteps and state are yours.
        noise: (B, C, h, w), standard normal.
        cond, uncond: (B, L, D), embeddings of the prompts and of the empty or negative ones.
        hint: (B, 3, H, W), one control image a picture.
        guidance_scale: diffusers' scale; 1 means no guidance.
        scale: the conditioning scale within the window.
        start, end: the window, 0 ≤ start < end ≤ 1; you need not check that here.
        steps: number of inference steps.
        guess: whether guess mode is on.

    Returns:
        The latents (B, C, h, w) after the last step, without a gradient graph. No step keeps one for the next either.
    """
    raise NotImplementedError


def ip_adapter_attention(
    x: torch.Tensor,
    txt: torch.Tensor,
    img: torch.Tensor,
    w: dict[str, torch.Tensor],
    heads: int,
    scale: float,
) -> torch.Tensor:
    """Return decoupled cross-attention: one query, two contexts, one output projection.

    Ye et al. 2023, equation 5, with the paper's λ as `scale`:

        Z = Softmax(Q·Kᵀ/√d)·V + scale · Softmax(Q·K'ᵀ/√d)·V'        y = Z·Oᵀ + b

    Q = x·W_qᵀ; K, V from the text by w["k"] and w["v"]; K', V' from the image tokens by w["ik"] and w["iv"]. Every head
    attends for itself, and d is its width. With a single token in each context both softmaxes are 1: a text value of 2,
    an image value of 4 and scale 0.5 give Z = 4.

    Args:
        x: (B, N, D), the places of the latents.
        txt: (B, L, D_c), the text's tokens.
        img: (B, T, D_c), the image's tokens, each row from a reference picture of its own.
        w: weights as torch.nn.functional.linear takes them, (out, in): "q" (I, D), "k", "v", "ik", "iv" (I, D_c), "o"
            (D, I), and the bias "ob" (D,). I = heads · d need not be D.
        heads: number of heads; head h has the channels h·d to (h + 1)·d of the projections.
        scale: 0 gives the plain cross-attention to the text.

    Returns:
        y: (B, N, D). Gradients flow to all inputs; at scale 0 the image's may be zeros or missing.
    """
    raise NotImplementedError


def control_overhead(
    unet: dict[str, int],
    control: dict[str, int],
    steps: int,
    window: tuple[float, float],
    cfg: bool,
    guess: bool,
    bytes_per_param: int,
) -> dict[str, int | float]:
    """Return what a ControlNet adds to one picture of diffusers' pipeline.

    diffusers asks the ControlNet in every step; outside the window it multiplies by 0. A row is one entry of the
    batch: guidance means two for the UNet and for the ControlNet, and guess mode leaves the ControlNet one. UNet of 10
    FLOPs, ControlNet of 4, 5 steps, guidance, guess mode: 5·2·10 = 100 and 5·1·4 = 20, so the slowdown is 1.2.

    Args:
        unet: "params", number of parameters, and "flops", floating-point operations for one row.
        control: the same of the ControlNet, as measured; do not derive it from the UNet's.
        steps: number of steps n, of a scheduler that looks once a step.
        window: (start, end); step i is controlled where i/n ≥ start and (i + 1)/n ≤ end.
        cfg: whether guidance is on.
        guess: whether guess mode is on.
        bytes_per_param: of both networks.

    Returns:
        "extra_bytes": of the ControlNet's parameters, an int. "controlled_steps": steps within the window, an int.
        "extra_flops": the ControlNet's, over all steps, an int. "slowdown": FLOPs with the ControlNet over FLOPs
        without, a float.
    """
    raise NotImplementedError


def control_image(u8: torch.Tensor, size: tuple[int, int], mask: torch.Tensor | None = None) -> torch.Tensor:
    """Turn pictures as they come from a file into what a ControlNet takes.

    Channels first, in [0, 1]: level 0 is 0, level 51 is 0.2, level 255 is 1. A VAE wants [−1, 1]; a ControlNet does
    not. With a mask, as the inpainting ControlNet wants it, pixels to be filled in are −1 in all channels, exactly.

    Sizes are changed to the nearest pixel, as torch.nn.functional.interpolate does by default: from 4 columns to 2 the
    columns 0 and 2 remain. The mask goes the same way.

    Args:
        u8: (B, H, W, 3) colours, red, green, blue, or (B, H, W) grey levels, uint8.
        size: (height, width) of the result.
        mask: (B, H, W) bool, True where a pixel is to be filled in; or None.

    Returns:
        (B, 3, height, width) float32. Grey levels become three equal channels.
    """
    raise NotImplementedError
