"""The harness of lab 06, public: builds models and schedulers, and runs a student's code. Runs in the workers.

Two things of diffusers are answers of this lab as they stand. While a student's code runs they are closed, and say so.
"""

import sys
from contextlib import contextmanager
from functools import cache, wraps
from types import ModuleType

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UNet2DConditionModel,
)
from diffusers.configuration_utils import FrozenDict
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.autoencoders.vae import DecoderOutput

# Stable Diffusion's training schedule, which every scheduler below is made for.
TRAINING = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
SCHEDULERS = {
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
    "ddim_trailing": (DDIMScheduler, {"clip_sample": False, "timestep_spacing": "trailing", "steps_offset": 0}),
    "dpm": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpm_karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "euler": (EulerDiscreteScheduler, {"timestep_spacing": "leading"}),
    "euler_linspace": (EulerDiscreteScheduler, {"timestep_spacing": "linspace"}),
    "euler_v": (EulerDiscreteScheduler, {"timestep_spacing": "trailing", "prediction_type": "v_prediction"}),
    "heun": (HeunDiscreteScheduler, {}),
}
CLASSES = {
    "DDIM": DDIMScheduler,
    "DPM": DPMSolverMultistepScheduler,
    "Euler": EulerDiscreteScheduler,
    "Heun": HeunDiscreteScheduler,
}

CLOSED = "this is what the task asks you to write"
DIT_PIPELINE = "diffusers.pipelines.dit.pipeline_dit"


class ClosedModule(ModuleType):
    """Stands where a module would be imported whose one use here is the answer."""

    def __getattr__(self, name):
        """Refuse everything but what the import system asks for."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(CLOSED)


def closed(*args, **kwargs):
    """Refuse to be called."""
    raise RuntimeError(CLOSED)


@contextmanager
def fenced():
    """Close `VaeImageProcessor`'s way out and `DiTPipeline`'s loop while a student's code runs.

    Nothing is imported for it: a pipeline that nobody has loaded gets a module in its place, a loaded one another call.
    """
    places = [(VaeImageProcessor, "postprocess"), (VaeImageProcessor, "denormalize")]
    loaded = sys.modules.get(DIT_PIPELINE)
    if loaded is None:
        sys.modules[DIT_PIPELINE] = ClosedModule(DIT_PIPELINE)
    else:
        places.append((loaded.DiTPipeline, "__call__"))
    open_ones = [(owner, name, vars(owner)[name]) for owner, name in places]
    for owner, name in places:
        setattr(owner, name, closed)
    try:
        yield
    finally:
        for owner, name, method in open_ones:
            setattr(owner, name, method)
        if loaded is None:
            del sys.modules[DIT_PIPELINE]


def filled(model, seed, trainable=False):
    """Fill a model from `seed`, by sorted parameter names, and return it ready for inference.

    So the numbers do not depend on the library's initialisation, and no layer is left at zero, where a mistake could
    hide.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
            parameter.normal_(0.0, 0.7 / fan_in**0.5, generator=generator)
    return model.eval().requires_grad_(trainable)


def in_plain_convolutions(model):
    """Let a model compute without oneDNN, which compiles every convolution anew for every size that it meets.

    For models as small as these that takes longer than all else.
    """
    forward = model.forward

    @wraps(forward)
    def plain(*args, **kwargs):
        torch._C._set_mkldnn_enabled(False)  # the public switch sets three more, and warns of one
        try:
            return forward(*args, **kwargs)
        finally:
            torch._C._set_mkldnn_enabled(True)

    model.forward = plain
    return model


def build_unet(channels, context_dim):
    """Build the smallest UNet2DConditionModel that reads its condition."""
    with torch.random.fork_rng(devices=[]):
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=1,
            block_out_channels=(8,),
            down_block_types=("CrossAttnDownBlock2D",),
            mid_block_type=None,
            up_block_types=("UpBlock2D",),
            norm_num_groups=4,
            cross_attention_dim=context_dim,
            attention_head_dim=4,
        )
    return in_plain_convolutions(unet)


def build_dit(channels, classes, size, learned_variance):
    """Build a DiTTransformer2DModel of one block for so many classes."""
    with torch.random.fork_rng(devices=[]):
        dit = DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=4,
            in_channels=channels,
            out_channels=2 * channels if learned_variance else channels,
            num_layers=1,
            sample_size=size,
            patch_size=2,
            num_embeds_ada_norm=classes,
        )
    return in_plain_convolutions(dit)


