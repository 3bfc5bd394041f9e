"""Lab 03, scheduler reading: inference's time axis, its noise levels, and the rules that walk down them.

Symbols are those of Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (2022), where a
sample is x = x0 + σ·ε; other papers are named where they are used. Each function stands by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch


def checkpoint_calls() -> dict[str, int]:
    """Return how often the network runs in 20 steps of four samplers, guidance off.

    Heun looks twice at every step but the last, which ends at σ = 0. PLMS walks its second timestep twice. A multistep
    solver remembers instead of asking again.
    """
    return {"euler": 20, "heun": 39, "plms": 21, "dpmpp_2m": 20}


def checkpoint_first_timestep() -> dict[str, int]:
    """Return the first timestep of 20 DDIM steps over T = 1000 for each spacing, steps_offset = 1."""
    return {"linspace": 999, "leading": 951, "trailing": 999}


def checkpoint_arguments() -> dict[str, tuple[str, ...]]:
    """Return what the denoiser and `step` are given: only the network sees the scaled sample."""
    return {"denoiser": ("latent_model_input", "t"), "step": ("noise_pred", "t", "latents")}


def checkpoint_swap() -> dict[str, str]:
    """Return what a trained model fixes and what a scheduler is free to choose."""
    return {
        "weights": "stays",
        "betas": "stays",
        "prediction_type": "stays",
        "timesteps": "may change",
        "update_rule": "may change",
    }


def spaced_timesteps(
    num_train_timesteps: int, n: int, spacing: str, steps_offset: int = 0, family: str = "ddim"
) -> torch.Tensor:
    """Return the n timesteps that inference visits, (n,) int64, falling (Lin et al. 2024, table 2).

    The DPM-Solver family counts n + 1 points in "linspace" and "leading" and leaves the lowest out.
    """
    T = num_train_timesteps
    if family not in ("ddim", "dpm"):
        raise ValueError(f"no family is called {family!r}")
    if not 1 <= n <= T:
        raise ValueError(f"{n} steps do not fit {T} timesteps")
    points = n if family == "ddim" else n + 1
    if spacing == "linspace":
        return torch.linspace(0, T - 1, points).round().long().flip(0)[:n]
    if spacing == "leading":
        return torch.arange(points).flip(0)[:n] * (T // points) + steps_offset
    if spacing == "trailing":
        return (torch.arange(n, 0, -1) * T / n).round().long() - 1
    raise ValueError(f"no spacing is called {spacing!r}")


def swap_config(
    source: dict[str, Any], source_defaulted: list[str], target_defaults: dict[str, Any], overrides: dict[str, Any]
) -> dict[str, Any]:
    """Return what `Target.from_config(source, **overrides)` is configured with: the target's keys, no others."""
    config = {}
    for key, default in target_defaults.items():
        if key in overrides:
            config[key] = overrides[key]
        elif key in source and key not in source_defaulted:
            config[key] = source[key]
        else:
            config[key] = default
    return config


def sigma_schedule(
    betas: torch.Tensor, timesteps: torch.Tensor, kind: str, rho: float = 7.0, spacing: str = "linspace"
) -> dict[str, torch.Tensor]:
    """Return the noise levels σ of the given timesteps, and the two scalings that go with them.

    "karras" is Karras et al. 2022, eq. 5; "exponential" is even in log σ. Both run between the first and the last
    interpolated level.
    """
    # 1. The level of every training timestep, and of those between two by interpolation.
    alpha_bar = torch.cumprod(1.0 - betas.double(), dim=0)
    table = torch.sqrt((1.0 - alpha_bar) / alpha_bar)
    low = timesteps.long()
    high = (low + 1).clamp(max=len(table) - 1)
    sigmas = torch.lerp(table[low], table[high], timesteps.double() - low)
    # 2. Other levels between the same two ends.
    ramp = torch.linspace(0, 1, len(sigmas), dtype=torch.float64)
    sigma_max, sigma_min = sigmas[0], sigmas[-1]
    if kind == "karras":
        sigmas = torch.lerp(sigma_max ** (1 / rho), sigma_min ** (1 / rho), ramp) ** rho
    elif kind == "exponential":
        sigmas = torch.exp(torch.lerp(sigma_max.log(), sigma_min.log(), ramp))
    elif kind != "interpolated":
        raise ValueError(f"no kind of levels is called {kind!r}")
    # 3. The size of pure noise at the first level, and what brings a sample to size 1 for the network.
    if spacing in ("linspace", "trailing"):
        init_noise_sigma = sigma_max
    elif spacing == "leading":
        init_noise_sigma = torch.sqrt(sigma_max**2 + 1)
    else:
        raise ValueError(f"no spacing is called {spacing!r}")
    return {
        "sigmas": torch.cat([sigmas, sigmas.new_zeros(1)]).float(),
        "init_noise_sigma": init_noise_sigma.float(),
        "input_scale": torch.rsqrt(sigmas**2 + 1).float(),
    }


