"""The harness of lab 09, public: builds models and schedulers, runs a student's functions. Runs in the workers."""

from contextlib import contextmanager
from functools import cache

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

# The answer to `unet_with_control`, and a part that it alone calls: a forward that was taken out of the class before
# the fence stood comes no further than that.
_fenced = {name: getattr(UNet2DConditionModel, name) for name in ("forward", "get_aug_embed")}


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


def reading(widths, attends):
    """Return how many levels read the condition: all but the last of several, as in Stable Diffusion, or none.

    The mid block reads it in either case. A loop is told by that alone, and a network that reads it there only is fast.
    """
    return max(len(widths) - 1, 1) if attends else 0


def encoder(channels, context_dim, widths, layers, attends):
    """Return what UNet and ControlNet share."""
    count = reading(widths, attends)
    return {
        "in_channels": channels,
        "layers_per_block": layers,
        "block_out_channels": tuple(widths),
        "down_block_types": ("CrossAttnDownBlock2D",) * count + ("DownBlock2D",) * (len(widths) - count),
        "norm_num_groups": 4,
        "cross_attention_dim": context_dim,
        "attention_head_dim": 4,
    }


def build_unet(channels, context_dim, widths=(8,), layers=1, seed=0, attends=True):
    """Build a small UNet2DConditionModel with a level for each of `widths`."""
    count = reading(widths, attends)
    with torch.random.fork_rng(devices=[]):
        unet = UNet2DConditionModel(
            sample_size=8,
            out_channels=channels,
            up_block_types=("UpBlock2D",) * (len(widths) - count) + ("CrossAttnUpBlock2D",) * count,
            **encoder(channels, context_dim, widths, layers, attends),
        )
    return fill(unet, seed).requires_grad_(False)


def build_controlnet(channels, context_dim, widths=(8,), layers=1, seed=1, attends=True):
    """Build the ControlNet of such a UNet; its control image has twice the height and width of the latents."""
    with torch.random.fork_rng(devices=[]):
        controlnet = ControlNetModel(
            conditioning_embedding_out_channels=(4, 8), **encoder(channels, context_dim, widths, layers, attends)
        )
    return fill(controlnet, seed).requires_grad_(False)


@cache
def kept(build, number, **size):
    """Return the one model of its kind, number and size. Each play fills it anew: building one is ten times as slow."""
    return build(**size)


# Witnessed models are only ever called, by one play at a time. `number` tells apart what one play has of one kind.


def make_unet(seed, trainable=False, **size):
    """Return the UNet of this size, filled from `seed`."""
    return fill(kept(build_unet, 1, **size), seed).requires_grad_(trainable)


def make_controlnet(seed, number=1, trainable=False, **size):
    """Return a ControlNet of this size, filled from `seed`."""
    return fill(kept(build_controlnet, number, **size), seed).requires_grad_(trainable)


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


def handed_over_again(student, **given):
    """Return the residuals of a second call with the same lists."""
    student.control_residuals(**given)
    return student.control_residuals(**given)


class TheTaskItself(RuntimeError):
    """What the task asks for was left to the library."""


@contextmanager
def fenced():
    """Take the answer out of the library while the student's code runs."""

    def refuse(self, *args, **kwargs):
        raise TheTaskItself("UNet2DConditionModel.forward: this is what the task asks you to write")

    for name in _fenced:
        setattr(UNet2DConditionModel, name, refuse)
    try:
        yield
    finally:
        for name, method in _fenced.items():
            setattr(UNet2DConditionModel, name, method)


def filled(x, ctx, widths, layers, seed):
    """Return the UNet for these inputs, filled from `seed`."""
    return make_unet(seed, channels=x.shape[1], context_dim=ctx.shape[-1], widths=widths, layers=layers)


def controlled(student, *, x, t, ctx, down_res, mid_res, widths, layers, seed=0, times=1):
    """Return the predictions of `times` calls with the same inputs, of a UNet that is filled from `seed`."""
    unet = filled(x, ctx, widths, layers, seed)
    with fenced(), torch.no_grad():
        return [student.unet_with_control(unet, x, t, ctx, down_res, mid_res) for _ in range(times)]


