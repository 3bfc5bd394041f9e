"""Lab 05, the VAE's latent space: one worked solution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOGVAR_MIN, LOGVAR_MAX = -30.0, 20.0
COLOURS = 3


# --------------------------------------------------------------------------------------------------------------------
# Predictions
# --------------------------------------------------------------------------------------------------------------------


def checkpoint_latent_shape() -> tuple[int, ...]:
    # Four blocks, three halvings: 768 / 8 = 96 high, 512 / 8 = 64 wide. The draw has C channels, not 2C.
    return (3, 4, 96, 64)


def checkpoint_scaling() -> dict[str, float]:
    # s = 1/4. The denoiser's latents have deviation 1, so: 1 / s, 1, 1 * s.
    return {"scaling_factor": 0.25, "divided": 4.0, "forgotten": 1.0, "multiplied": 0.25}


def checkpoint_channels() -> tuple[str, ...]:
    # The decoder's first convolution mixes all latent channels.
    return ("red", "green", "blue")


def checkpoint_memory() -> dict[str, int]:
    # 4*128*128 = 65 536; 3*1024*1024 = 48 of those; 128*1024*1024 = 2048 of those.
    return {"picture": 48, "decoder": 2048}


# --------------------------------------------------------------------------------------------------------------------
# Helpers
# --------------------------------------------------------------------------------------------------------------------


def _gaussian(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Moments -> (mean, limited log-variance), both float32."""
    channels = moments.shape[1] // 2
    wide = moments.to(torch.float32)
    return wide[:, :channels], wide[:, channels:].clamp(LOGVAR_MIN, LOGVAR_MAX)


def _cpu_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Row-major float32 noise of `like`'s shape, drawn on the CPU, moved to `like`'s device."""
    eps = torch.randn(tuple(like.shape), generator=generator, dtype=torch.float32, device="cpu")
    return eps.to(like.device)


def _along_channels(vector: Tensor, ndim: int) -> Tensor:
    """(C,) -> (1, C, 1, ..., 1) with `ndim` axes."""
    shape = [1] * ndim
    shape[1] = -1
    return vector.to(torch.float32).reshape(shape)


# --------------------------------------------------------------------------------------------------------------------
# Code
# --------------------------------------------------------------------------------------------------------------------


def posterior(moments: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    mu, logvar = _gaussian(moments)
    std = torch.exp(logvar * 0.5)
    sample = torch.addcmul(mu, std, _cpu_noise(mu, generator))
    kl_terms = mu.square() + torch.expm1(logvar) - logvar  # mu^2 + sigma^2 - 1 - log sigma^2
    kl = kl_terms.flatten(start_dim=1).sum(dim=1) * 0.5
    narrow = moments.dtype
    return {"mode": mu.to(narrow), "std": std.to(narrow), "sample": sample.to(narrow), "kl": kl}


def latent_norm(
    z: Tensor,
    scaling_factor: float,
    shift_factor: float | None,
    direction: str,
    mean: Tensor | None = None,
    std: Tensor | None = None,
) -> Tensor:
    if direction not in ("encode", "decode"):
        raise ValueError(f"direction must be 'encode' or 'decode', not {direction!r}")
    if (mean is None) != (std is None):
        raise ValueError("mean and std come together")

    shift: Tensor | float
    scale: Tensor | float
    if mean is not None:
        shift = _along_channels(mean, z.ndim)
        scale = scaling_factor / _along_channels(std, z.ndim)
    else:
        shift = 0.0 if shift_factor is None else shift_factor
        scale = scaling_factor

    wide = z.to(torch.float32)
    out = (wide - shift) * scale if direction == "encode" else wide / scale + shift
    return out.to(z.dtype)


def latent_budget(
    height: int,
    width: int,
    batch: int,
    block_out_channels: tuple[int, ...],
    latent_channels: int,
    bytes_per_element: int,
    patch_size: int,
    cfg: bool,
) -> dict[str, tuple[int, ...] | int | float]:
    h, w = height, width
    for _ in block_out_channels[:-1]:
        h, w = h // 2, w // 2

    def count_tokens(rows: int, columns: int) -> int:
        return (rows // patch_size) * (columns // patch_size)

    shape = (batch, latent_channels, h, w)
    held = math.prod(shape)
    tokens = count_tokens(h, w)
    asked = batch * 2 if cfg else batch
    return {
        "latent_shape": shape,
        "compression": (batch * COLOURS * height * width) / held,
        "latent_bytes": held * bytes_per_element,
        "tokens": tokens,
        "attention_bytes_per_head": asked * tokens**2 * bytes_per_element,
        "pixel_tokens_over_latent_tokens": count_tokens(height, width) / tokens,
    }


def image_codec(u8: Tensor, y: Tensor) -> dict[str, Tensor]:
    encoded = (u8.movedim(-1, 1).to(torch.float32) / 127.5 - 1.0).contiguous()
    levels = (y.to(torch.float32).clamp(-1.0, 1.0) + 1.0) * 127.5
    decoded = levels.round().to(torch.uint8).movedim(1, -1).contiguous()
    return {"encoded": encoded, "decoded": decoded}


def img2img_latents(
    moments: Tensor,
    timestep: int,
    alphas_cumprod: Tensor,
    scaling_factor: float,
    generator: torch.Generator,
) -> Tensor:
    mu, logvar = _gaussian(moments)
    z = mu + torch.exp(0.5 * logvar) * _cpu_noise(mu, generator)
    noise = _cpu_noise(mu, generator)
    abar = alphas_cumprod[timestep].to(torch.float32)
    x_t = abar.sqrt() * (z * scaling_factor) + (1.0 - abar).sqrt() * noise
    return x_t.to(moments.dtype)


def fit_latent_norm(batches: list[Tensor]) -> dict[str, float | Tensor]:
    # One row a channel, whatever the batches' lengths and sizes; then everything is a statistic of rows.
    rows = torch.cat([b.detach().to(torch.float32).transpose(0, 1).flatten(1) for b in batches], dim=1)
    mean = rows.mean(dim=1)
    std = (rows - mean[:, None]).square().mean(dim=1).sqrt()
    overall = (rows - rows.mean()).square().mean().sqrt()
    return {"scaling_factor": 1.0 / overall.item(), "mean": mean, "std": std}
