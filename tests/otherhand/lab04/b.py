"""Lab 04, classifier-free guidance: my solution, written from page.md and starter.py alone."""

import math
from collections.abc import Callable
from typing import Any

import torch

Denoiser = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


# ---- small helpers, none of them a function of the lab ---------------------------------------------------------------


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(B, ...) as (B, N) in float64: one line a sample, precise enough that no later sum needs care."""
    return x.to(torch.float64).reshape(x.shape[0], -1)


def _like(row_value: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(B,) reshaped so that it broadcasts over a (B, ...) tensor, whatever the number of axes."""
    return row_value.reshape(-1, *[1] * (x.ndim - 1))


def _spread(rows: torch.Tensor) -> torch.Tensor:
    """(B,) standard deviations of (B, N). Moved by each row's first entry first, so a constant row gives exactly 0."""
    moved = rows - rows[:, :1]
    return (moved - moved.mean(dim=1, keepdim=True)).square().mean(dim=1).sqrt()


# ---- predictions -----------------------------------------------------------------------------------------------------


def checkpoint_weights() -> dict[str, int]:
    # s for the prompt, 1 - s for the negative prompt, which has taken the empty prompt's place.
    return {"prompt": 8, "negative": -7, "empty": 0}


def checkpoint_batch_shape() -> tuple[int, ...]:
    # 3 prompts x 4 pictures x 2 halves
    return (24, 4, 64, 64)


def checkpoint_evaluations() -> dict[str, int]:
    # 20 x 2; steps 5 .. 14 twice and ten others once; one branch only; there is no classifier.
    return {"guided": 40, "window": 30, "distilled": 20, "classifier": 0}


def checkpoint_step_order() -> tuple[str, ...]:
    return ("double", "predict", "split", "guide", "rescale", "step")


# ---- the code --------------------------------------------------------------------------------------------------------


def cfg(cond: torch.Tensor, uncond: torch.Tensor, scale: float, use_original_formulation: bool = False) -> torch.Tensor:
    s = scale + 1.0 if use_original_formulation else scale
    # lerp starts from the nearer end, so that s = 0 is uncond and s = 1 is cond to the last bit.
    return torch.lerp(uncond.float(), cond.float(), s).to(cond.dtype)


def guided_prediction(
    model: Denoiser,
    x: torch.Tensor,
    t: torch.Tensor,
    cond_emb: torch.Tensor,
    uncond_emb: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    if scale <= 1:
        return model(x, t, cond_emb)

    both = model(
        torch.cat((x, x)),  # a, b, a, b
        torch.cat((t, t)),  # every row keeps its own timestep
        torch.cat((uncond_emb, cond_emb)),
    )
    without, under_prompt = both.split(x.shape[0])
    return without + scale * (under_prompt - without)


def build_cfg_embeds(
    prompt: torch.Tensor,
    negative: torch.Tensor | None,
    empty: torch.Tensor,
    num_images_per_prompt: int,
    guidance_scale: float,
) -> torch.Tensor:
    def copies(rows: torch.Tensor) -> torch.Tensor:
        return rows.to(prompt.dtype).repeat_interleave(num_images_per_prompt, dim=0)

    if guidance_scale <= 1:
        return copies(prompt)

    n_prompts = prompt.shape[0]
    if negative is None:
        negative = empty.expand(n_prompts, -1, -1)
    elif negative.shape[0] != n_prompts:
        raise ValueError(f"{negative.shape[0]} negative prompts for {n_prompts} prompts: there must be one for each")
    return torch.cat((copies(negative), copies(prompt)))


def rescale_guidance(guided: torch.Tensor, cond: torch.Tensor, phi: float) -> torch.Tensor:
    std_guided = _spread(_rows(guided))
    std_cond = _spread(_rows(cond))
    constant = std_guided == 0  # exact, see _spread
    ratio = std_cond / torch.where(constant, 1.0, std_guided)
    factor = phi * ratio + (1.0 - phi)  # the blend of two multiples of `guided` is one multiple of it
    rescaled = (guided.to(torch.float64) * _like(factor, guided)).to(guided.dtype)
    return torch.where(_like(constant, guided), guided, rescaled)


def guidance_plan(n: int, start: float, stop: float, scale: float) -> dict[str, Any]:
    if not 0 <= start <= stop <= 1:  # NaN fails this too
        raise ValueError(f"a window from {start} to {stop} is none: 0 <= start <= stop <= 1")

    scales = torch.ones(n, dtype=torch.float32)
    first, end = int(start * n), int(stop * n)
    guided_steps = 0
    if scale > 1:
        scales[first:end] = scale
        guided_steps = end - first
    return {"scale": scales, "evaluations": n + guided_steps}


def guidance_embedding(guidance_scale: torch.Tensor, dim: int) -> torch.Tensor:
    half = dim // 2
    w = guidance_scale.to(torch.float64) - 1.0
    k = torch.arange(half, dtype=torch.float64, device=guidance_scale.device)
    frequencies = torch.exp(-math.log(10000.0) * k / (half - 1))
    angles = 1000.0 * w[:, None] * frequencies[None, :]

    features = torch.zeros(w.shape[0], dim, dtype=torch.float32, device=guidance_scale.device)
    features[:, :half] = angles.sin()
    features[:, half : 2 * half] = angles.cos()
    return features  # an odd dim keeps its last column of zeros


class APG:
    def __init__(self, scale: float, eta: float, norm_threshold: float, momentum: float | None) -> None:
        self.scale = scale
        self.eta = eta
        self.norm_threshold = norm_threshold
        self.momentum = momentum
        self._before: torch.Tensor | None = None  # d of the step before: with its momentum, without its limit

    def _with_momentum(self, d: torch.Tensor) -> torch.Tensor:
        if self.momentum is None:
            return d
        if self._before is not None:
            d = d + self.momentum * self._before
        self._before = d
        return d

    def _limited(self, d: torch.Tensor) -> torch.Tensor:
        if self.norm_threshold == 0:
            return d
        length = torch.linalg.vector_norm(d, dim=1, keepdim=True)
        too_long = length > self.norm_threshold
        return torch.where(too_long, d * (self.norm_threshold / torch.where(too_long, length, 1.0)), d)

    @staticmethod
    def _along(d: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        length = torch.linalg.vector_norm(direction, dim=1, keepdim=True)
        unit = direction / torch.where(length == 0, 1.0, length)  # 0 where there is no direction
        return (d * unit).sum(dim=1, keepdim=True) * unit

    def __call__(self, cond: torch.Tensor, uncond: torch.Tensor) -> torch.Tensor:
        c, u = _rows(cond), _rows(uncond)
        d = self._limited(self._with_momentum(c - u))
        parallel = self._along(d, c)
        update = (d - parallel) + self.eta * parallel
        return (u + self.scale * update).reshape(cond.shape).to(cond.dtype)


def guided_sample(
    model: Denoiser,
    scheduler: Any,
    x: torch.Tensor,
    cond: torch.Tensor,
    uncond: torch.Tensor,
    plan: dict[str, Any],
) -> torch.Tensor:
    n_rows = x.shape[0]
    both_embeddings = torch.cat((uncond, cond))

    for t, s in zip(scheduler.timesteps, plan["scale"].tolist(), strict=True):
        if s == 1:
            prediction = model(x, t.repeat(n_rows), cond)
        else:
            answer = model(torch.cat((x, x)), t.repeat(2 * n_rows), both_embeddings)
            without, under_prompt = answer[:n_rows], answer[n_rows:]
            prediction = without + s * (under_prompt - without)
        x = scheduler.step(prediction, t, x)
    return x
