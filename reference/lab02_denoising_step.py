"""Lab 02, the denoising step: what turns a model's prediction into a slightly cleaner sample.

Symbols are those of Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020).
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
    """Draw x_prev from q(x_prev | x_t, x_0), x_0 being the model's estimate (Ho et al. 2020, eq. 6, 7 and 15).

    `model_output` is the predicted noise ε_θ, (B, ...) like `x_t`. The step may jump over timesteps: α and β are
    those of the jump t_prev → t. Below zero t_prev is the clean end of the chain, ᾱ_prev = 1.
    """
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)
    alpha_bar_t = alpha_bar[t]
    alpha_bar_prev = alpha_bar[t_prev] if t_prev >= 0 else torch.ones_like(alpha_bar_t)
    alpha_t = alpha_bar_t / alpha_bar_prev
    beta_t = 1.0 - alpha_t

    # 1. The clean sample that the predicted noise implies (eq. 15).
    x0 = (x_t - torch.sqrt(1.0 - alpha_bar_t) * model_output) / torch.sqrt(alpha_bar_t)
    if clip:
        x0 = x0.clamp(-1.0, 1.0)

    # 2. The posterior's mean (eq. 7).
    factor_x0 = torch.sqrt(alpha_bar_prev) * beta_t / (1.0 - alpha_bar_t)
    factor_x_t = torch.sqrt(alpha_t) * (1.0 - alpha_bar_prev) / (1.0 - alpha_bar_t)
    mean = factor_x0 * x0 + factor_x_t * x_t
    if t == 0:
        return mean

    # 3. Noise with the posterior's variance (eq. 7, "fixed small").
    variance = (1.0 - alpha_bar_prev) / (1.0 - alpha_bar_t) * beta_t
    noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
    return mean + torch.sqrt(variance) * noise