@cache
def kept(build, *size):
    """Return the one model of its kind and size. Each play fills it anew: building one is ten times as slow.

    Kept are witnessed models alone. No student's code can reach them, and a call leaves nothing behind in one: it has
    neither buffers that are written nor, in evaluation, anything drawn. A play has one of each kind.
    """
    return build(*size)


def make_unet(channels, context_dim, seed=0, trainable=False):
    """Return the UNet of this size, filled from `seed`."""
    return filled(kept(build_unet, channels, context_dim), seed, trainable)


def make_dit(channels, classes, size=4, learned_variance=True, seed=0, trainable=False):
    """Return the transformer of this size for so many classes, filled from `seed`."""
    return filled(kept(build_dit, channels, classes, size, learned_variance), seed, trainable)


def make_vae(latent_channels, blocks, scaling_factor, shift_factor=None, seed=0):
    """Build a tiny AutoencoderKL; with a shift it is built as Stable Diffusion 3's is, without the two 1×1 layers."""
    with torch.random.fork_rng(devices=[]):
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * blocks,
            up_block_types=("UpDecoderBlock2D",) * blocks,
            block_out_channels=(4,) * blocks,
            layers_per_block=1,
            latent_channels=latent_channels,
            norm_num_groups=2,
            scaling_factor=scaling_factor,
            shift_factor=shift_factor,
            use_quant_conv=shift_factor is None,
            use_post_quant_conv=shift_factor is None,
            mid_block_add_attention=False,
        )
    return filled(vae, seed)


class ExactVAE:
    """A VAE whose decoder loses nothing, where levels are compared one by one: colours are the first three channels."""

    def __init__(self, scaling_factor, shift_factor, dtype):
        """Keep what stands in the config, and the dtype that a decoder's weights would have."""
        self.config = FrozenDict(scaling_factor=scaling_factor, shift_factor=shift_factor)
        self.dtype = dtype

    def decode(self, z, return_dict=True):
        """Return the first three channels, twice as high and as wide; another dtype raises, as in any layer."""
        if z.dtype != self.dtype:
            raise RuntimeError(f"the decoder's weights are {self.dtype}, and the latents that it was given {z.dtype}")
        sample = z[:, :3].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return DecoderOutput(sample=sample) if return_dict else (sample,)


def make_scheduler(name):
    """Build a scheduler by its name in SCHEDULERS; `set_timesteps` is left to the loop."""
    scheduler_class, options = SCHEDULERS[name]
    return scheduler_class(**{**TRAINING, **options})


def answer(student, *, function, **given):
    """Call one function; for checks that look at a part of what it returns."""
    return getattr(student, function)(**given)


