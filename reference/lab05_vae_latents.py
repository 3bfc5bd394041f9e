"""Lab 05, the VAE's latent space: how pictures become the small tensors that are denoised, and how they come back.

Symbols are those of Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), and Rombach et al., "High-Resolution
Image Synthesis with Latent Diffusion Models" (2022). Each function stands by itself.
"""

import torch


def checkpoint_latent_shape() -> tuple[int, ...]:
    """Return the latents' shape of 3 pictures of 768×512 (height × width) for four blocks and 4 latent channels.

    Every block but the last halves both sides: a factor of 2³.
    """
    return (3, 4, 96, 64)


def checkpoint_scaling() -> dict[str, float]:
    """Return the factor for latents of standard deviation 4, and the deviation that the decoder then meets.

    The factor is 1/std. The decoder was trained on what the encoder makes, so it has to meet 4 again.
    """
    return {"scaling_factor": 0.25, "divided": 4.0, "forgotten": 1.0, "multiplied": 0.25}


def checkpoint_channels() -> tuple[str, ...]:
    """Return which colours change with one latent channel: the decoder mixes all channels into every colour."""
    return ("red", "green", "blue")


def checkpoint_memory() -> dict[str, int]:
    """Return how many times the latents (4, 128, 128) fit into the picture and into the decoder's last feature map.

    Both have 8·8 = 64 times the places; the picture has 3 channels for the latents' 4, the map has 128.
    """
    return {"picture": 48, "decoder": 2048}


def posterior(moments: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Return mode, std, one sample and the KL divergence of q(z|x) = N(μ, σ²) (Kingma & Welling 2014, appendix B).

    `moments` are (B, 2C, h, w): the encoder's μ and log σ², one block of channels each. The sample is μ + σ·ε, so that
    gradients reach both. KL(q || N(0, 1)) = ½·Σ(μ² + σ² − 1 − log σ²), one number a sample.
    """
    mean, logvar = moments.float().chunk(2, dim=1)
    # As in diffusers: beyond these the exponential leaves float32's comfortable range.
    logvar = logvar.clamp(-30.0, 20.0)
    std = torch.exp(0.5 * logvar)
    # Drawn where the generator lives, then moved.
    eps = torch.randn(mean.shape, generator=generator).to(mean.device)
    sample = mean + std * eps
    kl = 0.5 * torch.sum(mean**2 + std**2 - 1.0 - logvar, dim=(1, 2, 3))
    return {"mode": mean.to(moments.dtype), "std": std.to(moments.dtype), "sample": sample.to(moments.dtype), "kl": kl}


def latent_norm(
    z: torch.Tensor,
    scaling_factor: float,
    shift_factor: float | None,
    direction: str,
    mean: torch.Tensor | None = None,
    std: torch.Tensor | None = None,
) -> torch.Tensor:
    """Bring the VAE's latents to the denoiser ("encode") or the denoiser's back to the VAE ("decode").

    Rombach et al. 2022, appendix G: z is rescaled to unit deviation. With a shift b: (z − b)·s, and back z/s + b. With
    channel statistics μ_c, σ_c: (z − μ_c)·s/σ_c, and back. `shift_factor`, `latents_mean`, `latents_std` in diffusers.
    """
    offset, factor = shift_factor or 0.0, scaling_factor
    if mean is not None:
        axes = (1, -1, *[1] * (z.ndim - 2))
        offset, factor = mean.reshape(axes), scaling_factor / std.reshape(axes)
    if direction == "encode":
        return ((z.float() - offset) * factor).to(z.dtype)
    if direction == "decode":
        return (z.float() / factor + offset).to(z.dtype)
    raise ValueError(f"no direction is called {direction!r}")


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
    """Return what pictures cost as latents: shape, compression, bytes, tokens and attention.

    The encoder's downsampling follows every block but the last. A transformer's token is a patch of patch_size ×
    patch_size latents (Peebles & Xie 2023, section 3.2); classifier-free guidance hands it the batch twice.
    """
    factor = 2 ** (len(block_out_channels) - 1)
    h, w = height // factor, width // factor
    elements = batch * latent_channels * h * w
    tokens = (h // patch_size) * (w // patch_size)
    pixel_tokens = (height // patch_size) * (width // patch_size)
    rows = 2 * batch if cfg else batch
    return {
        "latent_shape": (batch, latent_channels, h, w),
        "compression": batch * 3 * height * width / elements,
        "latent_bytes": elements * bytes_per_element,
        "tokens": tokens,
        "attention_bytes_per_head": rows * tokens**2 * bytes_per_element,
        "pixel_tokens_over_latent_tokens": pixel_tokens / tokens,
    }


def image_codec(u8: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return pictures as the VAE's encoder takes them, and the decoder's output as pictures.

    `VaeImageProcessor.preprocess` and `postprocess` in diffusers: 0…255 ↔ [−1, 1], channels last ↔ channels first.
    """
    encoded = u8.permute(0, 3, 1, 2) / 255.0 * 2.0 - 1.0
    # The decoder's output may leave [−1, 1] a little.
    unit = (y.float() / 2.0 + 0.5).clamp(0.0, 1.0)
    decoded = (unit * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)
    return {"encoded": encoded, "decoded": decoded}


def img2img_latents(
    moments: torch.Tensor,
    timestep: int,
    alphas_cumprod: torch.Tensor,
    scaling_factor: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return the latents from which image to image starts: x_t of the picture's latents (Meng et al. 2022, section 3).

    x_t = √ᾱ_t·s·z + √(1−ᾱ_t)·ε with z drawn from the posterior of `moments` (B, 2C, h, w), then ε, both from the one
    generator. `StableDiffusionImg2ImgPipeline.prepare_latents` in diffusers.
    """
    # 1. A draw from the posterior, brought to the denoiser's scale.
    mean, logvar = moments.float().chunk(2, dim=1)
    std = torch.exp(0.5 * logvar.clamp(-30.0, 20.0))
    z = mean + std * torch.randn(mean.shape, generator=generator).to(mean.device)
    x0 = scaling_factor * z
    # 2. Noise of unit variance, at the level from which denoising begins.
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    alpha_bar_t = alphas_cumprod[timestep]
    x_t = torch.sqrt(alpha_bar_t) * x0 + torch.sqrt(1.0 - alpha_bar_t) * noise
    return x_t.to(moments.dtype)


def fit_latent_norm(batches: list[torch.Tensor]) -> dict[str, float | torch.Tensor]:
    """Return the scaling factor and the channels' statistics of a data set's latents, which come in batches.

    Rombach et al. 2022, appendix G: 1/σ̂ with σ̂² = Σ(z − μ̂)²/N over all N elements, channels included. Batches may
    differ in length and size, so every *element* counts the same, not every batch.
    """
    # One row a channel, all batches side by side: (C, N).
    pooled = torch.cat([z.float().transpose(0, 1).flatten(1) for z in batches], dim=1)
    mean = pooled.mean(dim=1)
    variance = (pooled - pooled.mean()).square().mean()
    channel_variance = (pooled - mean[:, None]).square().mean(dim=1)
    return {"scaling_factor": variance.rsqrt().item(), "mean": mean, "std": channel_variance.sqrt()}