def euler_step(
    model_output: torch.Tensor,
    x: torch.Tensor,
    sigma: float,
    sigma_next: float,
    prediction_type: str = "epsilon",
    ancestral: bool = False,
    generator: torch.Generator | None = None,
) -> dict[str, torch.Tensor]:
    """Walk one Euler step along dx/dσ = (x − x0)/σ (Karras et al. 2022, eq. 1, 3), or an ancestral one.

    The ancestral step aims at σ_down and adds fresh noise of size σ_up, so that σ_down² + σ_up² = σ_next²; σ_up is the
    spread of the posterior (Song et al. 2021, DDPM's choice written in σ).
    """
    sample, output = x.float(), model_output.float()
    # 1. The prediction of the clean sample.
    if prediction_type == "epsilon":
        x0 = sample - sigma * output
    elif prediction_type == "v_prediction":
        x0 = sample / (sigma**2 + 1) - output * sigma / math.sqrt(sigma**2 + 1)
    elif prediction_type == "sample":
        x0 = output
    else:
        raise ValueError(f"no prediction type is called {prediction_type!r}")
    # 2. Where the deterministic part aims, and how much noise is added on top.
    sigma_up = sigma_next / sigma * math.sqrt(sigma**2 - sigma_next**2) if ancestral else 0.0
    sigma_down = math.sqrt(sigma_next**2 - sigma_up**2)
    # 3. The step.
    slope = (sample - x0) / sigma
    prev = sample + slope * (sigma_down - sigma)
    if ancestral:
        prev = prev + sigma_up * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return {"prev": prev.to(x.dtype), "x0": x0.to(x.dtype)}


