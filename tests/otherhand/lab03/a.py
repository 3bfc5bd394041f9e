"""Lab 03, filled in by hand A."""

import math
from collections.abc import Callable
from typing import Any

import torch


def checkpoint_calls() -> dict[str, int]:
    return {"euler": 20, "heun": 39, "plms": 21, "dpmpp_2m": 20}


def checkpoint_first_timestep() -> dict[str, int]:
    return {"linspace": 999, "leading": 951, "trailing": 999}


def checkpoint_arguments() -> dict[str, tuple[str, ...]]:
    return {"denoiser": ("latent_model_input", "t"), "step": ("noise_pred", "t", "latents")}


def checkpoint_swap() -> dict[str, str]:
    free = {"timesteps", "update_rule"}
    keys = ("weights", "betas", "prediction_type", "timesteps", "update_rule")
    return {k: "may change" if k in free else "stays" for k in keys}


def spaced_timesteps(
    num_train_timesteps: int, n: int, spacing: str, steps_offset: int = 0, family: str = "ddim"
) -> torch.Tensor:
    T = num_train_timesteps
    if spacing not in ("linspace", "leading", "trailing"):
        raise ValueError(f"unknown spacing {spacing!r}")
    if family not in ("ddim", "dpm"):
        raise ValueError(f"unknown family {family!r}")
    if not 1 <= n <= T:
        raise ValueError(f"n must be 1 to {T}, got {n}")
    if spacing == "trailing":
        i = torch.arange(n, 0, -1, dtype=torch.int64)
        return (2 * i * T + n) // (2 * n) - 1  # round(i·T/n) - 1
    drop = int(family == "dpm")
    m = n + drop
    i = torch.arange(m - 1, drop - 1, -1, dtype=torch.int64)
    if spacing == "leading":
        return i * (T // m) + steps_offset
    gaps = max(m - 1, 1)
    return (2 * i * (T - 1) + gaps) // (2 * gaps)


def swap_config(
    source: dict[str, Any], source_defaulted: list[str], target_defaults: dict[str, Any], overrides: dict[str, Any]
) -> dict[str, Any]:
    given = {k: v for k, v in source.items() if k not in source_defaulted} | overrides
    return {k: given.get(k, default) for k, default in target_defaults.items()}


def sigma_schedule(
    betas: torch.Tensor, timesteps: torch.Tensor, kind: str, rho: float = 7.0, spacing: str = "linspace"
) -> dict[str, torch.Tensor]:
    if kind not in ("interpolated", "karras", "exponential"):
        raise ValueError(f"unknown kind {kind!r}")
    if spacing not in ("linspace", "leading", "trailing"):
        raise ValueError(f"unknown spacing {spacing!r}")
    abar = (1 - betas.double()).cumprod(0)
    table = ((1 - abar) / abar).sqrt()
    t = timesteps.double()
    lo = t.floor().long()
    hi = (lo + 1).clamp(max=len(table) - 1)
    levels = torch.lerp(table[lo], table[hi], t - lo)
    ramp = torch.linspace(0, 1, len(levels), dtype=torch.float64)
    first, last = levels[0], levels[-1]
    if kind == "karras":
        levels = torch.lerp(first ** (1 / rho), last ** (1 / rho), ramp) ** rho
    elif kind == "exponential":
        levels = torch.lerp(first.log(), last.log(), ramp).exp()
    init = (levels[0] ** 2 + 1).sqrt() if spacing == "leading" else levels[0]
    return {
        "sigmas": torch.cat([levels, levels.new_zeros(1)]).float(),
        "init_noise_sigma": init.float(),
        "input_scale": (levels**2 + 1).rsqrt().float(),
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
    out, xf = model_output.float(), x.float()
    if prediction_type == "epsilon":
        x0 = xf - sigma * out
    elif prediction_type == "v_prediction":
        x0 = xf / (sigma**2 + 1) - sigma / math.sqrt(sigma**2 + 1) * out
    elif prediction_type == "sample":
        x0 = out.clone()
    else:
        raise ValueError(f"unknown prediction_type {prediction_type!r}")
    up = sigma_next / sigma * math.sqrt(sigma**2 - sigma_next**2) if ancestral else 0.0
    down = math.sqrt(max(sigma_next**2 - up**2, 0.0))
    prev = xf + (xf - x0) / sigma * (down - sigma)
    if ancestral:
        prev = prev + up * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device).float()
    return {"prev": prev.to(x.dtype), "x0": x0.to(x.dtype)}


class DPMpp2M:
    def __init__(self, sigmas: torch.Tensor) -> None:
        self.sigmas = sigmas.double().tolist()
        self.i = 0
        self.before: torch.Tensor | None = None

    def step(self, model_output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        i, s = self.i, self.sigmas
        now, nxt = s[i], s[i + 1]
        a_now, a_next = (now * now + 1) ** -0.5, (nxt * nxt + 1) ** -0.5
        xf = x.float()
        x0 = (xf - now * a_now * model_output.float()) / a_now
        d = x0
        if self.before is not None and nxt > 0:
            r = math.log(s[i - 1] / now) / math.log(now / nxt)
            d = x0 + (x0 - self.before) / (2 * r)
        self.before, self.i = x0, i + 1
        # e^{-h} is nxt / now
        return ((nxt * a_next) / (now * a_now) * xf - a_next * (nxt / now - 1) * d).to(x.dtype)


def flow_sigmas(
    base: torch.Tensor,
    shift: float | None = None,
    mu: float | None = None,
    shift_terminal: float | None = None,
    num_train_timesteps: int = 1000,
    timesteps: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    if shift is not None and mu is not None:
        raise ValueError("shift and mu exclude each other")
    if timesteps is not None and timesteps.shape != base.shape:
        raise ValueError("as many timesteps as levels")
    s = base.double()
    k = shift if shift is not None else math.exp(mu) if mu is not None else 1.0
    s = k * s / (1 + (k - 1) * s)
    if shift_terminal is not None:
        s = 1 - (1 - s) * (1 - shift_terminal) / (1 - s[-1])
    told = s * num_train_timesteps if timesteps is None else timesteps.clone()
    return {"sigmas": torch.cat([s, s.new_zeros(1)]).float(), "timesteps": told.float()}


def img2img_window(
    timesteps: torch.Tensor, num_inference_steps: int, strength: float, order: int = 1
) -> dict[str, Any]:
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be 0 to 1, got {strength}")
    steps = int(num_inference_steps * strength)
    begin = (num_inference_steps - steps) * order
    return {"timesteps": timesteps[begin:].clone(), "begin_index": begin, "steps": steps}


def lcm_step(
    model_output: torch.Tensor,
    t: int,
    t_prev: int,
    x_t: torch.Tensor,
    alphas_cumprod: torch.Tensor,
    last: bool,
    generator: torch.Generator | None = None,
) -> dict[str, torch.Tensor]:
    x, abar = x_t.float(), alphas_cumprod[t]
    x0 = (x - (1 - abar).sqrt() * model_output.float()) / abar.sqrt()
    tau, var = 10 * int(t), 0.25
    denoised = var / (tau**2 + var) * x + tau / math.sqrt(tau**2 + var) * x0
    prev = denoised.clone()
    if not last:
        noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
        a = alphas_cumprod[t_prev]
        prev = a.sqrt() * denoised + (1 - a).sqrt() * noise.float()
    return {"prev": prev.to(x_t.dtype), "denoised": denoised.to(x_t.dtype)}


def flow_euler_sample(
    model: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    sigmas: torch.Tensor,
    timesteps: torch.Tensor,
    stochastic: bool = False,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    for t, s, s_next in zip(timesteps, sigmas[:-1], sigmas[1:], strict=True):
        v = model(x, t)
        if stochastic:
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float32, device=x.device)
            x = (1 - s_next) * (x - s * v) + s_next * noise
        else:
            x = x + (s_next - s) * v
    return x


def heun_sample(
    model: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    sigmas: torch.Tensor,
    timesteps: torch.Tensor,
    prediction_type: str = "epsilon",
) -> torch.Tensor:
    if prediction_type not in ("epsilon", "v_prediction"):
        raise ValueError(f"unknown prediction_type {prediction_type!r}")

    def slope(x: torch.Tensor, i: int) -> torch.Tensor:
        s = sigmas[i]
        scale = (s**2 + 1).rsqrt()
        out = model(x * scale, timesteps[i])
        return out if prediction_type == "epsilon" else s * scale**2 * x + scale * out

    n = len(timesteps)
    for i in range(n):
        h = sigmas[i + 1] - sigmas[i]
        d = slope(x, i)
        if i + 1 < n:
            d = (d + slope(x + h * d, i + 1)) / 2
        x = x + h * d
    return x
