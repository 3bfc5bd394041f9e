"""Lab 02, the denoising step: what turns a model's prediction into a slightly cleaner sample.

Read page.md first. Fill in each function and run `grade lab02`.
"""

import torch


def ddpm_step(
    model_output: torch.Tensor,
    t: int,
    t_prev: int,
    x_t: torch.Tensor,
    betas: torch.Tensor,
    clip: bool,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return x_prev, one step of DDPM from timestep t to t_prev (Ho et al. 2020, eq. 6, 7 and 15).

        x_0 estimate   x̂_0 = (x_t − √(1−ᾱ_t)·ε_θ) / √ᾱ_t
        jump           α = ᾱ_t / ᾱ_prev        β = 1 − α
        mean           μ = √ᾱ_prev·β / (1−ᾱ_t) · x̂_0  +  √α·(1−ᾱ_prev) / (1−ᾱ_t) · x_t
        variance       σ² = (1−ᾱ_prev) / (1−ᾱ_t) · β        ("fixed small")
        x_prev         μ + σ·z, z from N(0, 1); at t = 0 just μ

    Args:
        model_output: ε_θ(x_t, t), the noise that the model predicts, (B, ...) like `x_t`.
        t: the timestep of `x_t`, 0 to T − 1.
        t_prev: the timestep to go to, below `t` by one or by many. Below zero it means the clean end of the
            chain, where ᾱ_prev is 1.
        x_t: the noisy samples, (B, ...), float32, float16 or bfloat16.
        betas: (T,) float32, the variance that each single step of the forward process adds.
        clip: whether x̂_0 is clamped to [−1, 1] before the mean is formed.
        generator: where z comes from. Draw once, with the shape and dtype of `x_t`; at t = 0 draw nothing.

    Returns:
        x_prev: shape and dtype of `x_t`. The inputs are not changed.
    """
    raise NotImplementedError