class DPMpp2M:
    """DPM-Solver++(2M) for a model that predicts noise; Lu et al. 2022 (arXiv 2211.01095), Algorithm 2.

    `sigmas` (N+1,) are the ratios σ_t/α_t of the noise levels, falling, the last one 0. A sample is x = α_t·x0 + σ_t·ε
    with α_t² + σ_t² = 1.
    """

    def __init__(self, sigmas: torch.Tensor) -> None:
        """Begin one trajectory: step 0, and no prediction remembered."""
        sigmas = sigmas.double()  # small differences of λ want the digits
        self.alpha_t = (1 + sigmas**2).rsqrt()
        self.sigma_t = sigmas * self.alpha_t
        self.lambda_t = -sigmas.log()  # λ = log(α_t/σ_t), half the log-SNR; +∞ at the end
        self.i = 0
        self.x0_before: torch.Tensor | None = None

    def step(self, model_output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the sample at the next noise level, in the dtype of `x`."""
        i, alpha_t, sigma_t, lambda_t = self.i, self.alpha_t, self.sigma_t, self.lambda_t

        # 1. The predicted noise, read as a prediction of x0.
        x0 = (x.float() - sigma_t[i] * model_output.float()) / alpha_t[i]

        # 2. The data prediction for the whole step. First order on the first step, which has no predecessor,
        #    and on the last, where h is infinite.
        h = lambda_t[i + 1] - lambda_t[i]
        if self.x0_before is None or h.isinf():
            D = x0
        else:
            r = (lambda_t[i] - lambda_t[i - 1]) / h
            D = x0 + (x0 - self.x0_before) / (2 * r)

        # 3. The exact solution of the diffusion ODE for a constant data prediction D.
        x_next = sigma_t[i + 1] / sigma_t[i] * x.float() - alpha_t[i + 1] * (-h).expm1() * D

        self.x0_before, self.i = x0, i + 1
        return x_next.to(x.dtype)


def flow_sigmas(
    base: torch.Tensor,
    shift: float | None = None,
    mu: float | None = None,
    shift_terminal: float | None = None,
    num_train_timesteps: int = 1000,
    timesteps: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Return the levels of a flow model and the timesteps that the network is told (Esser et al. 2024, section 5.3.2).

    `base` (N,) are the levels before shifting. The shift is k·σ/(1 + (k−1)·σ), with k = exp(mu) where a mu is given.
    """
    if shift is not None and mu is not None:
        raise ValueError("give a shift or a mu, not both")
    if timesteps is not None and len(timesteps) != len(base):
        raise ValueError(f"{len(timesteps)} timesteps do not fit {len(base)} levels")
    # 1. The shift.
    k = math.exp(mu) if mu is not None else 1.0 if shift is None else shift
    sigmas = k * base / (1 + (k - 1) * base)
    # 2. The stretch: 1 − σ is scaled, so σ = 1 stays and the last level lands on shift_terminal.
    if shift_terminal is not None:
        sigmas = 1 - (1 - sigmas) * (1 - shift_terminal) / (1 - sigmas[-1])
    # 3. What the network is told belongs to the levels that come out; timesteps that are given are told as they are.
    if timesteps is None:
        timesteps = sigmas * num_train_timesteps
    return {"sigmas": torch.cat([sigmas, sigmas.new_zeros(1)]), "timesteps": timesteps.float()}


def img2img_window(
    timesteps: torch.Tensor, num_inference_steps: int, strength: float, order: int = 1
) -> dict[str, Any]:
    """Return the part of a list of timesteps that image to image walks: its last int(n·strength) steps.

    `order` is the number of entries a step has in the list; a window begins with a step's first entry.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength lies in 0 to 1, found {strength}")
    steps = int(num_inference_steps * strength)
    begin_index = (num_inference_steps - steps) * order
    return {"timesteps": timesteps[begin_index:], "begin_index": begin_index, "steps": steps}


def lcm_step(
    model_output: torch.Tensor,
    t: int,
    t_prev: int,
    x_t: torch.Tensor,
    alphas_cumprod: torch.Tensor,
    last: bool,
    generator: torch.Generator | None = None,
) -> dict[str, torch.Tensor]:
    """Walk one step of multistep consistency sampling (Luo et al. 2023, "Latent Consistency Models", algorithm 3).

    The consistency function is c_skip·x_t + c_out·x̂0, the identity at t = 0 (Song et al. 2023, eq. 5), with σ_data =
    0.5 and time counted in units of a tenth.
    """
    sample, eps = x_t.float(), model_output.float()
    # 1. The predicted clean sample.
    alpha_bar = alphas_cumprod[t]
    x0 = (sample - torch.sqrt(1 - alpha_bar) * eps) / torch.sqrt(alpha_bar)
    # 2. The boundary condition.
    scaled_t, sigma_data = 10 * t, 0.5
    c_skip = sigma_data**2 / (scaled_t**2 + sigma_data**2)
    c_out = scaled_t / math.sqrt(scaled_t**2 + sigma_data**2)
    denoised = c_skip * sample + c_out * x0
    # 3. Back into the noise, to the next level, with noise of its own.
    prev = denoised
    if not last:
        noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
        alpha_bar_prev = alphas_cumprod[t_prev]
        prev = torch.sqrt(alpha_bar_prev) * denoised + torch.sqrt(1 - alpha_bar_prev) * noise
    return {"prev": prev.to(x_t.dtype), "denoised": denoised.to(x_t.dtype)}


def flow_euler_sample(
    model: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    sigmas: torch.Tensor,
    timesteps: torch.Tensor,
    stochastic: bool = False,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Walk a flow down its levels by Euler's rule, for a model that predicts dx/dσ = ε − x0 (Esser et al. 2024, eq. 1).

    The stochastic walk predicts x0 at every level and noises it anew to the next one.
    """
    for i, t in enumerate(timesteps):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        velocity = model(x, t)
        if stochastic:
            x0 = x - sigma * velocity
            noise = torch.randn(x.shape, generator=generator)
            x = (1 - sigma_next) * x0 + sigma_next * noise
        else:
            x = x + (sigma_next - sigma) * velocity
    return x


def heun_sample(
    model: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    sigmas: torch.Tensor,
    timesteps: torch.Tensor,
    prediction_type: str = "epsilon",
) -> torch.Tensor:
    """Walk down the levels by Heun's rule (Karras et al. 2022, algorithm 1 without churn), for a sample x0 + σ·ε."""

    def slope(x: torch.Tensor, i: int) -> torch.Tensor:
        sigma = sigmas[i]
        output = model(x / torch.sqrt(sigma**2 + 1), timesteps[i])
        if prediction_type == "epsilon":
            return output
        if prediction_type == "v_prediction":
            x0 = x / (sigma**2 + 1) - sigma / torch.sqrt(sigma**2 + 1) * output
            return (x - x0) / sigma
        raise ValueError(f"no prediction type is called {prediction_type!r}")

    for i in range(len(timesteps)):
        step = sigmas[i + 1] - sigmas[i]
        here = slope(x, i)
        ahead = x + step * here
        if sigmas[i + 1] > 0:  # at σ = 0 there is nothing to look at
            there = slope(ahead, i + 1)
            ahead = x + step * (here + there) / 2
        x = ahead
    return x
