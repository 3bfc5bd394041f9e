"""Lab 06, the pipeline: the parts that a diffusers pipeline is made of, and the loop between them."""

import torch
import torch.nn.functional as F

# --------------------------------------------------------------------------------------------------------------------
# Helpers. None of them is a task of the lab.
# --------------------------------------------------------------------------------------------------------------------


def _is_component(entry) -> bool:
    """A component of model_index.json is a list [library, class]; [None, None] is an empty place."""
    return isinstance(entry, (list, tuple)) and len(entry) == 2 and entry[0] is not None and entry[1] is not None


def _height_width(size) -> tuple[int, int]:
    """One number is a square, a pair is (height, width)."""
    if isinstance(size, (list, tuple)):
        height, width = size
        return int(height), int(width)
    return int(size), int(size)


def _one_a_sample(t: torch.Tensor, samples: int, device: torch.device) -> torch.Tensor:
    """A timestep without axes as a tensor (samples,), in its own dtype."""
    return torch.as_tensor(t).to(device).reshape(1).repeat(samples)


def _guide(uncond: torch.Tensor, cond: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance, measured from the unconditional prediction."""
    return uncond + scale * (cond - uncond)


# --------------------------------------------------------------------------------------------------------------------
# Predictions.
# --------------------------------------------------------------------------------------------------------------------


def checkpoint_shapes() -> dict[str, tuple[int, ...]]:
    """Three prompts at 768 × 512: factor 2**3 = 8, so 96 × 64 latents; guidance doubles 3 to 6 for the denoiser."""
    return {"sample": (6, 4, 96, 64), "condition": (6, 77, 768), "decoder": (3, 4, 96, 64)}


def checkpoint_calls() -> dict[str, int]:
    """20 for DDIM; 2·20 − 1 for Heun; int(20 · 0.3) for image to image. Guidance adds no call."""
    return {"ddim": 20, "heun": 39, "img2img": 6}


def checkpoint_units() -> dict[str, str]:
    """Scheduler's units from noise to step; the denoiser reads a scaled copy; the VAE has a unit of its own."""
    return {
        "noise": "init_noise_sigma",
        "denoiser": "scale_model_input",
        "step": "nothing",
        "decoder": "scaling_factor",
    }


def checkpoint_order() -> dict[str, tuple[str, ...]]:
    """What does not change from step to step stands outside of the loop."""
    return {
        "before": ("encode_prompt", "set_timesteps", "init_noise_sigma"),
        "loop": ("scale_model_input", "denoiser", "guidance", "step"),
        "after": ("decode",),
    }


def checkpoint_modular() -> dict[str, str]:
    """The loop is a block, latents pass through the state, models and the guider are components."""
    return {"loop": "block", "latents": "state", "weights": "components", "guidance_scale": "components"}


# --------------------------------------------------------------------------------------------------------------------
# Code.
# --------------------------------------------------------------------------------------------------------------------


def read_pipeline(model_index: dict, configs: dict[str, dict]) -> dict:
    """Say what a pipeline is, from its files alone."""
    vae = configs["vae"]
    scheduler = configs["scheduler"]
    denoiser = configs["unet"] if "unet" in configs else configs["transformer"]

    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    height, width = _height_width(denoiser["sample_size"])
    return {
        "components": sorted(name for name, entry in model_index.items() if _is_component(entry)),
        "vae_scale_factor": factor,
        "latent_shape": (vae["latent_channels"], height, width),
        "image_hw": (height * factor, width * factor),
        "prediction_type": scheduler.get("prediction_type", "epsilon"),
        "scaling_factor": vae.get("scaling_factor", 0.18215),
    }


def prepare_latents(
    shape: tuple[int, int, int, int], seeds: list[int], init_noise_sigma: float, vsf: int, dtype: torch.dtype
) -> torch.Tensor:
    """Draw the noise that a walk begins with, one generator a picture."""
    batch, channels, height, width = shape
    if len(seeds) != batch:
        raise ValueError(f"{batch} pictures need {batch} seeds, not {len(seeds)}")

    latents = torch.empty((batch, channels, height // vsf, width // vsf), dtype=dtype, device="cpu")
    for i, seed in enumerate(seeds):
        generator = torch.Generator(device="cpu").manual_seed(seed)
        latents[i] = torch.randn(latents.shape[1:], generator=generator, dtype=dtype, device="cpu")
    return latents * init_noise_sigma


@torch.no_grad()
def denoise_loop(
    unet,
    scheduler,
    noise: torch.Tensor,
    cond: torch.Tensor,
    uncond: torch.Tensor,
    guidance_scale: float,
    steps: int,
) -> torch.Tensor:
    """Turn noise into latents, the way StableDiffusionPipeline does between encoding and decoding."""
    if cond.shape != uncond.shape:
        raise ValueError(f"cond is {tuple(cond.shape)} and uncond {tuple(uncond.shape)}; they must agree")

    guided = guidance_scale > 1
    embeddings = torch.cat([uncond, cond]) if guided else cond

    # The factor of the noise belongs to the walk that is set, so the walk goes first.
    scheduler.set_timesteps(steps, device=noise.device)
    latents = noise * scheduler.init_noise_sigma

    for t in scheduler.timesteps:
        model_input = torch.cat([latents, latents]) if guided else latents
        model_input = scheduler.scale_model_input(model_input, t)
        prediction = unet(model_input, t, encoder_hidden_states=embeddings).sample
        if guided:
            prediction_uncond, prediction_cond = prediction.chunk(2)
            prediction = _guide(prediction_uncond, prediction_cond, guidance_scale)
        latents = scheduler.step(prediction, t, latents).prev_sample
    return latents


def img2img_start(
    scheduler, x0_latent: torch.Tensor, noise: torch.Tensor, strength: float, steps: int
) -> dict[str, torch.Tensor]:
    """Enter a walk late, from a picture."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in [0, 1], not {strength}")
    made = min(int(steps * strength), steps)
    if made < 1:
        raise ValueError(f"strength {strength} of {steps} steps leaves no step to make")

    scheduler.set_timesteps(steps, device=x0_latent.device)
    begin = (steps - made) * scheduler.order
    timesteps = scheduler.timesteps[begin:]
    # First the place, then the noise: where a timestep is listed twice, add_noise reads the place, too.
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)

    first = _one_a_sample(timesteps[0], x0_latent.shape[0], x0_latent.device)
    return {"timesteps": timesteps, "latents": scheduler.add_noise(x0_latent, noise, first)}


@torch.no_grad()
def latents_to_image(vae, z: torch.Tensor) -> torch.Tensor:
    """Turn the denoiser's latents into pictures, (B, H, W, 3) uint8."""
    y = z / vae.config.scaling_factor
    if vae.config.shift_factor is not None:
        y = y + vae.config.shift_factor

    pixels = vae.decode(y).sample.float()
    unit = (pixels / 2 + 0.5).clamp(0, 1)
    levels = (unit * 255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous()


def swap_scheduler(old_scheduler, new_cls: type, **overrides):
    """Make a scheduler of another class for the same trained model."""
    return new_cls.from_config(old_scheduler.config, **overrides)


@torch.no_grad()
def dit_sample(
    model, scheduler, noise: torch.Tensor, labels: torch.Tensor, guidance_scale: float, steps: int
) -> torch.Tensor:
    """Turn noise into latents with a transformer that is conditioned on class labels."""
    channels = noise.shape[1]
    guided = guidance_scale > 1
    if guided:
        null_class = torch.full_like(labels, model.config.num_embeds_ada_norm)
        classes = torch.cat([labels, null_class])
    else:
        classes = labels

    scheduler.set_timesteps(steps, device=noise.device)
    latents = noise * scheduler.init_noise_sigma

    for t in scheduler.timesteps:
        model_input = torch.cat([latents, latents]) if guided else latents
        model_input = scheduler.scale_model_input(model_input, t)
        times = _one_a_sample(t, model_input.shape[0], model_input.device)
        answer = model(model_input, timestep=times, class_labels=classes).sample
        prediction = answer[:, :channels]
        if guided:
            prediction_cond, prediction_null = prediction.chunk(2)
            prediction = _guide(prediction_null, prediction_cond, guidance_scale)
        latents = scheduler.step(prediction, t, latents).prev_sample
    return latents


def inpaint_start(
    image_latents: torch.Tensor, noise: torch.Tensor, scheduler, strength: float, t_first: torch.Tensor
) -> torch.Tensor:
    """Make the latents that inpainting begins with."""
    if strength == 1:
        return noise * scheduler.init_noise_sigma
    timesteps = _one_a_sample(t_first, image_latents.shape[0], image_latents.device)
    return scheduler.add_noise(image_latents, noise, timesteps)


def inpaint_step(
    latents: torch.Tensor,
    image_latents: torch.Tensor,
    mask: torch.Tensor,
    noise: torch.Tensor,
    scheduler,
    t_next: torch.Tensor | None,
) -> torch.Tensor:
    """Put the picture back around the hole, right after `scheduler.step`."""
    if t_next is None:
        kept = image_latents
    else:
        timesteps = _one_a_sample(t_next, image_latents.shape[0], image_latents.device)
        kept = scheduler.add_noise(image_latents, noise, timesteps)

    hole = F.interpolate(mask, size=latents.shape[-2:], mode="nearest") > 0.5
    # A choice, not a sum: the mask has nothing between, and its dtype stays out of the result.
    return torch.where(hole, latents, kept)
