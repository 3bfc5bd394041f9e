"""Lab 04, classifier-free guidance: two predictions of one network, and what is made of them.

`cond` is the prediction under the prompt, `uncond` the one under the empty or the negative prompt. Symbols are those of
Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022); other papers are named where they are used. The scale s
that libraries call `guidance_scale` is that paper's w plus 1. Each function stands by itself.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F


def checkpoint_weights() -> dict[str, int]:
    """Return the weights of the three predictions at s = 8 with a negative prompt: s, 1 − s, and none."""
    return {"prompt": 8, "negative": -7, "empty": 0}


def checkpoint_batch_shape() -> tuple[int, ...]:
    """Return the shape of what the network is given: two halves of three prompts with four pictures each."""
    return (2 * 3 * 4, 4, 64, 64)


def checkpoint_evaluations() -> dict[str, int]:
    """Return how many latents pass through each network in 20 steps of one picture.

    Two a step where guidance is on: 20 steps, or the 10 of the window. A network that was given the scale in training
    needs one. No classifier takes part; that is what the name says.
    """
    return {"guided": 40, "window": 30, "distilled": 20, "classifier": 0}


def checkpoint_step_order() -> tuple[str, ...]:
    """Return the order of one guided step: the scheduler sees only the finished prediction."""
    return ("double", "predict", "split", "guide", "rescale", "step")


def cfg(cond: torch.Tensor, uncond: torch.Tensor, scale: float, use_original_formulation: bool = False) -> torch.Tensor:
    """Return the guided prediction, in the dtype of `cond` (B, ...).

    Libraries: uncond + s·(cond − uncond) (Saharia et al. 2022, eq. 2). The original: cond + w·(cond − uncond)
    (Ho and Salimans 2022, eq. 6); the two are one for w = s − 1.
    """
    direction = cond - uncond
    base = cond if use_original_formulation else uncond
    return base + scale * direction


def guided_prediction(
    model: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    t: torch.Tensor,
    cond_emb: torch.Tensor,
    uncond_emb: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Return the guided prediction at x (B, ...) and t (B,) with one call of the network.

    Above scale 1 that call holds 2B latents, the unconditional half first; else guidance is off, and it holds B.
    """
    if scale <= 1:
        return model(x, t, cond_emb)
    both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([uncond_emb, cond_emb]))
    uncond, cond = both.chunk(2)
    return uncond + scale * (cond - uncond)


def build_cfg_embeds(
    prompt: torch.Tensor,
    negative: torch.Tensor | None,
    empty: torch.Tensor,
    num_images_per_prompt: int,
    guidance_scale: float,
) -> torch.Tensor:
    """Return the embeddings that the network is given, a row a latent: the unconditional half first.

    `prompt` and `negative` are (P, L, D), `empty` is (1, L, D). The copies of one prompt are neighbours.
    """
    cond = prompt.repeat_interleave(num_images_per_prompt, dim=0)
    if guidance_scale <= 1:
        return cond
    if negative is None:
        negative = empty.expand(len(prompt), -1, -1)
    if len(negative) != len(prompt):
        raise ValueError(f"{len(negative)} negative prompts were given for {len(prompt)} prompts")
    uncond = negative.repeat_interleave(num_images_per_prompt, dim=0)
    return torch.cat([uncond, cond])


def rescale_guidance(guided: torch.Tensor, cond: torch.Tensor, phi: float) -> torch.Tensor:
    """Return `guided` (B, ...), its standard deviation brought towards that of `cond` (Lin et al. 2024, eq. 15, 16).

    φ = 1 brings each sample all the way, φ = 0 leaves it. A constant sample has no deviation to bring: it stays.
    """
    axes = tuple(range(1, guided.ndim))
    std_cond = cond.std(dim=axes, keepdim=True)
    std_guided = guided.std(dim=axes, keepdim=True)
    constant = guided.amax(dim=axes, keepdim=True) == guided.amin(dim=axes, keepdim=True)
    ratio = torch.where(constant, 1.0, std_cond / std_guided)
    rescaled = ratio * guided
    return phi * rescaled + (1 - phi) * guided