def latents_and_the_global_state(student, *, seed, **given):
    """Return the latents, and what torch's global generator says next."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        latents = student.prepare_latents(**given)
        return {"latents": latents, "next": torch.rand(4)}


def sample(student, *, unet, scheduler, noise, cond, uncond, guidance_scale, steps):
    """Run the loop on a tiny UNet, whose calls the grader sees; the answer is the latents."""
    return student.denoise_loop(unet, make_scheduler(scheduler), noise, cond, uncond, guidance_scale, steps)


def begun(student, *, scheduler, x0_latent, noise, strength, steps):
    """Return how a walk from a picture begins."""
    return student.img2img_start(make_scheduler(scheduler), x0_latent, noise, strength, steps)


def walked_from_a_picture(student, *, scheduler, x0_latent, noise, strength, steps):
    """Begin from a picture and walk to the end, with a model that knows the noise and says it; return all latents."""
    made = make_scheduler(scheduler)
    begin = student.img2img_start(made, x0_latent, noise, strength, steps)
    latents, seen = begin["latents"], []
    for t in begin["timesteps"]:
        made.scale_model_input(latents, t)  # what the model would be given; some schedulers warn if nobody asks
        latents = made.step(noise, t, latents).prev_sample
        seen.append(latents)
    return seen


def decoded(student, *, z, vae=None, exact=None):
    """Decode latents with a tiny AutoencoderKL (`vae`: how to build it) or with the exact VAE (`exact`: its config)."""
    made = make_vae(**vae) if exact is None else ExactVAE(**exact, dtype=z.dtype)
    with fenced():
        return student.latents_to_image(made, z)


KEYS = ("beta_end", "beta_schedule", "prediction_type", "steps_offset", "timestep_spacing")


def described(scheduler):
    """Return what tells a scheduler: its class, its walk of seven steps, and the options that matter."""
    scheduler.set_timesteps(7)
    return {
        "class": type(scheduler).__name__,
        "timesteps": scheduler.timesteps,
        "alphas_cumprod": scheduler.alphas_cumprod,
        "config": {key: scheduler.config.get(key) for key in KEYS},
    }


def swapped(student, *, old, options, swaps):
    """Build a scheduler and swap it for another, once or more; return the last one, and the first as it is then."""
    first = CLASSES[old](**options)
    scheduler = first
    for new, overrides in swaps:
        scheduler = student.swap_scheduler(scheduler, CLASSES[new], **overrides)
    return {"new": described(scheduler), "old": described(first)}


def dit_walk(student, *, model, scheduler, noise, labels, guidance_scale, steps):
    """Run the loop of a class-conditional transformer, whose calls the grader sees; the answer is the latents."""
    with fenced():
        return student.dit_sample(model, make_scheduler(scheduler), noise, labels, guidance_scale, steps)


def one_inpaint_step(student, *, scheduler, steps, place, latents, image_latents, mask, noise):
    """Put the picture back after the step that reaches entry `place` of the walk; None: after the last one."""
    made = make_scheduler(scheduler)
    made.set_timesteps(steps)
    t_next = None if place is None else made.timesteps[place]
    return student.inpaint_step(latents, image_latents, mask, noise, made, t_next)


def inpaint_begun(student, *, scheduler, steps, begin, image_latents, noise, strength):
    """Return the latents that inpainting begins with at entry `begin` of the walk."""
    made = make_scheduler(scheduler)
    made.set_timesteps(steps)
    return student.inpaint_start(image_latents, noise, made, strength, made.timesteps[begin])


def inpainted(student, *, scheduler, image_latents, mask, noise, predictions, begin=0):
    """Inpaint from step `begin` with given predictions, one a step of the rest; return the latents after each step."""
    made = make_scheduler(scheduler)
    made.set_timesteps(len(predictions) + begin)
    timesteps = made.timesteps[begin * made.order :]
    if hasattr(made, "set_begin_index"):
        made.set_begin_index(begin * made.order)
    strength = 1.0 if begin == 0 else len(predictions) / (len(predictions) + begin)
    latents, seen = student.inpaint_start(image_latents, noise, made, strength, timesteps[0]), []
    for place, t in enumerate(timesteps):
        made.scale_model_input(latents, t)
        latents = made.step(predictions[place // made.order], t, latents).prev_sample
        t_next = timesteps[place + 1] if place + 1 < len(timesteps) else None
        latents = student.inpaint_step(latents, image_latents, mask, noise, made, t_next)
        seen.append(latents)
    return seen


def film(student, *, stack, scheduler, prompt, noise, guidance_scale, steps):
    """Run the loop on the miniature stack, for the figures; the answer is what `scheduler.step` saw on the way.

    `size` is the root mean square of the latents before every step and after the last; `x0` the decoded prediction of
    the clean picture in every step where the scheduler says it (DDIM and Euler do); `picture` what the loop returned.
    """
    made = make_scheduler(scheduler)
    step, size, x0 = made.step, [], []

    def recording_step(model_output, timestep, sample, *args, return_dict=True, **kwargs):
        size.append(float(sample.square().mean().sqrt()))
        output = step(model_output, timestep, sample, *args, return_dict=True, **kwargs)
        if output.get("pred_original_sample") is not None:
            x0.append(stack.decode(output.pred_original_sample))
        return output if return_dict else output.to_tuple()

    made.step = recording_step
    cond = stack.embed([prompt] * len(noise))
    uncond = stack.embed([""] * len(noise))
    latents = student.denoise_loop(stack.unet, made, noise, cond, uncond, guidance_scale, steps)
    size.append(float(latents.square().mean().sqrt()))
    return {"picture": stack.decode(latents), "size": size, "x0": x0}


# The figures below are drawn with the trained stack as well.


def guided_walk(stack, made, x, timesteps, prompt, after=None):
    """Walk latents down these timesteps of a scheduler at guidance scale 3; `after(x, t_next)` follows each step."""
    for place, t in enumerate(timesteps):
        eps = stack.predict(made.scale_model_input(x, t), t, [prompt] * len(x), 3.0)
        x = made.step(eps, t, x).prev_sample
        if after is not None:
            x = after(x, timesteps[place + 1] if place + 1 < len(timesteps) else None)
    return x


def drawn_from_seeds(student, *, stack, prompt, seeds, shown, steps):
    """Draw batches of these seeds, and return the pictures that belong to the seed `shown`, decoded."""
    latents = []
    for batch in seeds:
        made = stack.scheduler()
        made.set_timesteps(steps)
        sigma = float(made.init_noise_sigma)
        noise = student.prepare_latents((len(batch), 4, 32, 32), batch, sigma, 4, torch.float32)
        place = batch.index(shown)
        latents.append(guided_walk(stack, made, noise[place : place + 1], made.timesteps, prompt))
    return stack.decode(torch.cat(latents))


def drawn_from_a_picture(student, *, stack, picture, prompt, noise, strengths, steps):
    """Start from a picture at each strength, and return what the model makes of it under another prompt, decoded."""
    latents = []
    for strength in strengths:
        made = stack.scheduler()
        start = student.img2img_start(made, stack.encode(picture), noise, strength, steps)
        latents.append(guided_walk(stack, made, start["latents"], start["timesteps"], prompt))
    return stack.decode(torch.cat(latents))


class OtherUnits:
    """The stack's VAE with latents in other units, for which the given factor and shift are right."""

    def __init__(self, stack, scaling_factor, shift_factor):
        """Keep the stack, and what stands in this VAE's config."""
        self.stack = stack
        self.config = FrozenDict(scaling_factor=scaling_factor, shift_factor=shift_factor)

    def decode(self, y, return_dict=True):
        """Return the pictures of latents in this VAE's own units."""
        z = (y - self.config.shift_factor) * self.config.scaling_factor
        sample = self.stack.decode(z)
        return DecoderOutput(sample=sample) if return_dict else (sample,)


