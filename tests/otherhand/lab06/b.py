"""Lab 06, the pipeline: the parts that a diffusers pipeline is made of, and the loop between them."""

import torch
import torch.nn.functional as F

# Small helpers. None of them is a task.


def _pair(size) -> tuple[int, int]:
    """One number means a square; a pair is height first."""
    if isinstance(size, (list, tuple)):
        height, width = size
    else:
        height = width = size
    return int(height), int(width)


def _guided(uncond: torch.Tensor, cond: torch.Tensor, scale: float) -> torch.Tensor:
    return uncond + scale * (cond - uncond)


def _a_timestep_each(t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(N,) with the same timestep for every sample of `like`, with its fraction, if it has one."""
    return t.to(like.device).reshape(1).repeat(like.shape[0])


# Five predictions.


def checkpoint_shapes() -> dict[str, tuple[int, ...]]:
    # four blocks, three halvings: 768 / 8 = 96 high, 512 / 8 = 64 wide; the batch is 3, doubled for the denoiser alone
    return {"sample": (6, 4, 96, 64), "condition": (6, 77, 768), "decoder": (3, 4, 96, 64)}


def checkpoint_calls() -> dict[str, int]:
    # Heun: two looks a step but one at the last, 2·20 − 1; the picture: int(20·0.3) = 6 steps are made
    return {"ddim": 20, "heun": 39, "img2img": 6}


def checkpoint_units() -> dict[str, str]:
    return {
        "noise": "init_noise_sigma",
        "denoiser": "scale_model_input",
        "step": "nothing",
        "decoder": "scaling_factor",
    }


def checkpoint_order() -> dict[str, tuple[str, ...]]:
    return {
        "before": ("encode_prompt", "set_timesteps", "init_noise_sigma"),
        "loop": ("scale_model_input", "denoiser", "guidance", "step"),
        "after": ("decode",),
    }


def checkpoint_modular() -> dict[str, str]:
    return {"loop": "block", "latents": "state", "weights": "components", "guidance_scale": "components"}


# The code.


def read_pipeline(model_index: dict, configs: dict[str, dict]) -> dict:
    def is_there(entry) -> bool:
        return isinstance(entry, (list, tuple)) and len(entry) == 2 and any(part is not None for part in entry)

    vae = configs["vae"]
    denoiser = configs["unet"] if "unet" in configs else configs["transformer"]

    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    height, width = _pair(denoiser["sample_size"])  # counted in latents

    return {
        "components": sorted(name for name, entry in model_index.items() if is_there(entry)),
        "vae_scale_factor": factor,
        "latent_shape": (vae["latent_channels"], height, width),
        "image_hw": (height * factor, width * factor),
        "prediction_type": configs["scheduler"].get("prediction_type", "epsilon"),
        "scaling_factor": vae.get("scaling_factor", 0.18215),
    }


def prepare_latents(
    shape: tuple[int, int, int, int], seeds: list[int], init_noise_sigma: float, vsf: int, dtype: torch.dtype
) -> torch.Tensor:
    pictures, channels, height, width = shape
    if len(seeds) != pictures:
        raise ValueError(f"one seed a picture: {pictures} pictures, {len(seeds)} seeds")

    one = (channels, height // vsf, width // vsf)
    latents = torch.empty((pictures, *one), dtype=dtype, device="cpu")
    for i, seed in enumerate(seeds):
        generator = torch.Generator("cpu").manual_seed(seed)
        latents[i] = torch.randn(one, generator=generator, dtype=dtype, device="cpu")
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
    if cond.shape != uncond.shape:
        raise ValueError(f"cond is {tuple(cond.shape)}, uncond is {tuple(uncond.shape)}; they must be alike")

    guides = guidance_scale > 1
    embeddings = torch.cat([uncond, cond]) if guides else cond

    scheduler.set_timesteps(steps, device=noise.device)
    latents = noise * scheduler.init_noise_sigma  # only now is it the sigma of this walk

    for t in scheduler.timesteps:
        z = torch.cat([latents, latents]) if guides else latents
        z = scheduler.scale_model_input(z, t)
        prediction = unet(z, t, encoder_hidden_states=embeddings).sample
        if guides:
            prediction_uncond, prediction_cond = prediction.chunk(2)
            prediction = _guided(prediction_uncond, prediction_cond, guidance_scale)
        latents = scheduler.step(prediction, t, latents, return_dict=False)[0]
    return latents


def img2img_start(
    scheduler, x0_latent: torch.Tensor, noise: torch.Tensor, strength: float, steps: int
) -> dict[str, torch.Tensor]:
    if not 0 <= strength <= 1:
        raise ValueError(f"strength lies in [0, 1], not at {strength}")
    made = int(steps * strength)
    if made < 1:
        raise ValueError(f"strength {strength} leaves none of {steps} steps")

    scheduler.set_timesteps(steps, device=x0_latent.device)
    begin = (steps - made) * scheduler.order
    timesteps = scheduler.timesteps[begin:]

    # The place first, then the noise: with repeated timesteps add_noise has to know the place as well.
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    latents = scheduler.add_noise(x0_latent, noise, _a_timestep_each(timesteps[0], x0_latent))
    return {"timesteps": timesteps, "latents": latents}


@torch.no_grad()
def latents_to_image(vae, z: torch.Tensor) -> torch.Tensor:
    y = z / vae.config.scaling_factor
    shift = getattr(vae.config, "shift_factor", None)
    if shift is not None:
        y = y + shift

    pixels = vae.decode(y).sample.float()
    levels = (pixels / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous()


def swap_scheduler(old_scheduler, new_cls: type, **overrides):
    # from_config knows what was told and what was only a default; keywords go before both.
    return new_cls.from_config(old_scheduler.config, **overrides)


@torch.no_grad()
def dit_sample(
    model, scheduler, noise: torch.Tensor, labels: torch.Tensor, guidance_scale: float, steps: int
) -> torch.Tensor:
    channels = noise.shape[1]
    guides = guidance_scale > 1
    if guides:
        null = torch.full_like(labels, model.config.num_embeds_ada_norm)
        classes = torch.cat([labels, null])  # the class first, then the null class
    else:
        classes = labels

    scheduler.set_timesteps(steps, device=noise.device)
    latents = noise * scheduler.init_noise_sigma

    for t in scheduler.timesteps:
        z = torch.cat([latents, latents]) if guides else latents
        z = scheduler.scale_model_input(z, t)
        answer = model(z, timestep=_a_timestep_each(t, z), class_labels=classes).sample
        prediction = answer[:, :channels]  # what follows is the learned variance
        if guides:
            prediction_cond, prediction_uncond = prediction.chunk(2)
            prediction = _guided(prediction_uncond, prediction_cond, guidance_scale)
        latents = scheduler.step(prediction, t, latents, return_dict=False)[0]
    return latents


# Inpainting.


def inpaint_start(
    image_latents: torch.Tensor, noise: torch.Tensor, scheduler, strength: float, t_first: torch.Tensor
) -> torch.Tensor:
    if strength == 1:
        return noise * scheduler.init_noise_sigma
    return scheduler.add_noise(image_latents, noise, _a_timestep_each(t_first, image_latents))


def inpaint_step(
    latents: torch.Tensor,
    image_latents: torch.Tensor,
    mask: torch.Tensor,
    noise: torch.Tensor,
    scheduler,
    t_next: torch.Tensor | None,
) -> torch.Tensor:
    if t_next is None:
        kept = image_latents
    else:
        kept = scheduler.add_noise(image_latents, noise, _a_timestep_each(t_next, image_latents))
    hole = F.interpolate(mask, size=latents.shape[-2:], mode="nearest") > 0.5
    return torch.where(hole, latents, kept)