def guidance_plan(n: int, start: float, stop: float, scale: float) -> dict[str, Any]:
    """Return the scale of each of `n` steps, (n,) float32, and how many evaluations of the network they cost.

    Guidance acts in the window of Kynkäänniemi et al. 2024, written as fractions of the steps: int(start·n) ≤ i <
    int(stop·n). Outside it, and where the scale is at most 1, the conditional prediction is used alone: scale 1.
    """
    if not 0 <= start <= stop <= 1:
        raise ValueError(f"start = {start} and stop = {stop} are no window: 0 ≤ start ≤ stop ≤ 1 is needed")
    first, end = int(start * n), int(stop * n)
    scales = torch.ones(n)
    if scale > 1:
        scales[first:end] = scale
    guided = int((scales > 1).sum())
    return {"scale": scales, "evaluations": n + guided}


def guidance_embedding(guidance_scale: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the features of w = s − 1 that a distilled network is given (Meng et al. 2023, section 3.1).

    `guidance_scale` is (B,), the features are (B, dim) float32: those of a timestep 1000·w, sines first, then cosines,
    of frequencies from 1 down to 1/10000.
    """
    half = dim // 2
    frequencies = torch.exp(-torch.log(torch.tensor(10000.0)) / (half - 1) * torch.arange(half))
    angles = 1000.0 * (guidance_scale[:, None] - 1.0) * frequencies
    features = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    return F.pad(features, (0, dim - 2 * half))


class APG:
    """Adaptive projected guidance (Sadat et al. 2025, algorithm 1), from `uncond` as diffusers writes it."""

    def __init__(self, scale: float, eta: float, norm_threshold: float, momentum: float | None) -> None:
        """Begin one picture: nothing is remembered yet."""
        self.scale, self.eta, self.norm_threshold, self.momentum = scale, eta, norm_threshold, momentum
        self.average: torch.Tensor | float = 0.0

    def __call__(self, cond: torch.Tensor, uncond: torch.Tensor) -> torch.Tensor:
        """Return the guided prediction of the next step, in the dtype of `cond` (B, ...)."""
        c, u = cond.float(), uncond.float()
        axes = tuple(range(1, c.ndim))
        # 1. Momentum: what earlier steps wanted, weighted; negative momentum holds it against them.
        update = c - u
        if self.momentum is not None:
            update = update + self.momentum * self.average
            self.average = update

        # 2. The norm of each sample is limited.
        if self.norm_threshold > 0:
            norm = update.square().sum(dim=axes, keepdim=True).sqrt()
            update = update * torch.clamp(self.norm_threshold / norm, max=1.0)

        # 3. The part along cond, which saturates, is weighted by η.
        unit = F.normalize(c.flatten(1)).reshape(c.shape)
        parallel = (update * unit).sum(dim=axes, keepdim=True) * unit
        orthogonal = update - parallel
        return (u + self.scale * (orthogonal + self.eta * parallel)).to(cond.dtype)


def guided_sample(
    model: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    scheduler: Any,
    x: torch.Tensor,
    cond: torch.Tensor,
    uncond: torch.Tensor,
    plan: dict[str, Any],
) -> torch.Tensor:
    """Return the sample after all steps of `scheduler`, guided as `plan` says (Ho and Salimans 2022, algorithm 2).

    Guidance changes the prediction, never the sample and never the scheduler's rule.
    """
    for i, t in enumerate(scheduler.timesteps):
        times, scale = t.expand(len(x)), plan["scale"][i]
        if scale > 1:
            both = model(torch.cat([x, x]), torch.cat([times, times]), torch.cat([uncond, cond]))
            eps_uncond, eps_cond = both.chunk(2)
            eps = eps_uncond + scale * (eps_cond - eps_uncond)
        else:
            eps = model(x, times, cond)
        x = scheduler.step(eps, t, x)
    return x