def out_of_the_decoder(student, *, stack, pictures, scaling_factor, shift_factor):
    """Return pictures (N, H, W, 3) of the denoiser's latents of `pictures`."""
    with fenced():
        return student.latents_to_image(OtherUnits(stack, scaling_factor, shift_factor), stack.encode(pictures))


def drawn_after_a_swap(student, *, stack, prompt, noise, classes, steps):
    """Swap the stack's scheduler for each of `classes` and draw; return the pictures and the signal level over t."""
    latents, signal = [], []
    for name in classes:
        made = student.swap_scheduler(stack.scheduler(), CLASSES[name])
        made.set_timesteps(steps)
        start = noise * made.init_noise_sigma
        latents.append(guided_walk(stack, made, start, made.timesteps, prompt))
        signal.append(made.alphas_cumprod.sqrt()[::50].tolist())
    return {"pictures": stack.decode(torch.cat(latents)), "signal": signal}


def drawn_by_class(student, *, stack, config, weights, labels, noise, guidance_scale, steps):
    """Draw classes with the course's small trained transformer; return the decoded pictures."""
    with torch.random.fork_rng(devices=[]):
        model = DiTTransformer2DModel.from_config(config)
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    model.eval().requires_grad_(False)
    with fenced():
        latents = student.dit_sample(model, stack.scheduler(), noise, labels, guidance_scale, steps)
    return stack.decode(latents)


def repainted(student, *, stack, picture, prompt, mask, noise, strengths, steps):
    """Repaint the hole of a picture at each strength; return the decoded pictures."""
    image, latents = stack.encode(picture), []
    for strength in strengths:
        made = stack.scheduler()
        made.set_timesteps(steps)
        timesteps = made.timesteps[steps - int(steps * strength) :]
        start = student.inpaint_start(image, noise, made, strength, timesteps[0])

        def after(x, t_next, made=made):
            return student.inpaint_step(x, image, mask, noise, made, t_next)

        latents.append(guided_walk(stack, made, start, timesteps, prompt, after))
    return stack.decode(torch.cat(latents))