def controlled_gradients(student, *, x, t, ctx, down_res, mid_res, weight, widths, layers, seed=0):
    """Return the gradient of a weighted sum of the prediction in every residual: what a ControlNet is trained with."""
    unet = filled(x, ctx, widths, layers, seed)
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


# For the figures, with the trained stack and its ControlNet on edge maps.


def trained(config, weights):
    """Build the trained ControlNet from what `fixtures.minisd` reads."""
    with torch.random.fork_rng(devices=[]):
        net = ControlNetModel.from_config(dict(config))
    net.load_state_dict({name: weight.float() for name, weight in weights.items()})
    return net.requires_grad_(False).eval()


def texts(stack, prompts):
    """Return the embeddings of the prompts, and as many of the empty one."""
    return stack.embed(prompts), stack.embed([""] * len(prompts))


def drawn_through(student, *, stack, config, weights, prompts, edges, noise, steps):
    """Draw under edge maps with guidance 3: the loop is ours, the UNet's forward pass the student's."""
    net, walk = trained(config, weights), stack.scheduler()
    cond, uncond = texts(stack, prompts)
    both, hint = torch.cat([uncond, cond]), torch.cat([edges, edges])
    walk.set_timesteps(steps)
    x = noise
    for t in walk.timesteps:
        given = torch.cat([x, x])
        down, mid = net(given, t, both, hint, return_dict=False)
        eps = student.unet_with_control(stack.unet, given, t, both, down, mid)
        eps_uncond, eps_cond = eps.chunk(2)
        x = walk.step(eps_uncond + 3.0 * (eps_cond - eps_uncond), t, x).prev_sample
    return stack.decode(x)


def drawn_in_windows(student, *, stack, config, weights, prompts, edges, noise, steps, windows):
    """Draw the first edge map under each of several windows: the student's numbers, our loop."""
    net = trained(config, weights)
    cond, uncond = texts(stack, prompts)
    both, hint = torch.cat([uncond, cond]), torch.cat([edges, edges])
    pictures = []
    for start, end in windows:
        walk = stack.scheduler()
        walk.set_timesteps(steps)
        x = noise
        for keep, t in zip(student.control_window(steps, start, end), walk.timesteps, strict=True):
            given = torch.cat([x, x])
            down, mid = net(given, t, both, hint, float(keep), return_dict=False)
            residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
            eps_uncond, eps_cond = stack.unet(given, t, both, **residuals).sample.chunk(2)
            x = walk.step(eps_uncond + 3.0 * (eps_cond - eps_uncond), t, x).prev_sample
        pictures.append(x)
    return stack.decode(torch.cat(pictures))


def drawn_together(student, *, stack, config, weights, prompt, hints, rows, noise, steps):
    """Draw one prompt under several edge maps: each row of scales gives one picture."""
    net = trained(config, weights)
    cond, uncond = texts(stack, [prompt])
    both = torch.cat([uncond, cond])
    pictures = []
    for scales in rows:
        walk = stack.scheduler()
        walk.set_timesteps(steps)
        x = noise
        for t in walk.timesteps:
            given = torch.cat([x, x])
            doubled = [torch.cat([hint, hint]) for hint in hints]
            joint = student.multi_control([net] * len(hints), given, t, both, doubled, scales)
            residuals = {
                "down_block_additional_residuals": joint["down"],
                "mid_block_additional_residual": joint["mid"],
            }
            eps_uncond, eps_cond = stack.unet(given, t, both, **residuals).sample.chunk(2)
            x = walk.step(eps_uncond + 3.0 * (eps_cond - eps_uncond), t, x).prev_sample
        pictures.append(x)
    return stack.decode(torch.cat(pictures))


def drawn_by_the_loop(student, *, stack, config, weights, prompts, edges, noise, scales, **given):
    """Draw under edge maps by the student's whole loop, once for each scale."""
    net = trained(config, weights)
    cond, uncond = texts(stack, prompts)
    latents = [
        student.control_loop(stack.unet, net, stack.scheduler(), noise, cond, uncond, edges, scale=scale, **given)
        for scale in scales
    ]
    return stack.decode(torch.cat(latents))
