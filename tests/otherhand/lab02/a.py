from collections.abc import Callable

import torch


def checkpoint_misread_v() -> dict[str, float]:
    return {"epsilon": 1.8, "sample": -1.1, "v_prediction": 1.0}


def checkpoint_last_step() -> tuple[float, float, float]:
    return 1.0, 0.0, 0.0


def checkpoint_draws() -> dict[str, int]:
    return {"ddpm": 49, "ddim": 0}


def checkpoint_who_computes() -> dict[str, str]:
    return {"noise prediction": "model"} | dict.fromkeys(("estimate of x_0", "variance", "t_prev", "x_prev"), "scheduler")


def split_prediction(
    prediction_type: str, model_output: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor, betas: torch.Tensor
) -> dict[str, torch.Tensor]:
    ab = (1 - betas).cumprod(0)[t].view(-1, *[1] * (x_t.ndim - 1))
    a, s = ab.sqrt(), (1 - ab).sqrt()
    out, x = model_output.float(), x_t.float()
    match prediction_type:
        case "epsilon":
            x0, eps = (x - s * out) / a, out
        case "sample":
            x0, eps = out, (x - a * out) / s
        case "v_prediction":
            x0, eps = a * x - s * out, s * x + a * out
        case _:
            raise ValueError(f"unknown prediction type {prediction_type!r}")
    return {"x0": x0.to(x_t.dtype), "eps": eps.to(x_t.dtype)}


def ddpm_posterior(
    x0: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor, t_prev: torch.Tensor, betas: torch.Tensor
) -> dict[str, torch.Tensor]:
    table = (1 - betas).cumprod(0)
    ab = table[t]
    ab_prev = torch.where(t_prev < 0, 1.0, table[t_prev.clamp(min=0)])
    alpha = ab / ab_prev
    beta = 1 - alpha
    c0 = ab_prev.sqrt() * beta / (1 - ab)
    ct = alpha.sqrt() * (1 - ab_prev) / (1 - ab)
    variance = (1 - ab_prev) / (1 - ab) * beta
    shape = (-1, *[1] * (x_t.ndim - 1))
    mean = c0.view(shape) * x0.float() + ct.view(shape) * x_t.float()
    return {"mean": mean.to(x_t.dtype), "variance": variance, "log_variance": variance.clamp(min=1e-20).log()}


def ddpm_step(
    model_output: torch.Tensor,
    t: int,
    t_prev: int,
    x_t: torch.Tensor,
    betas: torch.Tensor,
    clip: bool,
    generator: torch.Generator,
) -> torch.Tensor:
    table = (1 - betas).cumprod(0)
    ab = table[t]
    ab_prev = table[t_prev] if t_prev >= 0 else torch.ones_like(ab)
    alpha = ab / ab_prev
    beta = 1 - alpha
    x = x_t.float()
    x0 = (x - (1 - ab).sqrt() * model_output.float()) / ab.sqrt()
    if clip:
        x0 = x0.clamp(-1, 1)
    out = ab_prev.sqrt() * beta / (1 - ab) * x0 + alpha.sqrt() * (1 - ab_prev) / (1 - ab) * x
    if t_prev >= 0:
        z = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
        out = out + ((1 - ab_prev) / (1 - ab) * beta).sqrt() * z.float()
    return out.to(x_t.dtype)


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
    ab = alphas_cumprod[t]
    ab_prev = alphas_cumprod[t_prev] if t_prev >= 0 else torch.full_like(ab, final_alpha_cumprod)
    eps = model_output.float()
    x0 = (x_t.float() - (1 - ab).sqrt() * eps) / ab.sqrt()
    if clip:
        x0 = x0.clamp(-1, 1)
    sigma = eta * ((1 - ab_prev) / (1 - ab) * (1 - ab / ab_prev)).clamp(min=0).sqrt()
    prev = ab_prev.sqrt() * x0 + (1 - ab_prev - sigma**2).clamp(min=0).sqrt() * eps
    if eta > 0:
        z = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
        prev = prev + sigma * z.float()
    return {"prev": prev.to(x_t.dtype), "x0": x0.to(x_t.dtype)}


def dynamic_threshold(x0: torch.Tensor, ratio: float, max_value: float) -> torch.Tensor:
    flat = x0.float().reshape(x0.shape[0], -1)
    s = flat.abs().quantile(ratio, dim=1, keepdim=True).clamp(1, max_value)
    return (flat.clamp(-s, s) / s).view(x0.shape).to(x0.dtype)


def ddim_sample(
    model: Callable[[torch.Tensor, int], torch.Tensor],
    x_T: torch.Tensor,
    timesteps: list[int],
    alphas_cumprod: torch.Tensor,
) -> dict[str, torch.Tensor]:
    levels = torch.cat([alphas_cumprod[timesteps], alphas_cumprod.new_ones(1)])
    xs, x0s = [x_T], []
    for t, ab, ab_prev in zip(timesteps, levels, levels[1:]):
        eps = model(xs[-1], t)
        x0s.append((xs[-1] - (1 - ab).sqrt() * eps) / ab.sqrt())
        xs.append(ab_prev.sqrt() * x0s[-1] + (1 - ab_prev).sqrt() * eps)
    return {"x": torch.stack(xs), "x0": torch.stack(x0s)}
