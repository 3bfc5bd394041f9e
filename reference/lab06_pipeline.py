"""Lab 06, the pipeline: what stands between a folder of components and a picture.

Symbols are those of Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022), Meng et al., "SDEdit" (2022), and
Peebles and Xie, "Scalable Diffusion Models with Transformers" (2023). Each function stands by itself.
"""

import torch


def checkpoint_shapes() -> dict[str, tuple[int, ...]]:
    """Return what passes through Stable Diffusion 1.5 for three prompts, 768 high and 512 wide, at guidance 7.5.

    Guidance doubles what the denoiser is given and nothing else; the decoder gets one latent a picture.
    """
    return {"sample": (6, 4, 96, 64), "condition": (6, 77, 768), "decoder": (3, 4, 96, 64)}


def checkpoint_calls() -> dict[str, int]:
    """Return the denoiser's calls for 20 guided steps: DDIM, Heun, and DDIM from a picture at strength 0.3.

    Both conditions are one call. Heun looks twice at each step but the last; from a picture int(20·0.3) steps are left.
    """
    return {"ddim": 20, "heun": 39, "img2img": 6}


def checkpoint_units() -> dict[str, str]:
    """Return what brings each of four tensors to the unit of whoever reads it."""
    return {
        "noise": "init_noise_sigma",
        "denoiser": "scale_model_input",
        "step": "nothing",
        "decoder": "scaling_factor",
    }


def checkpoint_order() -> dict[str, tuple[str, ...]]:
    """Return a pipeline's eight actions in their order, in the loop and on both sides of it."""
    return {
        "before": ("encode_prompt", "set_timesteps", "init_noise_sigma"),
        "loop": ("scale_model_input", "denoiser", "guidance", "step"),
        "after": ("decode",),
    }


def checkpoint_modular() -> dict[str, str]:
    """Return who does what in Modular Diffusers: the loop itself is a block, `LoopSequentialPipelineBlocks`."""
    return {"loop": "block", "latents": "state", "weights": "components", "guidance_scale": "components"}


def read_pipeline(model_index: dict, configs: dict[str, dict]) -> dict:
    """Return what a pipeline's files say of it: components, sizes, and the constants that code must not guess.

    `model_index` is model_index.json, `configs` the components' own files. Pixels and latents differ by the VAE's
    spatial factor, 2^(blocks − 1); a key that is absent has the default of its class in diffusers.
    """
    components = [name for name, entry in model_index.items() if isinstance(entry, list) and entry != [None, None]]
    denoiser = configs["unet"] if "unet" in components else configs["transformer"]
    vae, scheduler = configs["vae"], configs["scheduler"]
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    size = denoiser["sample_size"]
    h, w = (size, size) if isinstance(size, int) else size
    return {
        "components": sorted(components),
        "vae_scale_factor": factor,
        "latent_shape": (vae["latent_channels"], h, w),
        "image_hw": (h * factor, w * factor),
        "prediction_type": scheduler.get("prediction_type", "epsilon"),
        "scaling_factor": vae.get("scaling_factor", 0.18215),
    }


def prepare_latents(
    shape: tuple[int, int, int, int], seeds: list[int], init_noise_sigma: float, vsf: int, dtype: torch.dtype
) -> torch.Tensor:
    """Return the noise that a walk begins with, (B, C, H/vsf, W/vsf): one generator a picture, at the walk's size.

    `StableDiffusionPipeline.prepare_latents` in diffusers, given a list of generators.
    """
    batch, channels, height, width = shape
    if len(seeds) != batch:
        raise ValueError(f"{batch} pictures need as many seeds, not {len(seeds)}")
    size = (channels, height // vsf, width // vsf)
    noise = [torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype) for seed in seeds]
    return torch.stack(noise) * init_noise_sigma


def denoise_loop(
    unet,
    scheduler,
    noise: torch.Tensor,
    cond: torch.Tensor,
    uncond: torch.Tensor,
    guidance_scale: float,
    steps: int,
) -> torch.Tensor:
    """Walk `noise` down the scheduler's timesteps with classifier-free guidance (Ho & Salimans 2022, equation 6).

    `noise` (B, C, h, w) has unit variance, `cond` and `uncond` are (B, L, D); returns the latents (B, C, h, w).
    The paper's weight w is `guidance_scale - 1`: eps~ = eps_uncond + guidance_scale * (eps_cond - eps_uncond).
    """
    if cond.shape != uncond.shape:
        raise ValueError(f"cond is {tuple(cond.shape)} and uncond {tuple(uncond.shape)}: one for each picture, both")
    guided = guidance_scale > 1
    context = torch.cat([uncond, cond]) if guided else cond

    scheduler.set_timesteps(steps)
    latents = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        # 1. Give the denoiser its input: once per condition, at the magnitude that it was trained on.
        model_input = torch.cat([latents, latents]) if guided else latents
        model_input = scheduler.scale_model_input(model_input, t)

        # 2. Predict; nothing is learnt here, so no graph is kept.
        with torch.no_grad():
            prediction = unet(model_input, t, encoder_hidden_states=context).sample

        # 3. Guide the prediction, not the latents.
        if guided:
            prediction_uncond, prediction_cond = prediction.chunk(2)
            prediction = prediction_uncond + guidance_scale * (prediction_cond - prediction_uncond)

        # 4. Step from x_t to the next, less noisy latents; `step` takes the unscaled ones.
        latents = scheduler.step(prediction, t, latents).prev_sample
    return latents


