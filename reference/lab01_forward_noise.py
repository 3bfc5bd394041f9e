"""Lab 01, the forward noise process: how a clean sample becomes a noisy training example.

Symbols are those of Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020).
"""

import torch


def add_noise(x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
    """Draw x_t from q(x_t | x_0) in one jump (Ho et al. 2020, eq. 4): x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε.

    `x0` and `noise` are (B, ...), `t` is (B,) int64, `betas` is (T,) float32. The factors are float32, so that
    1 − ᾱ_t survives for the first timesteps; only the result is rounded to the dtype of `x0`.
    """
    alphas = 1.0 - betas
    alpha_bar = torch.cumprod(alphas, dim=0)
    # One ᾱ_t a sample, shaped (B, 1, ..., 1) so that it meets the batch axis.
    alpha_bar_t = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    x_t = torch.sqrt(alpha_bar_t) * x0 + torch.sqrt(1.0 - alpha_bar_t) * noise
    return x_t.to(x0.dtype)
