"""The harness of lab 06, public: builds models and schedulers, and runs a student's loop. Runs in the workers."""

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UNet2DConditionModel,
)

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
    "dpm": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "euler": (EulerDiscreteScheduler, {"timestep_spacing": "leading"}),
    "euler_linspace": (EulerDiscreteScheduler, {"timestep_spacing": "linspace"}),
    "euler_v": (EulerDiscreteScheduler, {"timestep_spacing": "trailing", "prediction_type": "v_prediction"}),
    "heun": (HeunDiscreteScheduler, {}),
}


def make_unet(channels, context_dim, seed=0, trainable=False):
    """Build the smallest UNet2DConditionModel that reads its condition, and fill it from `seed`.

    The filling goes by sorted parameter names, so that the numbers do not depend on the library's initialisation,
    and leaves no layer at zero, where a mistake could hide.
    """
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
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(unet.named_parameters()):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
            parameter.normal_(0.0, 0.7 / fan_in**0.5, generator=generator)
    return unet.eval().requires_grad_(trainable)


def make_scheduler(name):
    """Build a scheduler by its name in SCHEDULERS; `set_timesteps` is left to the loop."""
    scheduler_class, options = SCHEDULERS[name]
    return scheduler_class(**TRAINING, **options)


def sample(student, *, unet, scheduler, noise, cond, uncond, guidance_scale, steps):
    """Run the loop on a tiny UNet, whose calls the grader sees; the answer is the latents."""
    return student.denoise_loop(unet, make_scheduler(scheduler), noise, cond, uncond, guidance_scale, steps)


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