def img2img_start(
    scheduler, x0_latent: torch.Tensor, noise: torch.Tensor, strength: float, steps: int
) -> dict[str, torch.Tensor]:
    """Enter a walk of `steps` steps late, from a picture (Meng et al. 2022, section 3): the last strength·steps of it.

    `StableDiffusionImg2ImgPipeline.get_timesteps` in diffusers, and the noise of its `prepare_latents`.
    """
    kept = int(steps * strength)
    if not 0.0 <= strength <= 1.0 or kept < 1:
        raise ValueError(f"strength {strength} leaves no step of {steps}, or lies outside of [0, 1]")
    scheduler.set_timesteps(steps)
    # A scheduler of second order lists `order` timesteps a step.
    begin = (steps - kept) * scheduler.order
    timesteps = scheduler.timesteps[begin:]
    # Timesteps may repeat, so those schedulers that count are told the place and not left to look it up.
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    return {"timesteps": timesteps, "latents": scheduler.add_noise(x0_latent, noise, timesteps[:1])}


def latents_to_image(vae, z: torch.Tensor) -> torch.Tensor:
    """Return the denoiser's latents (B, C, h, w) as pictures (B, H, W, 3) uint8.

    Encoding does (z − b)·s, so decoding does z/s + b; then [−1, 1] becomes 0…255. `VaeImageProcessor.postprocess`.
    """
    z = z / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    with torch.no_grad():
        decoded = vae.decode(z).sample
    unit = (decoded.float() / 2.0 + 0.5).clamp(0.0, 1.0)
    return (unit * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)


def swap_scheduler(old_scheduler, new_cls: type, **overrides):
    """Return a scheduler of another class for the same trained model: whatever the training fixed stays as it is."""
    return new_cls.from_config(old_scheduler.config, **overrides)


def dit_sample(
    model, scheduler, noise: torch.Tensor, labels: torch.Tensor, guidance_scale: float, steps: int
) -> torch.Tensor:
    """Walk `noise` down with a class-conditional transformer (Peebles & Xie 2023, section 3.2) and guidance.

    The model answers 2C channels, ε and then what it learned of the variance, which no sampler here reads.
    """
    guided = guidance_scale > 1
    null = torch.full_like(labels, model.config.num_embeds_ada_norm)
    classes = torch.cat([labels, null]) if guided else labels

    scheduler.set_timesteps(steps)
    latents = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        # 1. Both halves see the same latents.
        model_input = torch.cat([latents, latents]) if guided else latents
        model_input = scheduler.scale_model_input(model_input, t)
        with torch.no_grad():
            answer = model(model_input, timestep=t.expand(len(model_input)), class_labels=classes).sample

        # 2. The first C channels are the noise; guidance is for all of them.
        eps = answer[:, : noise.shape[1]]
        if guided:
            eps_cond, eps_null = eps.chunk(2)
            eps = eps_null + guidance_scale * (eps_cond - eps_null)
        latents = scheduler.step(eps, t, latents).prev_sample
    return latents


def inpaint_start(
    image_latents: torch.Tensor, noise: torch.Tensor, scheduler, strength: float, t_first: torch.Tensor
) -> torch.Tensor:
    """Return the latents that inpainting begins with: at strength 1 noise alone, or the hole's old content shows."""
    if strength == 1.0:
        return noise * scheduler.init_noise_sigma
    return scheduler.add_noise(image_latents, noise, t_first[None])


def inpaint_step(
    latents: torch.Tensor,
    image_latents: torch.Tensor,
    mask: torch.Tensor,
    noise: torch.Tensor,
    scheduler,
    t_next: torch.Tensor | None,
) -> torch.Tensor:
    """Put the picture back around the hole, after a step, at the noise level that the step has reached.

    `mask` (B or 1, 1, H, W) is 1 in the hole, pixel by pixel. Lines of `StableDiffusionInpaintPipeline.__call__`.
    """
    hole = torch.nn.functional.interpolate(mask, size=latents.shape[-2:])
    # After the last step nothing is left of the noise.
    kept = image_latents if t_next is None else scheduler.add_noise(image_latents, noise, t_next[None])
    return (1.0 - hole) * kept + hole * latents
