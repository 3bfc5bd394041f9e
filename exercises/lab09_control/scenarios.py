"""The harness of lab 09, public: builds models and schedulers, runs a student's functions. Runs in the workers."""

from contextlib import contextmanager

import torch
from diffusers import (
    ControlNetModel,
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
    "heun": (HeunDiscreteScheduler, {}),
}

_unet_forward = UNet2DConditionModel.forward


def make_scheduler(name):
    """Build a scheduler by its name in SCHEDULERS; `set_timesteps` is left to the loop."""
    scheduler_class, options = SCHEDULERS[name]
    return scheduler_class(**TRAINING, **options)


def fill(model, seed):
    """Fill a model from `seed`, by sorted parameter names, so that no layer is left at zero, where mistakes hide.

    A fresh ControlNet hands over zeros: its last convolutions begin there.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
            parameter.normal_(0.0, 0.7 / fan_in**0.5, generator=generator)
    return model.eval()


def encoder(channels, context_dim, widths, layers):
    """Return what UNet and ControlNet share: the last of several levels reads no condition, as in Stable Diffusion."""
    levels = len(widths)
    return {
        "in_channels": channels,
        "layers_per_block": layers,
        "block_out_channels": tuple(widths),
        "down_block_types": ("CrossAttnDownBlock2D",) * max(levels - 1, 1) + ("DownBlock2D",) * (levels > 1),
        "norm_num_groups": 4,
        "cross_attention_dim": context_dim,
        "attention_head_dim": 4,
    }


def make_unet(channels, context_dim, widths=(8,), layers=1, seed=0, trainable=False):
    """Build a small UNet2DConditionModel with a level for each of `widths`."""
    levels = len(widths)
    up = ("UpBlock2D",) * (levels > 1) + ("CrossAttnUpBlock2D",) * max(levels - 1, 1)
    with torch.random.fork_rng(devices=[]):
        unet = UNet2DConditionModel(
            sample_size=8, out_channels=channels, up_block_types=up, **encoder(channels, context_dim, widths, layers)
        )
    return fill(unet, seed).requires_grad_(trainable)


def make_controlnet(channels, context_dim, widths=(8,), layers=1, seed=1, trainable=False):
    """Build the ControlNet of such a UNet; its control image has twice the height and width of the latents."""
    with torch.random.fork_rng(devices=[]):
        controlnet = ControlNetModel(
            conditioning_embedding_out_channels=(4, 8), **encoder(channels, context_dim, widths, layers)
        )
    return fill(controlnet, seed).requires_grad_(trainable)


def reached(value, weight, leaves):
    """Return how fast the weighted sum of `value` grows with each entry of each leaf; None where nothing arrives."""
    if not isinstance(value, torch.Tensor) or not value.requires_grad:
        return [None] * len(leaves)
    return list(torch.autograd.grad((value * weight).sum(), leaves, allow_unused=True))


def residual_gradients(student, *, feats, mid, zero_convs, zero_mid, scale, guess):
    """Return the gradient of the sum of all residuals' squares in each feature, weight and bias."""
    pairs = [*zero_convs, zero_mid]
    leaves = [one.clone().requires_grad_() for one in [*feats, mid, *(tensor for pair in pairs for tensor in pair)]]
    count = len(feats)
    convs = list(zip(leaves[count + 1 :: 2], leaves[count + 2 :: 2], strict=True))
    said = student.control_residuals(leaves[:count], leaves[count], convs[:-1], convs[-1], scale, guess)
    total = sum((residual**2).sum() for residual in [*said["down"], said["mid"]])
    return reached(total, 1.0, leaves)


class TheTaskItself(RuntimeError):
    """What the task asks for was left to the library."""


@contextmanager
def fenced():
    """Take the answer out of the library while the student's code runs."""

    def forward(self, *args, **kwargs):
        raise TheTaskItself("UNet2DConditionModel.forward: this is what the task asks you to write")

    UNet2DConditionModel.forward = forward
    try:
        yield
    finally:
        UNet2DConditionModel.forward = _unet_forward


def controlled(student, *, x, t, ctx, down_res, mid_res, times=1, **size):
    """Return the predictions of `times` calls with the same inputs; `size` goes to `make_unet`."""
    unet = make_unet(x.shape[1], ctx.shape[-1], **size)
    with fenced(), torch.no_grad():
        return [student.unet_with_control(unet, x, t, ctx, down_res, mid_res) for _ in range(times)]


def controlled_gradients(student, *, x, t, ctx, down_res, mid_res, weight, **size):
    """Return the gradient of a weighted sum of the prediction in every residual: what a ControlNet is trained with."""
    unet = make_unet(x.shape[1], ctx.shape[-1], **size)
    leaves = [one.clone().requires_grad_() for one in [*down_res, mid_res]]
    with fenced():
        prediction = student.unet_with_control(unet, x, t, ctx, leaves[:-1], leaves[-1])
    return reached(prediction, weight, leaves)


def joined(student, *, x, t, ctx, hints, scales, **nets):
    """Return the joint residuals of the ControlNets in `nets`, whose calls the grader sees."""
    return student.multi_control(list(nets.values()), x, t, ctx, hints, scales)


def sample(student, *, unet, controlnet, scheduler, **given):
    """Run the loop on a tiny UNet and its ControlNet, whose calls the grader sees; the answer is the latents."""
    return student.control_loop(unet, controlnet, make_scheduler(scheduler), **given)


def attention_gradients(student, *, x, txt, img, w, heads, scale, weight):
    """Return the gradient of a weighted sum of the output in the image tokens, their projections and the query's."""
    leaves = {name: w[name].clone().requires_grad_() for name in ("ik", "iv", "q")}
    tokens = img.clone().requires_grad_()
    y = student.ip_adapter_attention(x, txt, tokens, {**w, **leaves}, heads, scale)
    return reached(y, weight, [tokens, *leaves.values()])
