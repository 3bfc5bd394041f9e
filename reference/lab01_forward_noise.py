"""Lab 01, the forward noise process: how a clean sample becomes a noisy training example.

Symbols are those of Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020); other papers are named
where they are used. Each function stands by itself.
"""

import math
from collections.abc import Callable

import torch


def checkpoint_factors() -> tuple[float, float]:
    """Return the factors of x_0 and of the noise at t = 1 for betas = [0.5, 0.28] (Ho et al. 2020, eq. 4)."""
    alpha_bar = (1 - 0.5) * (1 - 0.28)
    return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)


def checkpoint_factor_shape() -> tuple[int, ...]:
    """Return the smallest shape that gives each of 16 latents (4, 64, 64) a factor of its own."""
    return (16, 1, 1, 1)


def checkpoint_calls() -> dict[str, int]:
    """Return how often the closed form x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε is evaluated in training and at inference.

    One optimizer step noises its whole batch in one call, whatever the timesteps are. A picture that is made from noise
    alone has no x_0 to start from.
    """
    return {"training": 1, "inference": 0}


def checkpoint_denoiser_inputs() -> dict[str, tuple[str, ...]]:
    """Return what the denoiser is given: the same two things in training and at inference, and never the answer."""
    return {"training": ("x_t", "t"), "inference": ("x_t", "t")}


