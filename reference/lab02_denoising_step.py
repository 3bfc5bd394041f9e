"""Lab 02, the denoising step: what turns a model's prediction into a slightly cleaner sample.

Symbols are those of Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020); other papers are named
where they are used. Each function stands by itself.
"""

import math
from collections.abc import Callable

import torch


def checkpoint_misread_v() -> dict[str, float]:
    """Return the estimate of x_0 for ᾱ_t = 0.36, x_t = 0.2 and the answer −1.1 of a v model, by what it is read as."""
    signal, sigma = math.sqrt(0.36), math.sqrt(1 - 0.36)
    x_t, answer = 0.2, -1.1
    return {
        "epsilon": (x_t - sigma * answer) / signal,
        "sample": answer,
        "v_prediction": signal * x_t - sigma * answer,
    }


def checkpoint_last_step() -> tuple[float, float, float]:
    """Return the mean's factors of x_0 and x_t, and the variance, for a step from ᾱ_t = 0.75 to the clean end.

    Ho et al. 2020, eq. 7, with ᾱ_prev = 1: the mean is x_0, and nothing is left to chance.
    """
    return 1.0, 0.0, 0.0


def checkpoint_draws() -> dict[str, int]:
    """Return how often noise is drawn in 50 steps down to the clean end: never at that end, and never by η = 0."""
    return {"ddpm": 49, "ddim": 0}


def checkpoint_who_computes() -> dict[str, str]:
    """Return whose work each quantity of a step is: the model predicts, the scheduler computes."""
    return {
        "noise prediction": "model",
        "estimate of x_0": "scheduler",
        "variance": "scheduler",
        "t_prev": "scheduler",
        "x_prev": "scheduler",
    }


def split_prediction(
    prediction_type: str, model_output: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor, betas: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return the clean sample and the noise that a prediction implies: x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε, solved for both.

    `model_output` and `x_t` are (B, ...), `t` is (B,) int64. v is that of Salimans & Ho 2022, section 4. The factors
    are float32; only the results are rounded to the dtype of `x_t`.
    """
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)
    alpha_bar_t = alpha_bar[t].reshape(-1, *[1] * (x_t.ndim - 1))
    signal, sigma = torch.sqrt(alpha_bar_t), torch.sqrt(1.0 - alpha_bar_t)
    if prediction_type == "epsilon":
        eps = model_output
        x0 = (x_t - sigma * eps) / signal
    elif prediction_type == "sample":
        x0 = model_output
        eps = (x_t - signal * x0) / sigma
    elif prediction_type == "v_prediction":
        x0 = signal * x_t - sigma * model_output
        eps = sigma * x_t + signal * model_output
    else:
        raise ValueError(f"no prediction type is called {prediction_type!r}")
    return {"x0": x0.to(x_t.dtype), "eps": eps.to(x_t.dtype)}


def ddpm_posterior(
    x0: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor, t_prev: torch.Tensor, betas: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return mean (B, ...), variance (B,) and its logarithm (B,) of q(x_prev | x_t, x_0) (Ho et al. 2020, eq. 6 and 7).

    `t` and `t_prev` are (B,) int64. A step may jump over timesteps: α and β are those of the jump t_prev → t. Below
    zero t_prev is the clean end of the chain, ᾱ_prev = 1.
    """
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)
    alpha_bar_t = alpha_bar[t]
    alpha_bar_prev = torch.where(t_prev >= 0, alpha_bar[t_prev.clamp(min=0)], 1.0)
    alpha_t = alpha_bar_t / alpha_bar_prev
    beta_t = 1.0 - alpha_t

    # One factor a sample, shaped (B, 1, ..., 1) so that it meets the batch axis.
    factor_shape = (-1, *[1] * (x_t.ndim - 1))
    factor_x0 = torch.sqrt(alpha_bar_prev) * beta_t / (1.0 - alpha_bar_t)
    factor_x_t = torch.sqrt(alpha_t) * (1.0 - alpha_bar_prev) / (1.0 - alpha_bar_t)
    mean = factor_x0.reshape(factor_shape) * x0 + factor_x_t.reshape(factor_shape) * x_t

    variance = (1.0 - alpha_bar_prev) / (1.0 - alpha_bar_t) * beta_t
    # At the clean end the variance is 0, and its logarithm would be −∞.
    log_variance = torch.log(variance.clamp(min=1e-20))
    return {"mean": mean.to(x_t.dtype), "variance": variance, "log_variance": log_variance}


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
    those of the jump t_prev → t. Below zero t_prev is the clean end of the chain, ᾱ_prev = 1, whatever t is.
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
    if t_prev < 0:
        return mean

    # 3. Noise with the posterior's variance (eq. 7, "fixed small").
    variance = (1.0 - alpha_bar_prev) / (1.0 - alpha_bar_t) * beta_t
    noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
    return mean + torch.sqrt(variance) * noise