def make_betas(kind: str, num_train_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> torch.Tensor:
    """Return the variance that each single step adds, β_0 to β_(T−1), as (T,) float32.

    "linear": Ho et al. 2020, section 4. "scaled_linear": linear in √β, the schedule of latent diffusion (Rombach et al.
    2022). "squaredcos_cap_v2": the cosine schedule of Nichol & Dhariwal 2021, eq. 17.
    """
    T = num_train_timesteps
    if kind == "linear":
        return torch.linspace(beta_start, beta_end, T)
    if kind == "scaled_linear":
        return torch.linspace(math.sqrt(beta_start), math.sqrt(beta_end), T) ** 2
    if kind == "squaredcos_cap_v2":
        s = 0.008
        u = torch.arange(T + 1, dtype=torch.float64) / T
        # Up to a constant, which the ratio of neighbours cancels.
        alpha_bar = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
        betas = 1 - alpha_bar[1:] / alpha_bar[:-1]
        return betas.clamp(max=0.999).float()
    raise ValueError(f"no schedule is called {kind!r}")


def noise_levels(betas: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return ᾱ and what follows from it at every timestep, each (T,).

    ᾱ_t = Π_(s≤t) (1−β_s) and the factors √ᾱ_t, √(1−ᾱ_t) are those of Ho et al. 2020, eq. 4. The signal-to-noise ratio
    ᾱ_t / (1−ᾱ_t) and its logarithm are those of Kingma et al. 2021, eq. 2.
    """
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)
    signal = torch.sqrt(alpha_bar)
    noise = torch.sqrt(1.0 - alpha_bar)
    snr = alpha_bar / (1.0 - alpha_bar)
    return {"alphas_cumprod": alpha_bar, "signal": signal, "noise": noise, "snr": snr, "log_snr": torch.log(snr)}


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


def training_target(
    prediction_type: str, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, betas: torch.Tensor
) -> torch.Tensor:
    """Return what the denoiser is asked for: ε, x_0, or v = √ᾱ_t·ε − √(1−ᾱ_t)·x_0 (Salimans & Ho 2022, section 4)."""
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return x0
    if prediction_type == "v_prediction":
        alpha_bar = torch.cumprod(1.0 - betas, dim=0)
        alpha_bar_t = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
        v = torch.sqrt(alpha_bar_t) * noise - torch.sqrt(1.0 - alpha_bar_t) * x0
        return v.to(x0.dtype)
    raise ValueError(f"no prediction type is called {prediction_type!r}")


def zero_terminal_snr(betas: torch.Tensor) -> torch.Tensor:
    """Return betas whose last ᾱ is exactly 0 and whose first is kept (Lin et al. 2024, algorithm 1)."""
    alpha_bar = torch.cumprod(1.0 - betas, dim=0)
    root = torch.sqrt(alpha_bar)
    first, last = root[0], root[-1]
    # 1. Shift, so that the last value is 0. 2. Scale, so that the first is what it was.
    root = (root - last) * (first / (first - last))
    # 3. Back from √ᾱ to ᾱ, from the running product to its factors, and to betas.
    alpha_bar = root**2
    alphas = torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
    return 1.0 - alphas


def flow_matching_pair(
    x0: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor, num_train_timesteps: int = 1000
) -> dict[str, torch.Tensor]:
    """Return the training example of a flow model on the straight path from data to noise (Esser et al. 2024, eq. 13).

    x_t = (1−σ)·x_0 + σ·ε, its velocity dx_t/dσ = ε − x_0, and the timestep that the network is told. `sigma` is (B,).
    """
    s = sigma.reshape(-1, *[1] * (x0.ndim - 1))
    x_t = (1.0 - s) * x0 + s * noise
    target = noise - x0
    return {"x_t": x_t.to(x0.dtype), "target": target, "timestep": sigma * num_train_timesteps}


def min_snr_weights(t: torch.Tensor, betas: torch.Tensor, gamma: float, prediction_type: str) -> torch.Tensor:
    """Return the weight of each sample's loss, (B,): min(SNR_t, γ) for an x_0 loss (Hang et al. 2023, section 3.4).

    A squared error in x_0 is the one in ε divided by SNR_t, or the one in v divided by SNR_t + 1, and so is its weight.
    """
    alpha_bar_t = torch.cumprod(1.0 - betas, dim=0)[t]
    snr = alpha_bar_t / (1.0 - alpha_bar_t)
    capped = torch.clamp(snr, max=gamma)
    if prediction_type == "sample":
        return capped
    if prediction_type == "epsilon":
        return capped / snr
    if prediction_type == "v_prediction":
        return capped / (snr + 1.0)
    raise ValueError(f"no prediction type is called {prediction_type!r}")


def training_loss(
    model: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x0: torch.Tensor,
    noise: torch.Tensor,
    t: torch.Tensor,
    betas: torch.Tensor,
    prediction_type: str,
    min_snr_gamma: float | None = None,
) -> torch.Tensor:
    """Return the loss of one training step (Ho et al. 2020, algorithm 1 and eq. 14), for any of the three targets.

    With `min_snr_gamma` each sample's mean squared error is weighted as in Hang et al. 2023 before the batch's mean.
    """
    alpha_bar_t = torch.cumprod(1.0 - betas, dim=0)[t]
    level = alpha_bar_t.reshape(-1, *[1] * (x0.ndim - 1))
    signal, sigma = torch.sqrt(level), torch.sqrt(1.0 - level)
    # 1. The noisy sample, and what the model makes of it.
    x_t = signal * x0 + sigma * noise
    prediction = model(x_t, t)
    # 2. The target that the model is trained for.
    if prediction_type == "epsilon":
        target = noise
    elif prediction_type == "sample":
        target = x0
    elif prediction_type == "v_prediction":
        target = signal * noise - sigma * x0
    else:
        raise ValueError(f"no prediction type is called {prediction_type!r}")
    # 3. One loss a sample, so that each can have its weight; then their mean.
    losses = ((prediction - target) ** 2).flatten(1).mean(dim=1)
    if min_snr_gamma is not None:
        snr = alpha_bar_t / (1.0 - alpha_bar_t)
        capped = torch.clamp(snr, max=min_snr_gamma)
        divisor = {"epsilon": snr, "sample": 1.0, "v_prediction": snr + 1.0}[prediction_type]
        losses = losses * capped / divisor
    return losses.mean()