def ddim_step(
    model_output: torch.Tensor,
    t: int,
    t_prev: int,
    x_t: torch.Tensor,
    alphas_cumprod: torch.Tensor,
    eta: float,
    final_alpha_cumprod: float,
    clip: bool,
    generator: torch.Generator,
) -> dict[str, torch.Tensor]:
    """Return x_prev and the estimate of x_0 of one DDIM step (Song et al. 2021, eq. 12 and 16, whose α is our ᾱ).

    `model_output` is the predicted noise ε_θ, (B, ...) like `x_t`. Below zero t_prev is the end of the chain, whose ᾱ
    is `final_alpha_cumprod`. η scales the noise: 0 is deterministic, 1 has the variance of DDPM.
    """
    alpha_bar_t = alphas_cumprod[t]
    alpha_bar_prev = alphas_cumprod[t_prev] if t_prev >= 0 else alphas_cumprod.new_tensor(final_alpha_cumprod)

    # 1. The clean sample that the predicted noise implies. Clamping it leaves the predicted noise as it is.
    x0 = (x_t - torch.sqrt(1.0 - alpha_bar_t) * model_output) / torch.sqrt(alpha_bar_t)
    if clip:
        x0 = x0.clamp(-1.0, 1.0)

    # 2. How much of the new noise level is drawn afresh (eq. 16).
    variance = (1.0 - alpha_bar_prev) / (1.0 - alpha_bar_t) * (1.0 - alpha_bar_t / alpha_bar_prev)
    sigma = eta * torch.sqrt(variance)

    # 3. The clean sample at the new level; the predicted noise leaves room for the fresh one (eq. 12).
    direction = torch.sqrt(1.0 - alpha_bar_prev - sigma**2) * model_output
    x_prev = torch.sqrt(alpha_bar_prev) * x0 + direction
    if eta > 0:
        noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
        x_prev = x_prev + sigma * noise
    return {"prev": x_prev, "x0": x0}


def dynamic_threshold(x0: torch.Tensor, ratio: float, max_value: float) -> torch.Tensor:
    """Return x_0 brought into [−1, 1] by each sample's own threshold (Saharia et al. 2022, section 2.3).

    The threshold s is the `ratio`-quantile of the sample's absolute values, not below 1 and not above `max_value`. The
    sample is clamped to [−s, s] and divided by s. `x0` is (B, ...); float32 inside, the result in the dtype of `x0`.
    """
    x = x0.float()
    s = torch.quantile(x.abs().flatten(1), ratio, dim=1).clamp(1.0, max_value)
    s = s.reshape(-1, *[1] * (x.ndim - 1))
    return (x.clamp(-s, s) / s).to(x0.dtype)


def ddim_sample(
    model: Callable[[torch.Tensor, int], torch.Tensor],
    x_T: torch.Tensor,
    timesteps: list[int],
    alphas_cumprod: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """Return all samples (N + 1, ...) and all estimates of x_0 (N, ...) of a deterministic DDIM run (η = 0).

    `timesteps` descend; each step goes to the next of them, the last to the clean end, ᾱ = 1 (Song et al. 2021, eq. 12
    and section 4.2). `model(x_t, t)` returns the predicted noise.
    """
    # One level a step, and the clean end behind the last.
    alpha_bar = torch.cat([alphas_cumprod[timesteps], alphas_cumprod.new_ones(1)])
    x, estimates = [x_T], []
    for i, t in enumerate(timesteps):
        alpha_bar_t, alpha_bar_prev = alpha_bar[i], alpha_bar[i + 1]
        eps = model(x[i], t)
        x0 = (x[i] - torch.sqrt(1.0 - alpha_bar_t) * eps) / torch.sqrt(alpha_bar_t)
        x.append(torch.sqrt(alpha_bar_prev) * x0 + torch.sqrt(1.0 - alpha_bar_prev) * eps)
        estimates.append(x0)
    return {"x": torch.stack(x), "x0": torch.stack(estimates)}
